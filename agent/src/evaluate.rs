//! From what a source says to what the recorder is told: each object becomes its verdicts and a
//! few attributes, and is gone.
//!
//! Changes keep their order. An object is evaluated in the audit lane with the set in force; where
//! the set is swapped meanwhile, it is evaluated again, so that every answer names the set that
//! is current when it is handed on.

mod attributes;

use std::sync::Arc;
use std::time::Duration;

use provost_engine::{CompiledSet, Evaluator, Review};
use provost_model::policy::Checkpoint;
use provost_model::subject::ResourceRef;
use provost_model::{Attributes, Digest, Verdict};
use provost_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};

use crate::source::{Change, Observed, Scope, Unavailable};

/// What the recorder is told, in the order of the source.
#[derive(Debug)]
pub enum Evaluated {
    Begin(Scope),
    Verdicts(Box<Judged>),
    Gone {
        subject: ResourceRef,
    },
    /// Exists as far as anybody knows; its verdicts stand.
    Unreadable {
        subject: ResourceRef,
    },
    End(Scope),
    Complete {
        set: Arc<CompiledSet>,
        unavailable: Vec<Unavailable>,
    },
    Health {
        healthy: bool,
        detail: String,
    },
}

/// One object, judged.
#[derive(Debug)]
pub struct Judged {
    pub subject: ResourceRef,
    pub attributes: Attributes,
    /// Of what a policy sees of the object ([`provost_engine::Object::digest`]).
    pub digest: Digest,
    /// The set that gave the verdicts.
    pub set: Arc<CompiledSet>,
    /// In (policy id, binding id) order.
    pub verdicts: Vec<Verdict>,
}

/// The audit lane's queue is ours alone; it is full only while it drains after a swap.
const RETRY: Duration = Duration::from_millis(20);

/// Runs until the source ends, the recorder is gone, or shutdown.
pub async fn run(
    evaluator: Evaluator,
    sets: watch::Receiver<Arc<CompiledSet>>,
    mut changes: mpsc::Receiver<Change>,
    recorder: mpsc::Sender<Evaluated>,
    shutdown: Shutdown,
) {
    let pipeline = Pipeline { evaluator, sets, shutdown: shutdown.clone() };
    while let Some(Some(change)) = shutdown.or(changes.recv()).await {
        let Some(evaluated) = pipeline.evaluate(change).await else { return };
        if recorder.send(evaluated).await.is_err() {
            return;
        }
    }
}

struct Pipeline {
    evaluator: Evaluator,
    sets: watch::Receiver<Arc<CompiledSet>>,
    shutdown: Shutdown,
}

impl Pipeline {
    /// None at shutdown.
    async fn evaluate(&self, change: Change) -> Option<Evaluated> {
        Some(match change {
            Change::Begin(scope) => Evaluated::Begin(scope),
            Change::Exists(observed) => Evaluated::Verdicts(Box::new(self.judge(*observed).await?)),
            Change::Gone { subject } => Evaluated::Gone { subject },
            Change::Unreadable { subject } => Evaluated::Unreadable { subject },
            Change::End(scope) => Evaluated::End(scope),
            Change::Complete { set, unavailable } => {
                let current = self.sets.borrow().clone();
                if current.id() != set {
                    // The source lists again for the new set, and completes again.
                    let detail = "the policies changed while the cluster was listed".to_owned();
                    return Some(Evaluated::Health { healthy: true, detail });
                }
                Evaluated::Complete { set: current, unavailable }
            }
            Change::Health { healthy, detail } => Evaluated::Health { healthy, detail },
        })
    }

    async fn judge(&self, observed: Observed) -> Option<Judged> {
        let Observed { object, subject, location } = observed;
        let digest = object.digest();
        let attributes = attributes::of(&object, digest, location);
        let mut review = Review::of(object, Checkpoint::Run)?;
        review.namespace.clone_from(&subject.namespace);
        review.name.clone_from(&subject.name);
        loop {
            let set = self.sets.borrow().clone();
            match self.evaluator.audit(review.clone()).await {
                Ok(answer) if answer.set == set.id() => {
                    return Some(Judged {
                        subject,
                        attributes,
                        digest,
                        set,
                        verdicts: answer.verdicts,
                    });
                }
                Ok(_) => {}
                Err(provost_engine::EvaluatorError::Stopped) => return None,
                Err(error) => {
                    tracing::debug!(%error, %subject, "evaluated again");
                    if !self.shutdown.sleep(RETRY).await {
                        return None;
                    }
                }
            }
        }
    }
}
