//! The recorder: the one task that owns what is pending, the verdict table and the snapshots.
//!
//! It takes from three bounded queues: control (events, seals), admission events, and what the
//! pipeline saw. Backpressure: while records wait for the spool, nothing more is taken from the
//! pipeline, so that changes stay where they come from; admission events beyond their queue are counted and
//! declared. It never waits for the hub but inside a snapshot, and there with a bound.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use provost_model::Digest;
use provost_model::id::BootId;
use provost_model::record::{
    BundleEvent, BundleRecord, Class, ClockQuality, ModeEvent, ModeRecord, Record, RecordBody,
    RecordHeader, SnapshotReason, TrustRecord,
};
use provost_proto::policy_set;
use provost_runtime::admin::Health;
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::Registry;
use provost_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot, watch};

use super::append::Admitted;
use super::outbox::{Outbox, Position};
use super::pending::Pending;
use super::records::{Indexed, split};
use super::reporter::Reporter;
use super::seen::Seen;
use crate::metrics::{Recordings, watch_spool};
use crate::source::Unavailable;
use crate::spool::newer::Newer;
use crate::spool::thread::{Handle, Refused};
use crate::spool::{Limits, Room, thread};
use crate::state::checkpoint::{Checkpoint, Header};
use crate::state::{Table, replay};

/// Records of one append: a batch, so that a group commit is worth its flush.
const SEAL_RECORDS: usize = provost_model::limits::MAX_BATCH_RECORDS;
/// Changes coalesce this long at most while nobody asks for them; a kill loses no more.
const SEAL_AFTER: Duration = Duration::from_secs(10);
/// Table bytes that are in memory alone until the next checkpoint: a quarter of what it will write anew, within these.
const CHECKPOINT_BYTES: RangeInclusive<u64> = 1024 * 1024..=4 * 1024 * 1024;
const CHECKPOINT_AFTER: Duration = Duration::from_secs(300);
const SNAPSHOT_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
const TRIM_EVERY: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(500);
/// A declaration is a record, too: admission events that go on being lost are declared this often.
const DECLARE_EVERY: Duration = Duration::from_secs(10);
const CONTROL_QUEUE: usize = 64;
const SEEN_QUEUE: usize = 64;
/// Admission events that wait for the next group commit: some seconds of a deny storm.
const ADMISSION_QUEUE: usize = 4096;
/// A step of the clock that is worth a record.
const CLOCK_STEP_MS: u64 = 1000;

#[derive(Clone, Debug)]
pub struct Settings {
    /// `spool/` and `state/` are in it.
    pub data_dir: PathBuf,
    pub spool: Limits,
}

pub(super) enum Control {
    Bundle(BundleRecord),
    Trust(TrustRecord),
    Mode(ModeRecord),
    Clock(i64, ClockQuality),
    Snapshot(SnapshotReason),
    Seal(oneshot::Sender<()>),
    NewEpoch(oneshot::Sender<Option<Position>>),
}

/// The handles of a recorder that is open.
pub struct Ends {
    pub outbox: Outbox,
    pub reporter: Reporter,
    /// For the pipeline.
    pub seen: mpsc::Sender<Seen>,
}

pub struct Recorder {
    pub(super) metrics: Recordings,
    pub(super) spool: Handle,
    position: Arc<watch::Sender<Position>>,
    pub(super) clock: SharedClock,
    pub(super) health: Health,
    pub(super) table: Table,
    pub(super) checkpoint: Checkpoint,
    pub(super) pending: Pending,
    /// Sealed once, and refused by the spool: to be tried again before anything else.
    backlog: Vec<Record>,
    pub(super) current: Option<Indexed>,
    pub(super) announced_set: Option<Digest>,
    last_bundle: Option<BundleRecord>,
    offset_ms: i64,
    quality: ClockQuality,
    pub(super) unavailable: Vec<Unavailable>,
    /// Everything was listed once since the set in force came into force.
    pub(super) is_complete: bool,
    pub(super) snapshot_due: Option<SnapshotReason>,
    pub(super) had_snapshot: bool,
    pub(super) watch_is_healthy: bool,
    /// Size of the checkpoint before compression.
    pub(super) table_bytes: u64,
    pub(super) budget_bytes: u64,
    /// Beside it stands what a newer version left.
    pub(super) spool_folder: PathBuf,
    /// What of a newer version was set aside just now: to be declared.
    newer: Option<Newer>,
    elisions_seen: u64,
    pending_since: Option<Duration>,
    checkpoint_at: Duration,
    pub(super) snapshot_at: Duration,
    trim_at: Duration,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) admissions: mpsc::Receiver<Admitted>,
    pub(super) admissions_lost: watch::Receiver<u64>,
    pub(super) admissions_declared: u64,
    /// Not before it.
    declare_at: Duration,
    seen: mpsc::Receiver<Seen>,
    pub(super) wake: watch::Sender<u64>,
}

