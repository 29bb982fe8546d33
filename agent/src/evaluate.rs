//! What a source shows, evaluated: change by change, in order, with nothing kept.
//!
//! Invariants: an object is evaluated only if the table does not know it as it stands; answers reach the
//! recorder in the order of the changes; before a listing is said to be complete, every object of
//! it has been evaluated; an answer of a set that was replaced meanwhile is not used.

mod attributes;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use provost_engine::{CompiledSet, Evaluator, EvaluatorError, Review};
use provost_model::policy::Checkpoint;
use provost_model::{Attributes, Digest, Verdict};
use provost_runtime::clock::SharedClock;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::telemetry::trace;
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::Evaluations;
use crate::report::seen::{Evaluated, Seen};
use crate::source::{Change, Observed};
use crate::state::table::Stamp;
use crate::traced;

/// Reviews under way: enough to keep the audit lane's thread busy, and within its queue.
const IN_FLIGHT: usize = 8;
const FULL_DELAY: Duration = Duration::from_millis(50);
pub struct Pipeline {
    pub changes: mpsc::Receiver<Change>,
    pub sets: watch::Receiver<Arc<CompiledSet>>,
    pub evaluator: Evaluator,
    pub seen: mpsc::Sender<Seen>,
    pub clock: SharedClock,
    pub metrics: Evaluations,
}

type Evaluation = BoxFuture<'static, Option<Box<Evaluated>>>;
type InFlight = Vec<Evaluation>;

/// The recorder or the evaluator has ended: so does the pipeline.
struct Over;

impl Pipeline {
    /// Runs until shutdown, or until what it works between has ended.
    pub async fn run(mut self, shutdown: Shutdown) {
        // An end is no failure: whoever it came from says why.
        let _ = shutdown.clone().or(self.work()).await;
    }

    async fn work(&mut self) -> Result<(), Over> {
        let mut in_flight = InFlight::new();
        let mut had_set = false;
        loop {
            let change = match self.changes.try_recv() {
                Ok(change) => change,
                Err(_) => {
                    self.finish(&mut in_flight).await?;
                    self.changes.recv().await.ok_or(Over)?
                }
            };
            // Before a bundle is in force there is nothing to say, and nothing to take back.
            had_set |= !self.sets.borrow().policy_set().entries.is_empty();
            if had_set || matches!(change, Change::Health { .. }) {
                self.take(change, &mut in_flight).await?;
            }
        }
    }

    async fn take(&self, change: Change, in_flight: &mut InFlight) -> Result<(), Over> {
        if let Change::Exists(observed) = change {
            in_flight.extend(self.observed(*observed).await?);
            if in_flight.len() >= IN_FLIGHT {
                self.finish(in_flight).await?;
            }
            return Ok(());
        }
        self.finish(in_flight).await?;
        let seen = match change {
            Change::Exists(_) => return Ok(()),
            Change::Begin(_) => Seen::Begin,
            Change::Gone { subject, seen } => Seen::Gone(subject, seen),
            Change::Unreadable { subject } => Seen::Kept(subject),
            Change::End { scope, seen } => Seen::End(scope, seen),
            Change::Complete { set, unavailable } => {
                let current = self.sets.borrow().clone();
                if current.id() != set {
                    // The next listing is under way, and will be complete for the set in force.
                    return Ok(());
                }
                Seen::Complete(current, unavailable)
            }
            Change::Health { healthy, detail } => Seen::Health(healthy, detail),
        };
        self.seen.send(seen).await.map_err(|_| Over)
    }

    /// Starts an evaluation, unless the object is known as it stands.
    async fn observed(&self, observed: Observed) -> Result<Option<Evaluation>, Over> {
        let Observed { subject, object, location, seen } = observed;
        let digest = object.digest();
        let attributes = attributes::of(&object, digest, location);
        let Some(mut review) = Review::of(object, Checkpoint::Run) else { return Ok(None) };
        review.namespace.clone_from(&subject.namespace);
        review.name.clone_from(&subject.name);
        let set = self.sets.borrow().clone();
        let now = stamp(&set, &digest, &attributes);
        let (answer, known) = oneshot::channel();
        let check = Seen::Check(subject.clone(), now, answer);
        self.seen.send(check).await.map_err(|_| Over)?;
        if known.await.map_err(|_| Over)? {
            return Ok(None);
        }
        let change = traced::change(seen, &subject);
        let (lane, sets) = (Audit::of(self), self.sets.clone());
        let evaluation = async move {
            let span = trace::span("evaluate").child_of(&change);
            let (set, verdicts) = lane.evaluate(&sets, review).await?;
            span.set("provost.verdicts", verdicts.len());
            drop(span);
            let stamp = stamp(&set, &digest, &attributes);
            Some(Box::new(Evaluated { set, subject, attributes, stamp, verdicts, change }))
        };
        Ok(Some(evaluation.boxed()))
    }

    /// Evaluates what is under way together, and hands it on in its order.
    async fn finish(&self, in_flight: &mut InFlight) -> Result<(), Over> {
        for evaluated in futures::future::join_all(in_flight.drain(..)).await {
            let evaluated = evaluated.ok_or(Over)?;
            self.seen.send(Seen::Evaluated(evaluated)).await.map_err(|_| Over)?;
        }
        Ok(())
    }
}

/// The audit lane, as one evaluation needs it.
struct Audit {
    evaluator: Evaluator,
    clock: SharedClock,
    metrics: Evaluations,
}

impl Audit {
    fn of(pipeline: &Pipeline) -> Self {
        let Pipeline { evaluator, clock, metrics, changes: _, sets: _, seen: _ } = pipeline;
        let (evaluator, clock) = (evaluator.clone(), Arc::clone(clock));
        Self { evaluator, clock, metrics: metrics.clone() }
    }

    /// With the set in force: an answer of one that was replaced meanwhile is asked for again.
    async fn evaluate(
        &self,
        sets: &watch::Receiver<Arc<CompiledSet>>,
        review: Review,
    ) -> Option<(Arc<CompiledSet>, Vec<Verdict>)> {
        loop {
            let begun = self.clock.monotonic();
            match self.evaluator.audit(review.clone()).await {
                Ok(answer) => {
                    let took = self.clock.monotonic().saturating_sub(begun);
                    self.metrics.answered(&answer.verdicts, took);
                    let set = sets.borrow().clone();
                    if set.id() == answer.set {
                        return Some((set, answer.verdicts));
                    }
                }
                Err(error) => {
                    self.metrics.unanswered(error);
                    if error == EvaluatorError::Stopped {
                        return None;
                    }
                    // Nobody else fills this lane beyond its queue; if they do, it empties by itself.
                    tokio::time::sleep(FULL_DELAY).await;
                }
            }
        }
    }
}

/// What the verdicts depend on, and what travels with them.
fn stamp(set: &CompiledSet, digest: &Digest, attributes: &Attributes) -> Stamp {
    let Attributes {
        checkpoint: _,
        api_version,
        uid,
        // Changes with every status update: what it stands for is in the digest.
        resource_version: _,
        controller: _,
        owner: _,
        labels: _,
        source: _,
        location,
    } = attributes;
    let place = serde_json::to_vec(location).unwrap_or_default();
    let whole = Digest::of_parts(&[
        set.id().as_bytes(),
        digest.as_bytes(),
        Digest::of(api_version.as_bytes()).as_bytes(),
        Digest::of(uid.as_bytes()).as_bytes(),
        &place,
    ]);
    let mut stamp = Stamp::default();
    stamp.copy_from_slice(&whole.as_bytes()[..16]);
    stamp
}
