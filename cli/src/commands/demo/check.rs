//! What the hub must say at each point of the story, and whether it does.
//!
//! Invariant: every field of [`Standing`] is compared, and what `expected.json` leaves out is 0 or
//! none. How its numbers were found stands in `expected.md`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

/// As the hub counts: a verdict is in one state, and a missing one is 0.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Standing {
    pub pass: u64,
    pub fail: u64,
    pub warn: u64,
    pub error: u64,
    pub skip: u64,
    pub exempt: u64,
    pub not_evaluated: u64,
    pub stale: u64,
    pub score: Option<Ratio>,
    pub coverage: Option<Ratio>,
    /// Of a cluster.
    pub fresh: Option<bool>,
    /// This and the rest are of the fleet.
    pub freshness: Option<Ratio>,
    pub open_findings: Option<u64>,
    pub undeclared_gaps: Option<u64>,
}

/// Written `28/30`; of the hub's JSON a decimal, whose last digits are nobody's promise.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Ratio(f64);

/// One point of the story.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    pub clusters: BTreeMap<String, Standing>,
    pub fleet: Standing,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub v1: Stage,
    pub dark: Stage,
    pub v2: Stage,
}

impl Expected {
    pub fn load() -> anyhow::Result<Self> {
        serde_json::from_str(include_str!("expected.json")).context("expected.json is damaged")
    }
}

impl Stage {
    /// What `GET /api/v1/clusters` and `GET /api/v1/fleet` say.
    pub fn of(clusters: &[Value], fleet: &Value) -> anyhow::Result<Self> {
        let clusters = clusters.iter().map(|cluster| {
            let name = cluster["name"].as_str().unwrap_or_default().to_owned();
            let mut standing = Standing::of(cluster).with_context(|| name.clone())?;
            standing.fresh = cluster["fresh"].as_bool();
            Ok((name, standing))
        });
        let clusters = clusters.collect::<anyhow::Result<_>>()?;
        let mut of_fleet = Standing::of(fleet).context("the fleet")?;
        of_fleet.freshness = fleet["freshness"].as_f64().map(Ratio);
        of_fleet.open_findings = fleet["openFindings"].as_u64();
        of_fleet.undeclared_gaps = fleet["undeclaredGaps"].as_u64();
        Ok(Self { clusters, fleet: of_fleet })
    }

    /// Where `found` differs, for people.
    pub fn difference(&self, found: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.clusters.keys().chain(found.clusters.keys()).collect();
        let mut pairs: Vec<_> = names
            .into_iter()
            .map(|name| (name.as_str(), self.clusters.get(name), found.clusters.get(name)))
            .collect();
        pairs.push(("the fleet", Some(&self.fleet), Some(&found.fleet)));
        pairs.retain(|(_, expected, found)| expected != found);
        let shown = |standing: Option<&Standing>| {
            standing.map_or_else(|| "no such cluster".to_owned(), Standing::shown)
        };
        let line = |(name, expected, found)| {
            format!("{name}: expected {}, the hub says {}", shown(expected), shown(found))
        };
        pairs.into_iter().map(line).collect()
    }
}

impl Standing {
    fn of(row: &Value) -> anyhow::Result<Self> {
        let states = row.get("states").cloned().unwrap_or_default();
        let mut standing: Self =
            serde_json::from_value(states).context("what the hub says are not counts")?;
        standing.score = row["score"].as_f64().map(Ratio);
        standing.coverage = row["coverage"].as_f64().map(Ratio);
        Ok(standing)
    }

    fn shown(&self) -> String {
        let Self { pass, fail, warn, error, skip, exempt, not_evaluated, stale, .. } = self;
        let Self { score, coverage, fresh, freshness, open_findings, undeclared_gaps, .. } = self;
        let counts = [
            ("pass", *pass),
            ("fail", *fail),
            ("warn", *warn),
            ("error", *error),
            ("skip", *skip),
            ("exempt", *exempt),
            ("not evaluated", *not_evaluated),
            ("stale", *stale),
            ("open findings", open_findings.unwrap_or(0)),
            ("undeclared gaps", undeclared_gaps.unwrap_or(0)),
        ];
        let counts = counts.iter().filter(|(_, count)| *count > 0);
        let mut parts: Vec<_> = counts.map(|(name, count)| format!("{count} {name}")).collect();
        for (name, ratio) in [("score", score), ("coverage", coverage), ("freshness", freshness)] {
            parts.extend(ratio.map(|ratio| format!("{name} {:.4}", ratio.0)));
        }
        parts.extend(fresh.map(|fresh| if fresh { "fresh" } else { "away" }.to_owned()));
        parts.join(", ")
    }
}

impl PartialEq for Ratio {
    fn eq(&self, other: &Self) -> bool {
        (self.0 - other.0).abs() < 1e-9
    }
}

impl TryFrom<String> for Ratio {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let ratio = text.split_once('/').and_then(|(part, whole)| {
            let (part, whole): (u32, u32) = (part.parse().ok()?, whole.parse().ok()?);
            (whole > 0).then(|| Self(f64::from(part) / f64::from(whole)))
        });
        ratio.ok_or_else(|| format!("{text:?} is no fraction such as 28/30"))
    }
}

