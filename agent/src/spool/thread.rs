//! The thread that owns the spool: assigns seqs, encodes, chains, commits, announces.
//!
//! Invariants: a seq is given only to what is durable; the head file is synced before a position that names the
//! seq is published; one append is one group commit, whatever its size, so that who appends collects
//! first. Calls wait in a bounded queue; nothing here waits for the hub.

use std::path::Path;

use provost_model::Digest;
use provost_model::record::Record;
use provost_proto::record;
use provost_runtime::clock::SharedClock;
use provost_trust::chain;
use tokio::sync::{mpsc, oneshot, watch};

use super::disk::{Deadlines, Disk};
use super::head::{Found, HeadFile};
use super::newer::{self, Newer};
use super::recovery::Known;
use super::{Anchor, Entry, Error, Extent, Generations, Item, Limit, Limits, Room, Spool};

/// Callers are few and wait for their answers.
const QUEUE: usize = 64;

/// Where the chain stands, durable and announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub extent: Extent,
    /// Wall time in the oldest record that is not acknowledged.
    pub oldest_wall_ms: Option<i64>,
}

/// The append did not happen; the records come back without seqs.
#[derive(Debug)]
pub struct Refused {
    pub error: Error,
    pub records: Vec<Record>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("spool: {0}")]
    Spool(#[from] Error),
    #[error("head file: {0}")]
    Head(std::io::Error),
    #[error("spool thread: {0}")]
    Thread(std::io::Error),
}

/// The thread is gone: the agent is shutting down, or the spool has panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the spool is closed")]
pub struct Closed;

/// Cheap to clone. The thread ends when the last one is gone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    announced: watch::Receiver<Announced>,
}

/// Told on the spool's thread whenever the position changes, and once at the start.
pub type Listener = Box<dyn Fn(&Announced) + Send>;

type Answer<T> = oneshot::Sender<T>;

enum Command {
    Append(Vec<Record>, Room, Answer<Result<Anchor, Refused>>),
    Read(u64, Limit, Answer<Result<Vec<Item>, Error>>),
    Acknowledge(Anchor, Answer<Result<(), Error>>),
    Checkpointed(u64),
    Room(Answer<u64>),
    ChainAt(u64, Answer<Result<Option<Digest>, Error>>),
    Trim,
    NewEpoch(Answer<Result<Anchor, Error>>),
}

/// Opens the spool in `folder` with the head file at `head`, and starts its thread. Blocks for as long
/// as the stores take to open, with a deadline each. Also gives what of a newer version it set aside for that.
pub fn open(
    folder: &Path,
    head: &Path,
    limits: Limits,
    clock: SharedClock,
    listener: Listener,
) -> Result<(Handle, Option<Newer>), OpenError> {
    let newer = newer::set_aside(folder, head).map_err(OpenError::Head)?;
    let disk = Disk::open(folder, Deadlines::default()).map_err(OpenError::Head)?;
    let epoch = newer.as_ref().map(|newer| newer.epoch);
    Ok((start_at(disk, head, limits, clock, listener, epoch)?, newer))
}

/// As [`open`], over any volume.
pub fn start<V: super::volume::Volume + 'static>(
    volume: V,
    head: &Path,
    limits: Limits,
    clock: SharedClock,
    listener: Listener,
) -> Result<Handle, OpenError> {
    start_at(volume, head, limits, clock, listener, None)
}

/// `epoch`: the one to begin, over a volume with nothing in it.
fn start_at<V: super::volume::Volume + 'static>(
    volume: V,
    head: &Path,
    limits: Limits,
    clock: SharedClock,
    listener: Listener,
    epoch: Option<u64>,
) -> Result<Handle, OpenError> {
    let (mut head, found) = HeadFile::open(head).map_err(OpenError::Head)?;
    let known = match &found {
        Found::Known(known) => Some(known),
        Found::Nothing | Found::Damaged => None,
    };
    let mut spool = Generations::open(volume, limits, known)?;
    if let Some(epoch) = epoch {
        spool.reset(epoch)?;
    } else if found == Found::Damaged || (found == Found::Nothing && spool.extent().last.seq > 0) {
        // How far the chain was announced is not known: going on could fork it.
        tracing::error!("the head file is lost; a new epoch begins");
        spool.reset(spool.extent().epoch + 1)?;
    }
    head.save(&known_of(&spool.extent())).map_err(OpenError::Head)?;
    let first = Announced { extent: spool.extent(), oldest_wall_ms: None };
    let (publish, announced) = watch::channel(first);
    let (commands, receiver) = mpsc::channel(QUEUE);
    listener(&publish.borrow());
    let mut owner = Owner {
        spool: Box::new(spool),
        head,
        clock,
        publish,
        listener,
        oldest: None,
        head_is_behind: false,
    };
    owner.announce();
    std::thread::Builder::new()
        .name("spool".to_owned())
        .spawn(move || owner.serve(receiver))
        .map_err(OpenError::Thread)?;
    Ok(Handle { commands, announced })
}

impl Handle {
    #[must_use]
    pub fn announced(&self) -> watch::Receiver<Announced> {
        self.announced.clone()
    }

    /// Gives the records their seqs, in order. Durable and announced on return.
    pub async fn append(&self, records: Vec<Record>, room: Room) -> Result<Anchor, Refused> {
        let closed = |_| Refused { error: closed_error(), records: Vec::new() };
        let asked = self.ask(|answer| Command::Append(records, room, answer)).await;
        asked.map_err(closed)?
    }

