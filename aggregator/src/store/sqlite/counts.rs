//! Keeps the roll-up counts equal to the rows: each changed verdict leaves its bucket and enters another.

use std::collections::BTreeMap;

use sqlx::{QueryBuilder, SqliteConnection};

use super::Db;
use super::write::{ROWS_PER_INSERT, columns};
use crate::store::Result;
use crate::store::current::{CurrentSubject, CurrentVerdict, SubjectKey};
use crate::store::fold::Entry;

/// (policy, binding, severity, scored, outcome), and with the namespace in the binding's place.
type Bucket = (String, String, &'static str, bool, &'static str);

#[derive(Default)]
struct Deltas {
    policy: BTreeMap<Bucket, i64>,
    namespace: BTreeMap<Bucket, i64>,
}

pub async fn update(
    tx: &mut SqliteConnection,
    cluster: &str,
    subjects: &BTreeMap<SubjectKey, Entry>,
) -> Result<()> {
    let mut deltas = Deltas::default();
    for entry in subjects.values() {
        deltas.add(entry.before.as_ref(), -1);
        deltas.add(entry.now.as_ref(), 1);
    }
    let policy = "INSERT INTO rollup_policy (cluster_id, policy_id, binding_id, severity, scored, outcome, n) ";
    let merge_policy = " ON CONFLICT (cluster_id, policy_id, binding_id, severity, scored, outcome) \
                        DO UPDATE SET n = rollup_policy.n + excluded.n";
    save(tx, cluster, deltas.policy, policy, merge_policy).await?;
    let namespace = "INSERT INTO rollup_namespace (cluster_id, policy_id, namespace, severity, scored, outcome, n) ";
    let merge_namespace = " ON CONFLICT (cluster_id, namespace, policy_id, severity, scored, outcome) \
                           DO UPDATE SET n = rollup_namespace.n + excluded.n";
    save(tx, cluster, deltas.namespace, namespace, merge_namespace).await
}

impl Deltas {
    fn add(&mut self, subject: Option<&CurrentSubject>, sign: i64) {
        let Some(subject) = subject else { return };
        let [_, _, namespace, _] = columns(&subject.subject);
        for ((policy, binding), verdict) in &subject.verdicts {
            let CurrentVerdict { severity, scored, outcome, .. } = verdict;
            let (severity, outcome) = (severity.as_str(), outcome.as_str());
            let of =
                |second: &str| (policy.to_string(), second.to_owned(), severity, *scored, outcome);
            *self.policy.entry(of(binding.as_str())).or_default() += sign;
            *self.namespace.entry(of(&namespace)).or_default() += sign;
        }
    }
}

async fn save(
    tx: &mut SqliteConnection,
    cluster: &str,
    deltas: BTreeMap<Bucket, i64>,
    insert: &'static str,
    merge: &'static str,
) -> Result<()> {
    let changed: Vec<(Bucket, i64)> = deltas.into_iter().filter(|(_, delta)| *delta != 0).collect();
    for rows in changed.chunks(ROWS_PER_INSERT) {
        let mut query = QueryBuilder::<Db>::new(insert);
        query.push_values(
            rows,
            |mut values, ((policy, second, severity, scored, outcome), delta)| {
                values
                    .push_bind(cluster)
                    .push_bind(policy)
                    .push_bind(second)
                    .push_bind(*severity)
                    .push_bind(i64::from(*scored))
                    .push_bind(*outcome)
                    .push_bind(*delta);
            },
        );
        query.push(merge);
        query.build().execute(&mut *tx).await?;
    }
    Ok(())
}