/// Silence is never green: the site is away for at least `least_ms`, its last verdicts count as stale
/// and as nothing else, and it has no score. Returns how long it has not been heard.
pub fn stale_age_ms(
    fleet: &Value,
    stage: &Stage,
    name: &str,
    least_ms: u64,
) -> anyhow::Result<u64> {
    let away = fleet["away"].as_array().into_iter().flatten();
    let row = away.into_iter().find(|row| row["name"] == name);
    let row = row.with_context(|| format!("the roll-up does not list {name} as away"))?;
    let age_ms =
        row["ageMs"].as_u64().with_context(|| format!("{name} is stale without an age"))?;
    ensure!(age_ms >= least_ms, "{name} is stale after {age_ms} ms, before its time");
    ensure!(fleet["clusters"]["stale"] == 1, "the roll-up counts other stale clusters");
    let standing = stage.clusters.get(name).with_context(|| format!("{name} is gone"))?;
    let only = Standing { stale: standing.stale, fresh: Some(false), ..Standing::default() };
    ensure!(standing.stale > 0 && *standing == only, "{name} is {}", standing.shown());
    Ok(age_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Clusters and fleet as a hub would answer at the dark point of the story.
    fn dark() -> (Vec<Value>, Value) {
        let stage = Expected::load().unwrap().dark;
        let states = |standing: &Standing| {
            let Standing { pass, fail, not_evaluated, stale, .. } = standing;
            json!({"pass": pass, "fail": fail, "notEvaluated": not_evaluated, "stale": stale})
        };
        let row = |(name, standing): (&String, &Standing)| {
            json!({"name": name, "states": states(standing), "score": standing.score.map(|r| r.0),
                "coverage": standing.coverage.map(|r| r.0), "fresh": standing.fresh})
        };
        let clusters = stage.clusters.iter().map(row).collect();
        let fleet = json!({"states": states(&stage.fleet), "score": stage.fleet.score.map(|r| r.0),
            "coverage": stage.fleet.coverage.map(|r| r.0),
            "freshness": stage.fleet.freshness.map(|r| r.0),
            "openFindings": 15, "undeclaredGaps": 0, "clusters": {"stale": 1},
            "away": [{"name": "store-14", "ageMs": 3100}]});
        (clusters, fleet)
    }

    #[test]
    fn every_number_that_is_off_by_one_is_named() {
        let expected = Expected::load().unwrap().dark;
        let (clusters, fleet) = dark();
        let difference = |clusters: &[Value], fleet: &Value| {
            expected.difference(&Stage::of(clusters, fleet).unwrap())
        };
        assert_eq!(difference(&clusters, &fleet), Vec::<String>::new());
        for (pointer, wrong) in [
            ("/states/fail", json!(99)),
            ("/states/notEvaluated", json!(1)),
            ("/states/skip", json!(1)),
            ("/score", json!(0.5)),
            ("/coverage", json!(0.5)),
            ("/coverage", Value::Null),
            ("/fresh", json!(false)),
        ] {
            let mut rows = clusters.clone();
            let field = pointer.rsplit('/').next().unwrap();
            match pointer.strip_prefix("/states/") {
                Some(state) => rows[0]["states"][state] = wrong,
                None => rows[0][field] = wrong,
            }
            let told = difference(&rows, &fleet);
            assert!(told.len() == 1 && told[0].starts_with("cloud-eu:"), "{pointer}: {told:?}");
        }
        for (field, wrong) in [
            ("freshness", json!(1.0)),
            ("openFindings", json!(14)),
            ("undeclaredGaps", json!(1)),
            ("score", Value::Null),
        ] {
            let mut other = fleet.clone();
            other[field] = wrong;
            let told = difference(&clusters, &other);
            assert!(told.len() == 1 && told[0].starts_with("the fleet:"), "{field}: {told:?}");
        }
    }

    #[test]
    fn a_stale_site_is_never_green() {
        let (clusters, fleet) = dark();
        let age = |clusters: &[Value], fleet: &Value| {
            let stage = Stage::of(clusters, fleet).unwrap();
            stale_age_ms(fleet, &stage, "store-14", 3000).ok()
        };
        assert_eq!(age(&clusters, &fleet), Some(3100));
        for (field, wrong) in [("score", json!(1.0)), ("fresh", json!(true))] {
            let mut green = clusters.clone();
            let row = green.iter_mut().find(|row| row["name"] == "store-14").unwrap();
            row[field] = wrong;
            assert_eq!(age(&green, &fleet), None, "{field}");
        }
        let mut early = fleet;
        early["away"][0]["ageMs"] = json!(2999);
        assert_eq!(age(&clusters, &early), None);
        early["away"] = json!([]);
        assert_eq!(age(&clusters, &early), None);
    }

    #[test]
    fn the_numbers_of_the_clusters_add_up_to_the_fleets() {
        let expected = Expected::load().unwrap();
        for stage in [&expected.v1, &expected.dark, &expected.v2] {
            let sum = |of: fn(&Standing) -> u64| stage.clusters.values().map(of).sum::<u64>();
            assert_eq!(sum(|s| s.pass), stage.fleet.pass);
            assert_eq!(sum(|s| s.fail), stage.fleet.fail);
            assert_eq!(sum(|s| s.stale), stage.fleet.stale);
            assert_eq!(sum(|s| s.not_evaluated), stage.fleet.not_evaluated);
        }
    }
}
