//! Source to batches: a directory, a policy, a real spool, and a hub that believes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use provost_bundle::Bundle;
use provost_bundle::source::from_files;
use provost_engine::{Cluster, CompiledSet, Evaluator, Limits as EvaluatorLimits, Options};
use provost_model::policy::Checkpoint;
use provost_model::record::{Class, ModeEvent, ModeRecord, Record, RecordBody, SnapshotReason};
use provost_model::subject::ResourceRef;
use provost_model::{Attributes, Digest, Finding, Fingerprint, Outcome, PolicySet, Verdict};
use provost_proto::{policy_set, record};
use provost_runtime::admin::Health;
use provost_runtime::clock::{Manual, SharedClock};
use provost_runtime::metrics::Registry;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_trust::chain;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::seen::{Evaluated, Seen};
use super::*;
use crate::evaluate::Pipeline;
use crate::source::manifests::{ManifestsSource, Settings as DirectorySettings};
use crate::source::{CHANGES_IN_FLIGHT, Source as _};
use crate::spool::Limits;

mod large;
mod overflow;

const BOUND: Duration = Duration::from_secs(60);

/// A set with one policy for each label: an object violates it unless it has the label.
fn set(labels: &[&str]) -> Arc<CompiledSet> {
    let set = CompiledSet::compile(&bundle(labels), &Cluster::default(), &Options::default());
    assert!(set.diagnostics().is_empty(), "{:?}", set.diagnostics());
    Arc::new(set)
}

fn bundle(labels: &[&str]) -> Bundle {
    let mut files = BTreeMap::new();
    for label in labels {
        let policy = format!(
            r#"# METADATA
# title: Has the label {label}
# description: So that a test can say what is wrong.
# custom:
#   id: label-{label}
#   code: T01
#   severity: high
#   category: security
#   kinds: [{{group: "", kinds: [ConfigMap]}}]
#   action: deny
#   failMode: open
#   controls: []
#   remediation: Add the label.
package provost.tests.label_{label}

violation contains {{"msg": "the label is missing", "path": ["metadata", "labels"]}} if {{
	not input.review.object.metadata.labels.{label}
}}
"#
        );
        files.insert(format!("tests/label-{label}/policy.rego"), Bytes::from(policy));
    }
    from_files("policies", &files).unwrap().into_bundle()
}

fn map(name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: x, labels: {{{labels}}}}}\n"
    )
}

struct Running {
    outbox: Outbox,
    reporter: Reporter,
    sets: watch::Sender<Arc<CompiledSet>>,
    clock: Arc<Manual>,
    tasks: Tasks,
}

impl Running {
    async fn start(data: &Path, manifests: &Path, set: Arc<CompiledSet>) -> Self {
        let clock = Manual::at(1_000_000);
        let shared: SharedClock = clock.clone();
        let settings = Settings { data_dir: data.to_owned(), spool: Limits::for_budget(32 << 20) };
        let (recorder, ends) = Recorder::open(&settings, shared, Health::new()).await.unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_infallible("recorder", OnEnd::ShutDown, recorder.run(shutdown.clone()));
        let (sets, set_seen) = watch::channel(set);
        let evaluator = Evaluator::start(&set_seen, EvaluatorLimits::default()).unwrap();
        let (sender, changes) = mpsc::channel(CHANGES_IN_FLIGHT);
        let pipeline = Pipeline {
            changes,
            sets: set_seen.clone(),
            evaluator,
            seen: ends.seen,
            clock: clock.clone(),
            metrics: crate::metrics::Evaluations::new(&Registry::new(), "audit"),
        };
        tasks.spawn_infallible("pipeline", OnEnd::ShutDown, pipeline.run(shutdown.clone()));
        let source = Box::new(ManifestsSource::new(DirectorySettings {
            dir: manifests.to_owned(),
            namespace: None,
            rescan: Duration::from_millis(100),
        }));
        tasks.spawn("source", OnEnd::ShutDown, source.run(set_seen, sender, shutdown));
        Self { outbox: ends.outbox, reporter: ends.reporter, sets, clock, tasks }
    }

