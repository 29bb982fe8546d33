//! Which of the kinds that policies match the API server serves.

use kube::Client;
use kube::core::ApiResource;
use kube::discovery::{ApiCapabilities, ApiGroup, Discovery, verbs};
use provost_model::{KindSelector, NotEvaluatedReason};

use crate::source::Unavailable;

/// Kinds that change all the time and that `*` does not mean: a policy has to name them.
const NOT_MEANT_BY_STAR: &[(&str, &str)] =
    &[("", "Event"), ("events.k8s.io", "Event"), ("coordination.k8s.io", "Lease")];

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Discovered {
    /// Sorted, in the version that the server prefers.
    pub kinds: Vec<ApiResource>,
    /// Named by a policy, not served.
    pub not_served: Vec<Unavailable>,
}

pub(super) async fn discover(
    client: &Client,
    selectors: &[KindSelector],
) -> Result<Discovered, kube::Error> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let served: Vec<_> = discovery
        .groups_alphabetical()
        .into_iter()
        .flat_map(ApiGroup::recommended_resources)
        .filter(|(_, capabilities)| can_watch(capabilities))
        .map(|(resource, _)| resource)
        .collect();
    Ok(choose(&served, selectors))
}

pub(super) fn namespaces() -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        plural: "namespaces".to_owned(),
    }
}

fn can_watch(capabilities: &ApiCapabilities) -> bool {
    capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::WATCH)
}

fn choose(served: &[ApiResource], selectors: &[KindSelector]) -> Discovered {
    let mut kinds: Vec<_> = served
        .iter()
        .filter(|resource| selectors.iter().any(|selector| selects(selector, resource)))
        .cloned()
        .collect();
    kinds.sort_by(|a, b| (&a.group, &a.kind).cmp(&(&b.group, &b.kind)));
    let not_served = selectors.iter().flat_map(|selector| missing(served, selector)).collect();
    Discovered { kinds, not_served }
}

fn selects(selector: &KindSelector, resource: &ApiResource) -> bool {
    let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
    let unusual = NOT_MEANT_BY_STAR.contains(&(resource.group.as_str(), resource.kind.as_str()));
    is(&selector.group, &resource.group)
        && selector.kinds.iter().any(|kind| *kind == resource.kind || (kind == "*" && !unusual))
}

fn missing(served: &[ApiResource], selector: &KindSelector) -> Vec<Unavailable> {
    if selector.group == "*" {
        return Vec::new();
    }
    let is_served = |kind: &str| served.iter().any(|r| r.group == selector.group && r.kind == kind);
    selector
        .kinds
        .iter()
        .filter(|kind| *kind != "*" && !is_served(kind))
        .map(|kind| Unavailable {
            group: selector.group.clone(),
            kind: kind.clone(),
            reason: NotEvaluatedReason::NotServed,
            detail: "the API server does not serve this kind".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, kind: &str) -> ApiResource {
        let plural = format!("{}s", kind.to_lowercase());
        let gvk = kube::core::GroupVersionKind::gvk(group, "v1", kind);
        ApiResource::from_gvk_with_plural(&gvk, &plural)
    }

    fn selector(group: &str, kinds: &[&str]) -> KindSelector {
        KindSelector {
            group: group.to_owned(),
            kinds: kinds.iter().map(|k| (*k).to_owned()).collect(),
        }
    }

    #[test]
    fn named_kinds_are_watched_and_missing_ones_are_said() {
        let served = [resource("apps", "Deployment"), resource("", "Pod"), resource("", "Secret")];
        let found =
            choose(&served, &[selector("", &["Pod"]), selector("apps", &["Deployment", "Thing"])]);
        let kinds: Vec<_> = found.kinds.iter().map(|r| r.kind.as_str()).collect();
        assert_eq!(kinds, ["Pod", "Deployment"]);
        let missing: Vec<_> = found.not_served.iter().map(|u| u.kind.as_str()).collect();
        assert_eq!(missing, ["Thing"]);
    }

    #[test]
    fn a_star_means_all_but_what_never_rests() {
        let served = [resource("", "Event"), resource("", "Pod"), resource("apps", "Deployment")];
        let all = choose(&served, &[selector("*", &["*"])]);
        assert_eq!(all.kinds.len(), 2);
        let events = choose(&served, &[selector("", &["Event"])]);
        assert_eq!(events.kinds.len(), 1);
    }
}
