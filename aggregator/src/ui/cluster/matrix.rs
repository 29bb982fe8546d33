//! Namespaces by category: each cell its states with their numbers, each number its rows.
//!
//! In a cluster that is away the cells show the last verdicts; the page greys them and says their
//! age, and the link of each opens the stale rows.

use std::collections::{BTreeMap, BTreeSet};

use provost_model::PolicyId;

use crate::api::cluster_detail::NO_CATEGORY;
use crate::api::query::{NO_NAMESPACE, RowQuery};
use crate::api::view::ClusterView;
use crate::store::rollups::{NamespaceCount, PolicyRow};
use crate::tally::{States, Tally, by_namespace};
use crate::ui::chip::{Chip, Face};
use crate::ui::words::{number, visible};

pub struct MatrixRow {
    pub name: String,
    pub href: String,
    /// One a category; each the chips of its states.
    pub cells: Vec<Vec<Chip>>,
}

/// Categories in order, and a row for each namespace.
pub fn matrix(
    view: &ClusterView,
    counts: &[NamespaceCount],
    policies: &BTreeMap<PolicyId, PolicyRow>,
) -> (Vec<String>, Vec<MatrixRow>) {
    let category = |count: &NamespaceCount| {
        let known = policies.get(&count.policy).map(|policy| policy.category.as_str());
        known.filter(|text| !text.is_empty()).unwrap_or(NO_CATEGORY).to_owned()
    };
    // As the cluster said it: who is away is greyed here, not folded.
    let rows = by_namespace(counts, true, category);
    let categories: Vec<String> = rows
        .values()
        .flat_map(|cells| cells.keys().cloned())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let row = |(namespace, cells): (&String, &BTreeMap<String, Tally>)| {
        let query = RowQuery {
            cluster: Some(view.cluster.id.to_string()),
            namespace: Some(address(namespace).to_owned()),
            ..RowQuery::default()
        };
        let of = |category: &String| {
            let query = RowQuery { category: Some(category.clone()), ..query.clone() };
            // Without a category a filter cannot name them.
            let linked = category != NO_CATEGORY;
            cells.get(category).map_or_else(Vec::new, |t| chips(&t.states, &query, view, linked))
        };
        MatrixRow {
            name: if namespace.is_empty() {
                "cluster-scoped".to_owned()
            } else {
                visible(namespace)
            },
            href: query.link("/verdicts").to_string(),
            cells: categories.iter().map(of).collect(),
        }
    };
    let rows = rows.iter().map(row).collect();
    (categories, rows)
}

fn address(namespace: &str) -> &str {
    if namespace.is_empty() { NO_NAMESPACE } else { namespace }
}

fn chips(states: &States, query: &RowQuery, view: &ClusterView, linked: bool) -> Vec<Chip> {
    let States { pass, fail, warn, error, skip, exempt, not_evaluated: _, stale: _ } = *states;
    [
        (Face::Fail, fail),
        (Face::Error, error),
        (Face::Warn, warn),
        (Face::Pass, pass),
        (Face::Exempt, exempt),
        (Face::Skip, skip),
    ]
    .into_iter()
    .filter(|(_, n)| *n > 0)
    .map(|(face, n)| {
        let chip = Chip::new(face, number(n));
        // A stale row's filter is the state it is in now, which is stale: no link says "was fail".
        if !linked || !view.fresh {
            return chip;
        }
        chip.link(
            RowQuery { state: Some(face.class().to_owned()), ..query.clone() }.link("/verdicts"),
        )
    })
    .collect()
}
