//! A decision as a record: an event that changes neither state nor score.

use std::time::Duration;

use provost_engine::{CompiledSet, Review};
use provost_model::policy::Checkpoint;
use provost_model::record::AdmissionRecord;
use provost_model::{Attributes, Digest, Outcome, Verdict};

use super::decision::Decision;
use super::review::Context;
use crate::report::reported;

/// The user is named by a digest, so that no name leaves the cluster. `took`: from the question to the decision.
pub(super) fn of(
    set: &CompiledSet,
    review: &Review,
    context: &Context,
    decision: &Decision,
    took: Duration,
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
        duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::review;
    use super::*;

    #[test]
    fn an_event_says_who_asked_for_what_and_how_long_it_took() {
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "web",
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "ada", "groups": []},
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}},
            "oldObject": null,
            "dryRun": false,
        }});
        let request = review::parse(body.to_string().as_bytes()).unwrap();
        let (review, context) = request.into_review().unwrap();
        let (set, decision) = (crate::bundles::empty_set(), Decision::let_through());
        let record = of(&set, &review, &context, &decision, Duration::from_micros(1500));
        assert_eq!((record.operation.as_str(), record.duration_us), ("CREATE", 1500));
        assert_eq!(record.user, Digest::of(b"ada"));
        assert_eq!(record.subject, review.subject());
    }
}