impl Recorder {
    /// Opens spool and verdict table. Takes as long as they take to read.
    pub async fn open(
        settings: &Settings,
        clock: SharedClock,
        health: Health,
    ) -> Result<(Self, Ends), thread::OpenError> {
        let state = settings.data_dir.join("state");
        std::fs::create_dir_all(&state).map_err(thread::OpenError::Head)?;
        let (folder, head) = (settings.data_dir.join("spool"), state.join("head"));
        let (limits, spool_clock) = (settings.spool, clock.clone());
        let position = Arc::new(watch::Sender::new(Position::default()));
        let publish = Arc::clone(&position);
        let listener = Box::new(move |announced: &_| {
            publish.send_modify(|position| {
                *position = Position { pending: position.pending, ..Position::of(announced) };
            });
        });
        let spool_folder = folder.clone();
        let open = move || thread::open(&folder, &head, limits, spool_clock, listener);
        let (spool, newer) = tokio::task::spawn_blocking(open)
            .await
            .map_err(|error| thread::OpenError::Thread(std::io::Error::other(error)))??;
        let checkpoint = Checkpoint::at(state.join("verdicts"));
        let start = replay::start(&checkpoint, &spool).await;
        spool.checkpointed(start.checkpoint).await;
        let (mut recorder, ends) =
            Self::with(spool, position, checkpoint, start, clock, health, limits.budget_bytes);
        recorder.spool_folder = spool_folder;
        recorder.newer = newer;
        recorder.tell_spool_health();
        Ok((recorder, ends))
    }

    fn with(
        spool: Handle,
        position: Arc<watch::Sender<Position>>,
        checkpoint: Checkpoint,
        start: replay::Start,
        clock: SharedClock,
        health: Health,
        budget_bytes: u64,
    ) -> (Self, Ends) {
        let (control_sender, control) = mpsc::channel(CONTROL_QUEUE);
        let (admission_sender, admissions) = mpsc::channel(ADMISSION_QUEUE);
        let (seen_sender, seen) = mpsc::channel(SEEN_QUEUE);
        let (wake, woken) = watch::channel(0);
        let (lost, admissions_lost) = watch::channel(0);
        let outbox =
            Outbox::new(spool.clone(), control_sender.clone(), woken, position.subscribe());
        let reporter = Reporter::new(control_sender, admission_sender, lost);
        let now = clock.monotonic();
        let recorder = Self {
            metrics: Recordings::default(),
            elisions_seen: 0,
            spool,
            position,
            clock,
            health,
            table: start.table,
            checkpoint,
            pending: Pending::default(),
            backlog: Vec::new(),
            current: None,
            announced_set: start.announced,
            last_bundle: None,
            offset_ms: 0,
            quality: ClockQuality::Local,
            unavailable: Vec::new(),
            is_complete: false,
            snapshot_due: None,
            had_snapshot: false,
            watch_is_healthy: true,
            table_bytes: 0,
            budget_bytes,
            spool_folder: PathBuf::new(),
            newer: None,
            pending_since: None,
            checkpoint_at: now,
            snapshot_at: now,
            trim_at: now,
            control,
            admissions,
            admissions_lost,
            admissions_declared: 0,
            declare_at: Duration::ZERO,
            seen,
            wake,
        };
        (recorder, Ends { outbox, reporter, seen: seen_sender })
    }

    /// Counts there; without it nobody sees what is counted.
    #[must_use]
    pub fn counted(self, registry: &Registry) -> Self {
        let clock = Arc::clone(&self.clock);
        watch_spool(registry, self.spool.announced(), self.position.subscribe(), clock);
        let metrics = Recordings::new(registry);
        metrics.objects.set_size(self.table.len() as u64);
        Self { metrics, ..self }
    }

