//! A decision as a record: an event that changes neither state nor score.

use provost_engine::{CompiledSet, Review};
use provost_model::policy::Checkpoint;
use provost_model::record::AdmissionRecord;
use provost_model::{Attributes, Digest, Outcome, Verdict};

use super::decision::Decision;
use super::review::Context;
use crate::report::reported;

/// The user is named by a digest, so that no name leaves the cluster.
pub(super) fn of(
    set: &CompiledSet,
    review: &Review,
    context: &Context,
    decision: &Decision,
) -> AdmissionRecord {
    let noteworthy = |verdict: &&Verdict| !matches!(verdict.outcome, Outcome::Pass | Outcome::Skip);
    AdmissionRecord {
        subject: review.subject(),
        attributes: Attributes {
            api_version: review.gvk.api_version(),
            uid: review.object.uid().to_owned(),
            controller: review.object.controller(),
            ..Attributes::at(Checkpoint::Deploy)
        },
        operation: context.operation.clone(),
        user: Digest::of(context.user.as_bytes()),
        allowed: decision.allowed,
        verdicts: decision
            .verdicts
            .iter()
            .filter(noteworthy)
            .filter_map(|verdict| reported(set, verdict, None))
            .collect(),
        duration_us: 0,
    }
}