    async fn stop(self) {
        self.tasks.shutdown().trigger();
        self.tasks.join(BOUND).await.unwrap();
        let position = self.outbox.position();
        drop((self.outbox, self.reporter));
        closed(position).await;
    }
}

/// The spool's thread has closed its stores.
async fn closed(mut position: watch::Receiver<Position>) {
    let closing = async { while position.changed().await.is_ok() {} };
    tokio::time::timeout(BOUND, closing).await.unwrap();
}

/// What a hub would know, from nothing but batches.
#[derive(Default)]
struct Hub {
    epoch: u64,
    last_seq: u64,
    head: Option<Digest>,
    sets: BTreeMap<Digest, PolicySet>,
    /// Outcome by subject name and policy.
    state: BTreeMap<String, BTreeMap<String, Outcome>>,
    in_snapshot: Option<BTreeSet<String>>,
    snapshots: Vec<SnapshotReason>,
    transitions: Vec<Record>,
    modes: Vec<(ModeEvent, String)>,
    elisions: u32,
}

impl Hub {
    /// Takes what there is until `done` says so.
    async fn until(&mut self, running: &Running, done: impl Fn(&Self) -> bool) {
        let wait = async {
            let mut wake = running.outbox.wake();
            loop {
                while self.take_batch(&running.outbox).await {}
                if done(self) {
                    return;
                }
                // The tick asks again where a seal was late.
                let _ = tokio::time::timeout(Duration::from_millis(200), wake.changed()).await;
            }
        };
        if tokio::time::timeout(BOUND, wait).await.is_err() {
            panic!("not within the bound: {:?} {:?}", self.state, self.snapshots);
        }
    }

    async fn take_batch(&mut self, outbox: &Outbox) -> bool {
        let Some(batch) = outbox.batch_from(self.last_seq + 1).await else { return false };
        let head = self.head.unwrap_or(chain::GENESIS);
        assert_eq!((batch.first_seq, batch.prev_head), (self.last_seq + 1, head));
        let mut at = head;
        self.epoch = batch.epoch;
        for item in batch.items {
            let bytes = match item {
                Item::Record(bytes) => bytes,
                Item::Elision(elision) => {
                    assert_eq!((elision.from_seq, elision.chain_before), (self.last_seq + 1, at));
                    assert!(elision.counts.iter().all(|count| count.class != Class::P0));
                    (self.last_seq, at) = (elision.to_seq, elision.chain_after);
                    self.elisions += 1;
                    continue;
                }
            };
            at = chain::next(&at, &chain::leaf(&bytes));
            let record = record::decode(&bytes).unwrap();
            self.last_seq += 1;
            assert_eq!(record.header.seq, self.last_seq);
            self.take(record);
        }
        assert_eq!((batch.last_seq, batch.head), (self.last_seq, at));
        self.head = Some(at);
        outbox.ack(self.last_seq, at).await.unwrap();
        true
    }

