//! What the agent counts about its own work, on the admin port and by OTLP.
//!
//! Invariant: no label comes from an object, a policy or a name; the number of series does not grow with
//! what is watched.

use std::sync::Arc;
use std::time::Duration;

use provost_engine::EvaluatorError;
use provost_model::record::Class;
use provost_model::{Outcome, Record, Verdict};
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::{Counter, Gauge, Histogram, Registry, SECONDS};
use tokio::sync::{mpsc, watch};

use crate::report::Position;
use crate::spool::thread::Announced;
use crate::status::Board;

/// Of one lane of the evaluator.
#[derive(Clone)]
pub struct Evaluations(Arc<Lane>);

struct Lane {
    answered: Counter,
    full: Counter,
    late: Counter,
    stopped: Counter,
    seconds: Histogram,
    verdicts: Vec<(Outcome, Counter)>,
}

impl Evaluations {
    /// `lane` is `audit` or `admission`.
    #[must_use]
    pub fn new(registry: &Registry, lane: &'static str) -> Self {
        let result = |result| {
            registry.counter(
                "provost_agent_evaluations_total",
                "Objects evaluated against the policies in force, by how that ended.",
                &[("lane", lane), ("result", result)],
            )
        };
        let verdicts = |outcome: Outcome| {
            let counter = registry.counter(
                "provost_agent_verdicts_total",
                "Verdicts of those evaluations, changed or not.",
                &[("lane", lane), ("outcome", outcome.as_str())],
            );
            (outcome, counter)
        };
        Self(Arc::new(Lane {
            answered: result("answered"),
            full: result("queue_full"),
            late: result("deadline"),
            stopped: result("stopped"),
            seconds: registry.histogram(
                "provost_agent_evaluation_seconds",
                "Time from asking to the verdicts on one object, waiting included.",
                SECONDS,
                &[("lane", lane)],
            ),
            verdicts: Outcome::ALL.iter().copied().map(verdicts).collect(),
        }))
    }

    pub fn answered(&self, verdicts: &[Verdict], took: Duration) {
        self.0.answered.increment();
        self.0.seconds.observe_duration(took);
        for (outcome, counter) in &self.0.verdicts {
            let of_it = verdicts.iter().filter(|verdict| verdict.outcome == *outcome).count();
            counter.add(of_it as u64);
        }
    }

    pub fn unanswered(&self, error: EvaluatorError) {
        match error {
            EvaluatorError::Full => &self.0.full,
            EvaluatorError::Deadline => &self.0.late,
            EvaluatorError::Stopped => &self.0.stopped,
        }
        .increment();
    }
}

/// Of the recorder.
#[derive(Clone, Default)]
pub struct Recordings {
    pub objects: Gauge,
    pub changes: Counter,
    /// By class: P0, P1, P2.
    records: [Counter; 3],
}

impl Recordings {
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let records = |class: &'static str| {
            registry.counter(
                "provost_agent_records_total",
                "Records that went into the chain, by class.",
                &[("class", class)],
            )
        };
        Self {
            objects: registry.gauge(
                "provost_agent_objects",
                "Objects whose verdicts are known.",
                &[],
            ),
            changes: registry.counter(
                "provost_agent_verdict_changes_total",
                "Verdicts that became another one, came or went.",
                &[],
            ),
            records: ["p0", "p1", "p2"].map(records),
        }
    }

    pub fn recorded(&self, records: &[Record]) {
        let [p0, p1, p2] = &self.records;
        for record in records {
            match record.header.class {
                Class::P0 => p0.increment(),
                Class::P1 => p1.increment(),
                _ => p2.increment(),
            }
        }
    }
}

/// How full a queue is. The queue ends as if nobody looked.
pub fn watch_queue<T: Send + 'static>(
    registry: &Registry,
    queue: &'static str,
    sender: &mpsc::Sender<T>,
) {
    let labels = [("queue", queue)];
    let depth = registry.gauge("provost_agent_queue_depth", "What waits in a queue.", &labels);
    let limit = registry.gauge("provost_agent_queue_limit", "What may wait in it.", &labels);
    limit.set_size(sender.max_capacity() as u64);
    let sender = sender.downgrade();
    registry.before_reading(move || {
        let waiting = sender.upgrade().map_or(0, |s| s.max_capacity() - s.capacity());
        depth.set_size(waiting as u64);
    });
}

/// What the spool holds, at the time it is asked.
pub fn watch_spool(
    registry: &Registry,
    spool: watch::Receiver<Announced>,
    position: watch::Receiver<Position>,
    clock: SharedClock,
) {
    let pending = registry.gauge(
        "provost_agent_pending_changes",
        "Changes and events that are in memory alone, not in the spool yet.",
        &[],
    );
    let records = registry.gauge(
        "provost_agent_spool_records",
        "Records that the hub has not acknowledged.",
        &[],
    );
    let bytes = registry.gauge(
        "provost_agent_spool_bytes",
        "Bytes of the spool on disk, the acknowledged tail included.",
        &[],
    );
    let age = registry.seconds_gauge(
        "provost_agent_spool_oldest_age_seconds",
        "Age of the oldest record that the hub has not acknowledged; 0 where there is none.",
        &[],
    );
    let elisions = registry.counter(
        "provost_agent_spool_elisions_total",
        "Runs of records that were given up and declared, because the budget was reached or they were damaged.",
        &[],
    );
    registry.before_reading(move || {
        let Announced { extent, oldest_wall_ms } = *spool.borrow();
        pending.set_size(position.borrow().pending);
        records.set_size(extent.unacked);
        bytes.set_size(extent.bytes);
        elisions.raise_to(extent.elisions_made);
        let oldest_ms = oldest_wall_ms.filter(|_| extent.unacked > 0);
        let age_ms = oldest_ms.map_or(0, |oldest| clock.wall_ms().saturating_sub(oldest));
        age.set_ms(age_ms.max(0));
    });
}

/// What the status page says, too.
pub fn watch_board(registry: &Registry, board: &Board) {
    let connected = registry.gauge(
        "provost_agent_hub_connected",
        "1 while a session with the hub is open.",
        &[],
    );
    let version = registry.gauge(
        "provost_agent_bundle_version",
        "Version of the bundle in force; 0 before the first.",
        &[],
    );
    let policies = registry.gauge("provost_agent_policies", "Policies in force.", &[]);
    let not_after = registry.seconds_gauge(
        "provost_agent_certificate_not_after_timestamp_seconds",
        "Unix time at which the agent's certificate expires; 0 before there is one.",
        &[],
    );
    let (link, bundles) = (board.link.clone(), board.bundles.clone());
    registry.before_reading(move || {
        let link = link.borrow();
        connected.set(i64::from(link.connected));
        not_after.set_secs(link.certificate_not_after_s.unwrap_or(0));
        let view = bundles.borrow();
        let active = view.active.as_ref();
        version.set_size(active.map_or(0, |active| active.version));
        policies.set_size(active.map_or(0, |active| active.policies as u64));
    });
}
