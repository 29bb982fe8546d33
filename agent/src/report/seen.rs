//! What the pipeline saw, taken into the table and into what is pending.

use std::sync::Arc;

use provost_engine::CompiledSet;
use provost_model::record::{Class, ModeEvent, Record, RecordBody, RecordHeader, SnapshotReason};
use provost_model::subject::ResourceRef;
use provost_model::{Attributes, Subject, Verdict};
use provost_proto::policy_set;
use provost_runtime::telemetry::trace::{self, Moment};
use tokio::sync::oneshot;

use super::recorder::Recorder;
use super::records::{Indexed, Stated, split};
use crate::key::Key;
use crate::source::{Scope, Unavailable};
use crate::state::table::Stamp;
use crate::traced;

pub enum Seen {
    Begin,
    /// Whether the subject is known just as it stands; it counts as seen.
    Check(ResourceRef, Stamp, oneshot::Sender<bool>),
    Evaluated(Box<Evaluated>),
    /// Known, and not readable now.
    Kept(ResourceRef),
    Gone(ResourceRef, Moment),
    End(Scope, Moment),
    Complete(Arc<CompiledSet>, Vec<Unavailable>),
    Health(bool, String),
}

pub struct Evaluated {
    pub set: Arc<CompiledSet>,
    pub subject: ResourceRef,
    pub attributes: Attributes,
    pub stamp: Stamp,
    pub verdicts: Vec<Verdict>,
    /// Ends when what it led to is recorded.
    pub change: trace::Span,
}

impl Recorder {
    pub(super) async fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Begin => self.table.begin_listing(),
            Seen::Check(subject, stamp, answer) => {
                let known = self.table.see(&Key::of(&subject), Some(&stamp));
                // The pipeline is gone only at shutdown.
                let _ = answer.send(known);
            }
            Seen::Evaluated(evaluated) => {
                self.activate(&evaluated.set).await;
                self.evaluated(*evaluated);
                self.seal_if_full().await;
            }
            Seen::Kept(subject) => {
                self.table.see(&Key::of(&subject), None);
            }
            Seen::Gone(subject, seen) => {
                self.gone(&Key::of(&subject), seen);
                self.seal_if_full().await;
            }
            Seen::End(scope, seen) => {
                for key in self.table.unseen(&scope) {
                    self.gone(&key, seen);
                    self.seal_if_full().await;
                }
            }
            Seen::Complete(set, unavailable) => {
                self.activate(&set).await;
                self.complete(unavailable).await;
            }
            Seen::Health(healthy, detail) => self.watched(healthy, &detail).await,
        }
    }

    /// A set came into force: what is pending belongs to the one before.
    async fn activate(&mut self, set: &Arc<CompiledSet>) {
        if self.current.as_ref().is_some_and(|current| current.set.id() == set.id()) {
            return;
        }
        self.seal().await;
        let digest = policy_set::digest(set.policy_set());
        let numbers = self.table.number(digest, set.policy_set()).into();
        self.current = Some(Indexed { set: Arc::clone(set), digest, numbers });
        self.is_complete = false;
        self.unavailable.clear();
        self.announce_set();
    }

    fn evaluated(&mut self, evaluated: Evaluated) {
        let Some(indexed) = self.current.clone() else { return };
        let Evaluated { set: _, subject, attributes, stamp, verdicts, change } = evaluated;
        let span = trace::span("record").child_of(&change);
        let key = Key::of(&subject);
        let uid = attributes.uid.clone();
        if self.table.get(&key).is_some_and(|entry| *entry.uid != *uid) {
            self.removed(&key, &span);
        }
        let stated = Stated::of(&indexed, Subject::Kubernetes(subject), attributes, &verdicts);
        let cells = stated.cells(&indexed);
        let header = self.header(Class::P2);
        let body = RecordBody::Verdict(stated.clone().into_body());
        // A record must have a seq to be read back; a snapshot gives it its own.
        let parts = split(Record { header: RecordHeader { seq: 1, ..header.clone() }, body });
        let parts = parts.iter().map(provost_proto::record::encode).collect();
        let difference = self.table.put(key.clone(), stamp, &uid, cells, parts);
        let changes = difference.changed.len() + difference.withdrawn.len();
        self.metrics.objects.set_size(self.table.len() as u64);
        self.metrics.changes.add(changes as u64);
        span.set("provost.verdict_changes", changes);
        if difference != crate::state::table::Difference::default() {
            let header = RecordHeader { trace_parent: span.trace_parent(), ..header };
            self.pending.changed(key, header, &stated, &difference, &indexed);
            self.stirred();
        }
    }

    /// A change of its own, for what is known.
    fn gone(&mut self, key: &Key, seen: Moment) {
        let Some(verdicts) = self.table.get(key).map(|entry| entry.cells.len()) else { return };
        let change = traced::change(seen, &key.subject());
        let span = trace::span("record").child_of(&change);
        span.set("provost.verdict_changes", verdicts);
        self.removed(key, &span);
    }

    /// `span` is of the change that it is part of.
    fn removed(&mut self, key: &Key, span: &trace::Span) {
        let Some(entry) = self.table.remove(key) else { return };
        self.metrics.objects.set_size(self.table.len() as u64);
        self.metrics.changes.add(entry.cells.len() as u64);
        let header = RecordHeader { trace_parent: span.trace_parent(), ..self.header(Class::P1) };
        let subject = Subject::Kubernetes(key.subject());
        self.pending.removed(key, header, subject, entry.uid.to_string());
        self.stirred();
    }

    async fn complete(&mut self, unavailable: Vec<Unavailable>) {
        let first = !std::mem::replace(&mut self.is_complete, true);
        let other = std::mem::replace(&mut self.unavailable, unavailable) != self.unavailable;
        self.health.set("evaluate", true, "");
        if first {
            let reason = match self.had_snapshot {
                true => SnapshotReason::Activation,
                false => SnapshotReason::First,
            };
            // What a snapshot that is due says, this one says too, and later.
            self.snapshot_due = None;
            self.want_snapshot(reason).await;
        } else if other {
            self.want_snapshot(SnapshotReason::Activation).await;
        }
    }

    async fn watched(&mut self, healthy: bool, detail: &str) {
        self.health.set_optional("watch", healthy, detail);
        if std::mem::replace(&mut self.watch_is_healthy, healthy) != healthy {
            let event = if healthy { ModeEvent::Recovered } else { ModeEvent::Degraded };
            self.mode(event, "watch", detail);
            self.seal().await;
        }
    }
}
