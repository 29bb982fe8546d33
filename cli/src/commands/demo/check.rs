//! What the hub must say at each point of the story, and whether it does.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

/// States of a cluster's verdicts as the hub counts them; a missing one is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Counts {
    pub pass: u64,
    pub fail: u64,
    pub warn: u64,
    pub error: u64,
    pub skip: u64,
    pub exempt: u64,
    pub stale: u64,
}

pub type ByCluster = BTreeMap<String, Counts>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub v1: ByCluster,
    pub dark: ByCluster,
    pub v2: ByCluster,
}

impl Expected {
    pub fn load() -> anyhow::Result<Self> {
        serde_json::from_str(include_str!("expected.json")).context("expected.json is damaged")
    }
}

/// What the rows of `GET /api/v1/clusters` say.
pub fn counted(clusters: &[Value]) -> anyhow::Result<ByCluster> {
    clusters
        .iter()
        .map(|cluster| {
            let name = cluster["name"].as_str().unwrap_or_default().to_owned();
            let states = cluster.get("states").cloned().unwrap_or_default();
            let counts = serde_json::from_value(states)
                .with_context(|| format!("the hub's states of {name} are not counts"))?;
            Ok((name, counts))
        })
        .collect()
}

pub fn total(clusters: &ByCluster) -> Counts {
    clusters.values().fold(Counts::default(), |sum, one| Counts {
        pass: sum.pass + one.pass,
        fail: sum.fail + one.fail,
        warn: sum.warn + one.warn,
        error: sum.error + one.error,
        skip: sum.skip + one.skip,
        exempt: sum.exempt + one.exempt,
        stale: sum.stale + one.stale,
    })
}

/// The clusters that differ, for people.
pub fn difference(expected: &ByCluster, found: &ByCluster) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    names
        .into_iter()
        .filter(|name| expected.get(*name) != found.get(*name))
        .map(|name| {
            format!(
                "{name}: expected {}, the hub says {}",
                shown(expected.get(name)),
                shown(found.get(name))
            )
        })
        .collect()
}

fn shown(counts: Option<&Counts>) -> String {
    let Some(counts) = counts else { return "no such cluster".to_owned() };
    let Counts { pass, fail, warn, error, skip, exempt, stale } = counts;
    let named = [
        ("pass", pass),
        ("fail", fail),
        ("warn", warn),
        ("error", error),
        ("skip", skip),
        ("exempt", exempt),
        ("stale", stale),
    ];
    let parts: Vec<_> = named
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_count_that_is_off_by_one_is_named() {
        let expected = Expected::load().unwrap();
        let rows: Vec<Value> = expected.v1.iter().map(|(name, counts)| json!({"name": name, "states": {"pass": counts.pass, "fail": counts.fail}})).collect();
        assert_eq!(difference(&expected.v1, &counted(&rows).unwrap()), Vec::<String>::new());
        let mut wrong = rows;
        wrong[0]["states"]["fail"] = json!(99);
        assert_eq!(difference(&expected.v1, &counted(&wrong).unwrap()).len(), 1);
    }
}