    /// Runs until shutdown; then seals and saves what is there.
    pub async fn run(mut self, shutdown: Shutdown) {
        self.mode(ModeEvent::Started, "agent", env!("CARGO_PKG_VERSION"));
        if let Some(newer) = self.newer.take() {
            self.declare_newer(&newer);
        }
        self.seal().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut announced = self.spool.announced();
        loop {
            let takes_changes = self.backlog.is_empty();
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                Some(control) = self.control.recv() => self.controlled(control).await,
                Some(first) = self.admissions.recv() => self.admitted(first).await,
                _ = tick.tick() => self.tick().await,
                Some(seen) = self.seen.recv(), if takes_changes => self.saw(seen).await,
                Ok(()) = announced.changed() => self.spool_changed().await,
            }
        }
        self.close().await;
    }

    pub(super) async fn controlled(&mut self, control: Control) {
        match control {
            Control::Bundle(event) => {
                self.bundle_event(event);
                self.seal().await;
            }
            Control::Trust(event) => {
                self.event(Class::P0, RecordBody::Trust(event));
                self.seal().await;
            }
            Control::Mode(event) => {
                self.event(Class::P0, RecordBody::Mode(event));
                self.seal().await;
            }
            Control::Clock(offset_ms, quality) => {
                self.clock_read(offset_ms, quality);
                self.seal().await;
            }
            Control::Snapshot(reason) => self.want_snapshot(reason).await,
            Control::Seal(done) => {
                self.seal().await;
                // Who asked may have stopped waiting.
                let _ = done.send(());
            }
            Control::NewEpoch(done) => {
                let position = self.new_epoch().await;
                let _ = done.send(position);
            }
        }
    }

    fn bundle_event(&mut self, event: BundleRecord) {
        if let Some(set) = &event.policy_set {
            self.announced_set = Some(policy_set::digest(set));
        }
        if event.event != BundleEvent::Refused {
            self.last_bundle = Some(event.clone());
        }
        self.event(Class::P0, RecordBody::Bundle(event));
    }

    fn clock_read(&mut self, offset_ms: i64, quality: ClockQuality) {
        let step_ms = offset_ms.saturating_sub(self.offset_ms);
        self.offset_ms = offset_ms;
        self.quality = quality;
        if step_ms.unsigned_abs() >= CLOCK_STEP_MS {
            self.event(Class::P0, RecordBody::Clock { offset_ms, step_ms });
        }
    }

    async fn tick(&mut self) {
        let now = self.clock.monotonic();
        if now >= self.declare_at && self.declare_lost() {
            self.declare_at = now + DECLARE_EVERY;
            self.seal().await;
        }
        let is_old = self.pending_since.is_some_and(|since| now >= since + SEAL_AFTER);
        if is_old || !self.backlog.is_empty() {
            self.seal().await;
        }
        if self.table.is_dirty() && now >= self.checkpoint_at + CHECKPOINT_AFTER {
            self.seal().await;
            self.write_checkpoint().await;
        }
        if now >= self.trim_at + TRIM_EVERY {
            self.trim_at = now;
            self.spool.trim().await;
            if self.is_sealed() {
                self.tell_spool_health();
            }
        }
        if self.had_snapshot && now >= self.snapshot_at + SNAPSHOT_EVERY {
            self.want_snapshot(SnapshotReason::Daily).await;
        }
        self.snapshot_if_due().await;
    }

    async fn spool_changed(&mut self) {
        let elisions = self.spool.announced().borrow().extent.elisions_made;
        if elisions > self.elisions_seen {
            self.elisions_seen = elisions;
            self.snapshot_due.get_or_insert(SnapshotReason::Elision);
            // The record that carried the set may be among what is gone.
            self.announced_set = None;
            self.announce_set();
        }
        self.snapshot_if_due().await;
    }

    pub(super) async fn want_snapshot(&mut self, reason: SnapshotReason) {
        self.snapshot_due.get_or_insert(reason);
        self.snapshot_if_due().await;
    }

    pub(super) fn header(&self, class: Class) -> RecordHeader {
        RecordHeader {
            seq: 0,
            class,
            boot: BootId::from_bytes(self.clock.boot()),
            monotonic_ms: self.clock.monotonic_ms(),
            wall_ms: self.clock.wall_ms().saturating_add(self.offset_ms),
            clock_quality: self.quality,
            policy_set: self.current.as_ref().map(|current| current.digest),
            coalesced: 1,
            exemption_id: String::new(),
            trace_parent: String::new(),
        }
    }

    pub(super) fn mode(&mut self, event: ModeEvent, capability: &str, detail: &str) {
        let (capability, detail) = (capability.to_owned(), detail.chars().take(200).collect());
        self.event(Class::P0, RecordBody::Mode(ModeRecord { event, capability, detail }));
    }

    pub(super) fn event(&mut self, class: Class, body: RecordBody) {
        for record in split(Record { header: self.header(class), body }) {
            self.pending.event(record);
        }
        self.stirred();
    }

    /// Something is pending: whoever sends may ask for it.
    pub(super) fn stirred(&mut self) {
        self.pending_since.get_or_insert(self.clock.monotonic());
        self.tell_pending();
        self.wake.send_modify(|count| *count += 1);
    }

    /// Before a change that needs the set: the chain carries it first.
    pub(super) fn announce_set(&mut self) {
        let Some(current) = &self.current else { return };
        if self.announced_set == Some(current.digest) {
            return;
        }
        let set = current.set.policy_set().clone();
        let event = match &self.last_bundle {
            Some(last) => BundleRecord { policy_set: Some(set), ..last.clone() },
            None => BundleRecord {
                event: BundleEvent::PolicySetChanged,
                channel: String::new(),
                version: 0,
                manifest: origin(&set),
                policy_set: Some(set),
                errors: Vec::new(),
            },
        };
        self.bundle_event(BundleRecord { event: BundleEvent::PolicySetChanged, ..event });
    }

    pub(super) async fn seal_if_full(&mut self) {
        if self.pending.len() >= SEAL_RECORDS {
            self.seal().await;
        }
        let quarter = self.table_bytes / 4;
        let most = quarter.clamp(*CHECKPOINT_BYTES.start(), *CHECKPOINT_BYTES.end());
        if self.table.dirty_bytes() as u64 >= most {
            self.seal().await;
            self.write_checkpoint().await;
        }
    }

    /// Gives everything that is pending its seq. True when nothing is left to be sealed.
    pub(super) async fn seal(&mut self) -> bool {
        let waited = !self.backlog.is_empty();
        let mut records = std::mem::take(&mut self.backlog);
        records.extend(self.pending.take());
        self.pending_since = None;
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(SEAL_RECORDS));
            if let Err(Refused { error, records: refused }) = self.append(records, Room::Shed).await
            {
                self.health.set("spool", false, error.to_string());
                if !waited {
                    tracing::error!(%error, "records wait for the spool");
                }
                self.backlog = refused;
                self.backlog.extend(rest);
                self.tell_pending();
                return false;
            }
            records = rest;
        }
        self.tell_pending();
        self.tell_spool_health();
        true
    }

    /// Wakes nobody: there is nothing to send of it yet.
    fn tell_pending(&self) {
        let pending = (self.pending.len() + self.backlog.len()) as u64;
        self.position.send_if_modified(|position| {
            position.pending = pending;
            false
        });
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.backlog.is_empty()
    }

    /// True when the checkpoint is on disk.
    pub(super) async fn write_checkpoint(&mut self) -> bool {
        let extent = self.spool.announced().borrow().extent;
        let keep: Vec<Digest> =
            self.current.iter().map(|current| current.digest).chain(self.announced_set).collect();
        self.table.keep_sets(&keep);
        let header = Header::of(&self.table, extent.epoch, extent.last.seq, self.announced_set);
        let checkpoint = self.checkpoint.clone();
        let mut table = std::mem::take(&mut self.table);
        let write = move || {
            let written = checkpoint.write(&mut table, &header);
            (table, written)
        };
        let Ok((table, written)) = tokio::task::spawn_blocking(write).await else { return false };
        self.table = table;
        self.checkpoint_at = self.clock.monotonic();
        match written {
            Ok(bytes) => {
                self.table_bytes = bytes;
                self.spool.checkpointed(extent.last.seq).await;
                true
            }
            Err(error) => {
                tracing::error!(%error, "no checkpoint; the spool keeps what it needs");
                false
            }
        }
    }
}

fn origin(set: &provost_model::PolicySet) -> Digest {
    use provost_model::binding::Origin;
    let first = set.entries.first().map(|entry| entry.origin);
    match first {
        Some(Origin::Bundle(digest) | Origin::Local(digest)) => digest,
        None => Digest::of(b""),
    }
}