    fn take(&mut self, record: Record) {
        match &record.body {
            RecordBody::Bundle(body) => {
                assert_eq!(record.header.class, Class::P0);
                if let Some(set) = &body.policy_set {
                    self.sets.insert(policy_set::digest(set), set.clone());
                }
            }
            RecordBody::Verdict(body) => {
                let set = &self.sets[&record.header.policy_set.unwrap()];
                let policy = |index: u32| set.entries[index as usize].policy.to_string();
                let name = body.subject.to_string();
                if let Some(seen) = &mut self.in_snapshot {
                    assert!(body.snapshot.is_some(), "no change stands inside a snapshot");
                    if seen.insert(name.clone()) {
                        self.state.remove(&name);
                    }
                }
                let state = self.state.entry(name).or_default();
                for verdict in &body.verdicts {
                    // An agent that lost its table does not know what was before; it never says what
                    // was not.
                    let known = state.get(&policy(verdict.binding)).copied();
                    let fits = verdict.previous.is_none() || verdict.previous == known;
                    assert!(fits || self.elisions > 0);
                    state.insert(policy(verdict.binding), verdict.outcome);
                }
                for index in &body.passes {
                    state.insert(policy(*index), Outcome::Pass);
                }
                for index in &body.withdrawn {
                    state.remove(&policy(*index));
                }
                if body.snapshot.is_none() {
                    self.transitions.push(record);
                }
            }
            RecordBody::SubjectRemoved { subject, .. } => {
                let known = self.state.remove(&subject.to_string());
                assert!(known.is_some() || self.elisions > 0);
                self.transitions.push(record);
            }
            RecordBody::SnapshotBegin { reason, .. } => {
                self.in_snapshot = Some(BTreeSet::new());
                self.snapshots.push(*reason);
            }
            RecordBody::SnapshotEnd(end) => {
                let seen = self.in_snapshot.take().unwrap();
                assert_eq!(end.subjects, seen.len() as u64);
                self.state.retain(|name, _| seen.contains(name));
                let mut counts: BTreeMap<(String, Outcome), u64> = BTreeMap::new();
                for (policy, outcome) in self.state.values().flatten() {
                    *counts.entry((policy.clone(), *outcome)).or_default() += 1;
                }
                let set = &self.sets[&record.header.policy_set.unwrap()];
                let said = end.counts.iter().map(|count| {
                    let policy = set.entries[count.binding as usize].policy.to_string();
                    ((policy, count.outcome), count.count)
                });
                assert_eq!(counts, said.collect());
            }
            RecordBody::Mode(body) => self.modes.push((body.event, body.capability.clone())),
            _ => {}
        }
    }

    fn outcome(&self, name: &str, policy: &str) -> Option<Outcome> {
        self.state.get(&format!("ConfigMap x/{name}"))?.get(policy).copied()
    }

