//! Whether a binding covers a subject.

use provost_model::policy::KindSelector;
use provost_model::{Labels, Match};

use crate::review::Review;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// The binding says nothing of the subject.
    None,
    /// Matched, but in a namespace that the binding excludes: skip.
    Excluded,
    Full,
}

/// What bindings look at, taken from a review once.
pub(crate) struct Facts<'a> {
    review: &'a Review,
    /// A Namespace counts as standing in itself, so that what holds for a namespace's objects
    /// holds for the Namespace too.
    namespace: &'a str,
    labels: Labels,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(review: &'a Review) -> Self {
        let is_namespace = review.gvk.group.is_empty() && review.gvk.kind == "Namespace";
        let namespace = if is_namespace { &review.name } else { &review.namespace };
        Self { review, namespace, labels: review.object.labels() }
    }

    pub(crate) fn coverage(&self, matches: &Match) -> Coverage {
        // The cluster selector was asked when the bindings in force were chosen.
        let Match { clusters: _, namespaces, excluded_namespaces: _, kinds, labels: _ } = matches;
        let kind = |selector: &KindSelector| selector.matches(&self.review.gvk);
        let covered = (kinds.is_empty() || kinds.iter().any(kind))
            && (namespaces.is_empty()
                || (!self.namespace.is_empty() && matches.covers_namespace(self.namespace)))
            && matches.covers_labels(&self.labels);
        if !covered {
            Coverage::None
        } else if !self.namespace.is_empty() && matches.excludes_namespace(self.namespace) {
            Coverage::Excluded
        } else {
            Coverage::Full
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provost_model::policy::Checkpoint;
    use serde_json::json;

    fn coverage(object: serde_json::Value, matches: serde_json::Value) -> Coverage {
        let review = Review::of(object.into(), Checkpoint::Run).unwrap();
        Facts::of(&review).coverage(&serde_json::from_value(matches).unwrap())
    }

    fn pod(namespace: &str) -> serde_json::Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": namespace, "labels": {"tier": "edge"}}})
    }

    #[test]
    fn every_part_that_is_set_must_hold() {
        for (matches, expected) in [
            (json!({}), Coverage::Full),
            (json!({"namespaces": ["shop-*"]}), Coverage::Full),
            (json!({"namespaces": ["bank"]}), Coverage::None),
            (json!({"excludedNamespaces": ["shop-a"]}), Coverage::Excluded),
            (json!({"namespaces": ["bank"], "excludedNamespaces": ["shop-a"]}), Coverage::None),
            (json!({"kinds": [{"group": "apps", "kinds": ["*"]}]}), Coverage::None),
            (json!({"kinds": [{"group": "", "kinds": ["Pod"]}]}), Coverage::Full),
            (json!({"labels": {"matchLabels": {"tier": "edge"}}}), Coverage::Full),
            (json!({"labels": {"matchLabels": {"tier": "cloud"}}}), Coverage::None),
        ] {
            assert_eq!(coverage(pod("shop-a"), matches.clone()), expected, "{matches}");
        }
    }

    #[test]
    fn a_namespace_stands_in_itself_and_other_cluster_scoped_kinds_in_none() {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}});
        assert_eq!(
            coverage(namespace, json!({"excludedNamespaces": ["kube-*"]})),
            Coverage::Excluded
        );
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kube-system"}});
        assert_eq!(coverage(node.clone(), json!({"excludedNamespaces": ["*"]})), Coverage::Full);
        assert_eq!(coverage(node, json!({"namespaces": ["*"]})), Coverage::None);
    }
}
