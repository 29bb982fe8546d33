//! What an Elision says of the records it stands for: counts by class, outcome and severity.

use std::collections::BTreeMap;

use provost_model::record::{Class, ElisionCount, Record, RecordBody};
use provost_model::{Outcome, Severity};
use serde::{Deserialize, Serialize};

/// Counts verdicts; a record that is none counts once, without outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Row>", into = "Vec<Row>")]
pub struct Tally(BTreeMap<Key, u64>);

type Key = (Class, Option<Outcome>, Option<Severity>);
type Row = (Class, Option<Outcome>, Option<Severity>, u64);

impl Tally {
    /// Of an encoded record; one that this version cannot decode still counts.
    #[must_use]
    pub fn of_bytes(class: Class, record: &[u8]) -> Self {
        provost_proto::record::decode(record)
            .map_or_else(|_| Self::unknown(class, 1), |record| Self::of(&record))
    }

    #[must_use]
    pub fn of(record: &Record) -> Self {
        let mut tally = Self::default();
        let class = record.header.class;
        match &record.body {
            RecordBody::Verdict(body) => {
                for verdict in &body.verdicts {
                    tally.add(class, Some(verdict.outcome), Some(verdict.severity), 1);
                }
                if !body.passes.is_empty() {
                    tally.add(class, Some(Outcome::Pass), None, body.passes.len() as u64);
                }
                if !body.withdrawn.is_empty() {
                    tally.add(class, None, None, body.withdrawn.len() as u64);
                }
            }
            RecordBody::Admission(body) => {
                for verdict in &body.verdicts {
                    tally.add(class, Some(verdict.outcome), Some(verdict.severity), 1);
                }
            }
            RecordBody::SubjectRemoved { .. }
            | RecordBody::SnapshotBegin { .. }
            | RecordBody::SnapshotEnd(_)
            | RecordBody::Bundle(_)
            | RecordBody::Trust(_)
            | RecordBody::Clock { .. }
            | RecordBody::Mode(_) => tally.add(class, None, None, 1),
        }
        tally
    }

    /// For records of which nothing but the number is known.
    #[must_use]
    pub fn unknown(class: Class, records: u64) -> Self {
        let mut tally = Self::default();
        tally.add(class, None, None, records);
        tally
    }

    pub fn merge(&mut self, other: &Self) {
        for (&(class, outcome, severity), &count) in &other.0 {
            self.add(class, outcome, severity, count);
        }
    }

    #[must_use]
    pub fn to_counts(&self) -> Vec<ElisionCount> {
        let count = |(&(class, outcome, severity), &count): (&Key, &u64)| ElisionCount {
            class,
            outcome,
            severity,
            count,
        };
        self.0.iter().map(count).collect()
    }

    fn add(
        &mut self,
        class: Class,
        outcome: Option<Outcome>,
        severity: Option<Severity>,
        count: u64,
    ) {
        *self.0.entry((class, outcome, severity)).or_default() += count;
    }
}

impl From<Vec<Row>> for Tally {
    fn from(rows: Vec<Row>) -> Self {
        Self(rows.into_iter().map(|(c, o, s, count)| ((c, o, s), count)).collect())
    }
}

impl From<Tally> for Vec<Row> {
    fn from(tally: Tally) -> Self {
        tally.0.into_iter().map(|((c, o, s), count)| (c, o, s, count)).collect()
    }
}
