//! Counts of verdicts in their eight states, never folded, and what is computed from them.
//!
//! Invariants: a verdict of a cluster that is away counts as stale and as nothing else; a score of
//! nothing is none, not zero and not a hundred; what is shown as 100 % is all.

use std::collections::BTreeMap;

use provost_model::{ClusterId, Outcome, PolicyId};
use serde::Serialize;

use crate::store::rollups::{NamespaceCount, PolicyCount};

/// Verdicts by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct States {
    pub pass: u64,
    pub fail: u64,
    pub warn: u64,
    pub error: u64,
    pub skip: u64,
    pub exempt: u64,
    /// Rows of (cluster, binding, kind) without a verdict, in clusters that are heard.
    pub not_evaluated: u64,
    /// Last verdicts of clusters that are away, whatever they were.
    pub stale: u64,
}

/// States, and of these what counts in the score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub states: States,
    pub scored_pass: u64,
    pub scored_fail: u64,
}

impl Tally {
    pub fn add(&mut self, outcome: Outcome, scored: bool, fresh: bool, verdicts: u64) {
        if !fresh {
            self.states.stale += verdicts;
            return;
        }
        let state = match outcome {
            Outcome::Pass => &mut self.states.pass,
            Outcome::Fail => &mut self.states.fail,
            Outcome::Warn => &mut self.states.warn,
            Outcome::Error => &mut self.states.error,
            Outcome::Skip => &mut self.states.skip,
            Outcome::Exempt => &mut self.states.exempt,
        };
        *state += verdicts;
        match outcome {
            Outcome::Pass if scored => self.scored_pass += verdicts,
            Outcome::Fail if scored => self.scored_fail += verdicts,
            _ => {}
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let States { pass, fail, warn, error, skip, exempt, not_evaluated, stale } = other.states;
        self.states.pass += pass;
        self.states.fail += fail;
        self.states.warn += warn;
        self.states.error += error;
        self.states.skip += skip;
        self.states.exempt += exempt;
        self.states.not_evaluated += not_evaluated;
        self.states.stale += stale;
        self.scored_pass += other.scored_pass;
        self.scored_fail += other.scored_fail;
    }

    /// pass / (pass + fail) in clusters that are heard; none where there is nothing to score.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        ratio(self.scored_pass, self.scored_pass + self.scored_fail)
    }

    /// Evaluated of expected, in clusters that are heard.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        let States { pass, fail, warn, error, skip, exempt, not_evaluated, stale: _ } = self.states;
        let evaluated = pass + fail + warn + skip + exempt;
        ratio(evaluated, evaluated + error + not_evaluated)
    }
}

/// None where there is nothing to divide by.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `96.2 %`, rounded towards the middle: 100 % and 0 % are said only of all and of none.
#[must_use]
pub fn percent(ratio: Option<f64>) -> String {
    match ratio {
        None => "none".to_owned(),
        Some(r) if r >= 1.0 => "100 %".to_owned(),
        Some(r) if r <= 0.0 => "0 %".to_owned(),
        Some(r) => format!("{:.1} %", (r * 100.0).clamp(0.1, 99.9)),
    }
}

/// By cluster.
#[must_use]
pub fn by_cluster(
    counts: &[PolicyCount],
    fresh: impl Fn(ClusterId) -> bool,
) -> BTreeMap<ClusterId, Tally> {
    let mut tallies: BTreeMap<ClusterId, Tally> = BTreeMap::new();
    for count in counts {
        let tally = tallies.entry(count.cluster).or_default();
        tally.add(count.outcome, count.scored, fresh(count.cluster), count.verdicts);
    }
    tallies
}

/// By policy, of all clusters together.
#[must_use]
pub fn by_policy(
    counts: &[PolicyCount],
    fresh: impl Fn(ClusterId) -> bool,
) -> BTreeMap<PolicyId, Tally> {
    let mut tallies: BTreeMap<PolicyId, Tally> = BTreeMap::new();
    for count in counts {
        let tally = tallies.entry(count.policy.clone()).or_default();
        tally.add(count.outcome, count.scored, fresh(count.cluster), count.verdicts);
    }
    tallies
}

/// Of one cluster, by namespace and the key that `column` gives.
#[must_use]
pub fn by_namespace(
    counts: &[NamespaceCount],
    fresh: bool,
    column: impl Fn(&NamespaceCount) -> String,
) -> BTreeMap<String, BTreeMap<String, Tally>> {
    let mut rows: BTreeMap<String, BTreeMap<String, Tally>> = BTreeMap::new();
    for count in counts {
        let row = rows.entry(count.namespace.clone()).or_default();
        let tally = row.entry(column(count)).or_default();
        tally.add(count.outcome, count.scored, fresh, count.verdicts);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_away_is_stale_and_never_green() {
        let mut tally = Tally::default();
        tally.add(Outcome::Pass, true, false, 10);
        tally.add(Outcome::Fail, true, false, 1);
        assert_eq!(tally.states, States { stale: 11, ..States::default() });
        assert_eq!((tally.score(), tally.coverage()), (None, None));
    }

    #[test]
    fn unscored_bindings_stay_out_of_the_score() {
        let mut tally = Tally::default();
        tally.add(Outcome::Pass, true, true, 3);
        tally.add(Outcome::Fail, true, true, 1);
        tally.add(Outcome::Fail, false, true, 100);
        assert_eq!(tally.score(), Some(0.75));
        assert_eq!(tally.states.fail, 101);
    }

    #[test]
    fn merging_adds_every_state() {
        let mut all = Tally::default();
        for outcome in Outcome::ALL {
            all.add(*outcome, true, true, 1);
        }
        all.add(Outcome::Pass, true, false, 1);
        all.states.not_evaluated = 1;
        let mut twice = all;
        twice.merge(&all);
        let States { pass, fail, warn, error, skip, exempt, not_evaluated, stale } = twice.states;
        assert_eq!([pass, fail, warn, error, skip, exempt, not_evaluated, stale], [2; 8]);
        assert_eq!((twice.scored_pass, twice.scored_fail), (2, 2));
    }

    #[test]
    fn a_hundred_percent_means_all() {
        assert_eq!(percent(ratio(9_999_999, 10_000_000)), "99.9 %");
        assert_eq!(percent(ratio(1, 10_000_000)), "0.1 %");
        assert_eq!(percent(ratio(5, 5)), "100 %");
        assert_eq!(percent(ratio(0, 5)), "0 %");
        assert_eq!(percent(ratio(0, 0)), "none");
        assert_eq!(percent(Some(0.9624)), "96.2 %");
    }
}