    pub async fn read(&self, from: u64, limit: Limit) -> Result<Vec<Item>, Error> {
        self.ask(|answer| Command::Read(from, limit, answer)).await.map_err(|_| closed_error())?
    }

    pub async fn acknowledge(&self, acked: Anchor) -> Result<(), Error> {
        self.ask(|answer| Command::Acknowledge(acked, answer)).await.map_err(|_| closed_error())?
    }

    pub async fn checkpointed(&self, seq: u64) {
        // A closed spool needs no checkpoint.
        let _ = self.commands.send(Command::Checkpointed(seq)).await;
    }

    pub async fn room_bytes(&self) -> u64 {
        self.ask(Command::Room).await.unwrap_or(0)
    }

    pub async fn chain_at(&self, seq: u64) -> Result<Option<Digest>, Error> {
        self.ask(|answer| Command::ChainAt(seq, answer)).await.map_err(|_| closed_error())?
    }

    pub async fn trim(&self) {
        let _ = self.commands.send(Command::Trim).await;
    }

    pub async fn new_epoch(&self) -> Result<Anchor, Error> {
        self.ask(Command::NewEpoch).await.map_err(|_| closed_error())?
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Closed> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }
}

struct Owner {
    spool: Box<dyn Spool>,
    head: HeadFile,
    clock: SharedClock,
    publish: watch::Sender<Announced>,
    listener: Listener,
    /// The oldest record that is not acknowledged, and its wall time.
    oldest: Option<(u64, i64)>,
    /// The last save of the head file failed: what follows is not announced until one succeeds.
    head_is_behind: bool,
}

impl Owner {
    fn serve(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.blocking_recv() {
            // A caller that went away does not need its answer.
            match command {
                Command::Append(records, room, answer) => {
                    drop(answer.send(self.append(records, room)));
                }
                Command::Read(from, limit, answer) => {
                    let items = self.spool.read(from, limit);
                    self.announce();
                    drop(answer.send(items));
                }
                Command::Acknowledge(acked, answer) => {
                    let done = self.spool.acknowledge(acked, self.clock.wall_ms());
                    self.announce();
                    drop(answer.send(done));
                }
                Command::Checkpointed(seq) => drop(self.spool.checkpointed(seq)),
                Command::Room(answer) => {
                    let _ = answer.send(self.spool.room_bytes());
                }
                Command::ChainAt(seq, answer) => drop(answer.send(self.spool.chain_at(seq))),
                Command::Trim => {
                    if let Err(error) = self.spool.trim(self.clock.wall_ms()) {
                        tracing::warn!(%error, "the acknowledged tail of the spool stays");
                    }
                    self.save_head();
                    self.announce();
                }
                Command::NewEpoch(answer) => {
                    let epoch = self.spool.extent().epoch + 1;
                    let done = self.spool.reset(epoch).map(|()| self.spool.extent().last);
                    self.oldest = None;
                    self.save_head();
                    self.announce();
                    drop(answer.send(done));
                }
            }
        }
        self.save_head();
    }

    fn append(&mut self, mut records: Vec<Record>, room: Room) -> Result<Anchor, Refused> {
        let mut at = self.spool.extent().last;
        let mut entries = Vec::with_capacity(records.len());
        for record in &mut records {
            record.header.seq = at.seq + 1;
            let bytes = record::encode(record);
            let after = chain::next(&at.head, &chain::leaf(&bytes));
            entries.push(Entry {
                seq: at.seq + 1,
                class: record.header.class,
                before: at.head,
                after,
                record: bytes,
            });
            at = Anchor { seq: at.seq + 1, head: after };
        }
        if let Err(error) = self.spool.append(&entries, room) {
            self.announce();
            return Err(Refused { error, records });
        }
        self.save_head();
        self.announce();
        Ok(at)
    }

    fn save_head(&mut self) {
        let saved = self.head.save(&known_of(&self.spool.extent()));
        if let Err(error) = &saved {
            tracing::error!(%error, "the head file cannot be saved; nothing new is sent");
        }
        self.head_is_behind = saved.is_err();
    }

    fn announce(&mut self) {
        if self.head_is_behind {
            return;
        }
        let extent = self.spool.extent();
        let next = extent.acked.seq + 1;
        if self.oldest.is_none_or(|(seq, _)| seq != next) {
            self.oldest = None;
            if next <= extent.last.seq
                && let Ok(items) = self.spool.read(next, Limit { records: 1, bytes: 1 })
                && let Some(wall_ms) = items.iter().find_map(wall_ms)
            {
                self.oldest = Some((next, wall_ms));
            }
        }
        let oldest_wall_ms = self.oldest.map(|(_, wall_ms)| wall_ms);
        let extent = self.spool.extent();
        let new = Announced { extent, oldest_wall_ms };
        if *self.publish.borrow() != new {
            (self.listener)(&new);
            self.publish.send_replace(new);
        }
    }
}

fn wall_ms(item: &Item) -> Option<i64> {
    let Item::Record(entry) = item else { return None };
    record::decode(&entry.record).ok().map(|record| record.header.wall_ms)
}

fn known_of(extent: &Extent) -> Known {
    Known { epoch: extent.epoch, last: extent.last, acked: extent.acked }
}

fn closed_error() -> Error {
    super::volume::Error::Io(std::io::Error::other(Closed)).into()
}