    fn snapshots_ended(&self) -> usize {
        self.snapshots.len() - usize::from(self.in_snapshot.is_some())
    }
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new(files: &[(&str, String)]) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.manifests()).unwrap();
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    fn manifests(&self) -> std::path::PathBuf {
        self.folder.path().join("manifests")
    }

    fn write(&self, name: &str, text: &str) {
        let partial = self.folder.path().join("partial");
        std::fs::write(&partial, text).unwrap();
        std::fs::rename(partial, self.manifests().join(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.manifests().join(name)).unwrap();
    }

    async fn start(&self, set: Arc<CompiledSet>) -> Running {
        Running::start(&self.folder.path().join("data"), &self.manifests(), set).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_arrive_change_and_go() {
    let place = Place::new(&[("a.yaml", map("a", "")), ("b.yaml", map("b", "team: x"))]);
    let running = place.start(set(&["team"])).await;
    let mut hub = Hub::default();
    hub.until(&running, |hub| hub.snapshots_ended() == 1).await;
    assert_eq!(hub.snapshots, [SnapshotReason::First]);
    assert_eq!(hub.outcome("a", "label-team"), Some(Outcome::Fail));
    assert_eq!(hub.outcome("b", "label-team"), Some(Outcome::Pass));
    assert_eq!(hub.modes[0], (ModeEvent::Started, "agent".to_owned()));

    place.write("a.yaml", &map("a", "team: y"));
    hub.until(&running, |hub| hub.outcome("a", "label-team") == Some(Outcome::Pass)).await;
    place.remove("b.yaml");
    hub.until(&running, |hub| hub.outcome("b", "label-team").is_none()).await;
    assert_eq!(hub.transitions.len(), 4, "two found, one repaired, one gone");

    // A new set: everything is evaluated again, and a snapshot says so.
    running.sets.send_replace(set(&["team", "owner"]));
    hub.until(&running, |hub| hub.snapshots_ended() == 2).await;
    assert_eq!(hub.snapshots[1], SnapshotReason::Activation);
    assert_eq!(hub.outcome("a", "label-owner"), Some(Outcome::Fail));
    assert_eq!(hub.outcome("a", "label-team"), Some(Outcome::Pass));
    running.reporter.request_snapshot(SnapshotReason::Requested).await;
    hub.until(&running, |hub| hub.snapshots_ended() == 3).await;
    running.clock.advance(Duration::from_secs(24 * 60 * 60));
    hub.until(&running, |hub| hub.snapshots_ended() == 4).await;
    assert_eq!(hub.snapshots[3], SnapshotReason::Daily);
    running.stop().await;
}

/// What changed while the agent was down is found, and what did not is not said again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_says_only_what_is_news() {
    let files = ["a", "b", "c"].map(|name| (name, map(name, "")));
    let files = files.map(|(name, text)| (format!("{name}.yaml"), text));
    let place = Place::new(&files.each_ref().map(|(name, text)| (name.as_str(), text.clone())));
    let running = place.start(set(&["team"])).await;
    let mut hub = Hub::default();
    hub.until(&running, |hub| hub.snapshots_ended() == 1).await;
    running.stop().await;
    let before = hub.transitions.len();

    place.remove("a.yaml");
    place.write("b.yaml", &map("b", "team: x"));
    let running = place.start(set(&["team"])).await;
    hub.until(&running, |hub| hub.snapshots_ended() == 2).await;
    assert_eq!(hub.snapshots[1], SnapshotReason::First);
    assert_eq!(hub.outcome("a", "label-team"), None);
    assert_eq!(hub.outcome("b", "label-team"), Some(Outcome::Pass));
    assert_eq!(hub.outcome("c", "label-team"), Some(Outcome::Fail));
    assert_eq!(hub.transitions.len() - before, 2, "one gone, one repaired; c is no news");
    running.stop().await;
}

/// A link that is down costs one record per subject.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_coalesce_until_they_are_asked_for() {
    let place = Place::new(&[("a.yaml", map("a", ""))]);
    let running = place.start(set(&["team"])).await;
    let mut hub = Hub::default();
    hub.until(&running, |hub| hub.snapshots_ended() == 1).await;
    let mut wake = running.outbox.wake();
    for labels in ["team: x", "", "team: y"] {
        wake.mark_unchanged();
        place.write("a.yaml", &map("a", labels));
        tokio::time::timeout(BOUND, wake.changed()).await.unwrap().unwrap();
    }
    let waiting = || running.outbox.position().borrow().pending;
    assert_eq!(waiting(), 1, "what is not on disk yet is counted");
    let before = hub.transitions.len();
    hub.until(&running, |hub| hub.outcome("a", "label-team") == Some(Outcome::Pass)).await;
    assert_eq!(waiting(), 0);
    let record = &hub.transitions[before..];
    assert_eq!((record.len(), record[0].header.coalesced), (1, 3));
    assert_eq!(record[0].header.class, Class::P1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_epoch_states_everything_anew() {
    let place = Place::new(&[("a.yaml", map("a", ""))]);
    let running = place.start(set(&["team"])).await;
    let mut hub = Hub::default();
    hub.until(&running, |hub| hub.snapshots_ended() == 1).await;
    let position = running.outbox.new_epoch().await.unwrap();
    assert_eq!(position.epoch, hub.epoch + 1);
    let mut hub = Hub::default();
    hub.until(&running, |hub| hub.snapshots_ended() == 1).await;
    assert_eq!(hub.epoch, position.epoch);
    assert_eq!(hub.outcome("a", "label-team"), Some(Outcome::Fail));
    running.stop().await;
    let running = place.start(set(&["team"])).await;
    hub.until(&running, |hub| hub.snapshots_ended() == 2).await;
    assert_eq!(hub.epoch, position.epoch);
    running.stop().await;
}

/// No checkpoint is written: the table comes back from the spool alone.
#[test]
fn a_kill_loses_nothing_that_was_sent_and_repeats_nothing() {
    let place = Place::new(&[("a.yaml", map("a", "")), ("b.yaml", map("b", ""))]);
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let mut hub = Hub::default();
    let killed = runtime();
    let position = killed.block_on(async {
        let running = place.start(set(&["team"])).await;
        hub.until(&running, |hub| hub.snapshots_ended() == 1).await;
        place.write("a.yaml", &map("a", "team: x"));
        hub.until(&running, |hub| hub.outcome("a", "label-team") == Some(Outcome::Pass)).await;
        running.outbox.position()
    });
    killed.shutdown_background();
    let before = hub.transitions.len();
    place.remove("b.yaml");
    runtime().block_on(async {
        closed(position).await;
        let running = place.start(set(&["team"])).await;
        hub.until(&running, |hub| hub.snapshots_ended() == 2).await;
        assert_eq!(hub.outcome("a", "label-team"), Some(Outcome::Pass));
        assert_eq!(hub.outcome("b", "label-team"), None);
        assert_eq!(hub.transitions.len() - before, 1, "only that b is gone is news");
        running.stop().await;
    });
}

/// The verdict table is lost: everything is evaluated again, the hub is put right, nothing stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_table_is_made_anew() {
    let place = Place::new(&[("a.yaml", map("a", "")), ("b.yaml", map("b", ""))]);
    let running = place.start(set(&["team"])).await;
    let mut hub = Hub::default();
    hub.until(&running, |hub| hub.snapshots_ended() == 1).await;
    running.stop().await;
    let table = place.folder.path().join("data/state/verdicts");
    let mut bytes = std::fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&table, bytes).unwrap();
    place.remove("b.yaml");
    let running = place.start(set(&["team"])).await;
    hub.until(&running, |hub| hub.snapshots_ended() == 2).await;
    assert_eq!(hub.outcome("a", "label-team"), Some(Outcome::Fail));
    assert_eq!(hub.outcome("b", "label-team"), None);
    running.stop().await;
}

/// Within one time of no link: what came and went is not said, what went and came back is both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_coalesce_too() {
    let place = Place::new(&[("a.yaml", map("a", "")), ("z.yaml", map("z", ""))]);
    let running = place.start(set(&["team"])).await;
    let mut hub = Hub::default();
    hub.until(&running, |hub| hub.snapshots_ended() == 1).await;
    let before = hub.transitions.len();
    let mut wake = running.outbox.wake();
    let mut stirred = async |change: &dyn Fn()| {
        wake.mark_unchanged();
        change();
        tokio::time::timeout(BOUND, wake.changed()).await.unwrap().unwrap();
    };
    stirred(&|| place.write("b.yaml", &map("b", ""))).await;
    stirred(&|| place.remove("a.yaml")).await;
    stirred(&|| place.remove("b.yaml")).await;
    stirred(&|| place.write("a.yaml", &map("a", "team: x"))).await;
    stirred(&|| place.remove("z.yaml")).await;
    hub.until(&running, |hub| hub.outcome("z", "label-team").is_none()).await;
    assert_eq!(hub.outcome("a", "label-team"), Some(Outcome::Pass));
    let records = &hub.transitions[before..];
    let said = records.iter().map(|record| match &record.body {
        RecordBody::SubjectRemoved { subject, .. } => format!("gone {subject}"),
        RecordBody::Verdict(body) => format!("said {}", body.subject),
        other => panic!("{other:?}"),
    });
    let said: Vec<_> = said.collect();
    assert_eq!(said, ["gone ConfigMap x/a", "said ConfigMap x/a", "gone ConfigMap x/z"]);
    running.stop().await;
}
