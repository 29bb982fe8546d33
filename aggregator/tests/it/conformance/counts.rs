//! Maintained counts against the rows they are made from.

use provost_model::{Outcome, RecordBody};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Fixture, cluster};
use crate::chain::{activated, change, removed, says, snapshot};

const NAMES: [&str; 6] = ["a", "b", "cc", "dd", "eee", "fff"];

/// Scenario: hundreds of random changes, removals and snapshots of two clusters. Guarantee: after each batch the counts
/// are those of the rows, and no bucket is negative.
pub async fn rollups_equal_the_rows_whatever_happens(fixture: Fixture) {
    let store = &*fixture.store;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut chains = [cluster(store, 1).await, cluster(store, 2).await];
    for chain in &mut chains {
        store.ingest(&chain.stored(vec![activated()]), 5).await.unwrap();
    }
    for round in 0..60_u8 {
        let chain = &mut chains[random.random_range(0..2)];
        let bodies = if random.random_bool(0.2) {
            let mut pods = Vec::new();
            for name in &NAMES {
                if random.random_bool(0.5) {
                    continue;
                }
                pods.push((
                    *name,
                    vec![says(name, 1, random.random_range(0..3)), says(name, 0, 0)],
                ));
            }
            snapshot(round + 1, &pods, Vec::new())
        } else {
            (0..random.random_range(1..6)).map(|_| random_change(&mut random)).collect()
        };
        store.ingest(&chain.stored(bodies), i64::from(round)).await.unwrap();
        let (mut policies, mut namespaces) = store.recount().await.unwrap();
        let mut kept =
            (store.policy_counts(None).await.unwrap(), store.namespace_counts(None).await.unwrap());
        policies.sort();
        namespaces.sort();
        kept.0.sort();
        kept.1.sort();
        assert_eq!(kept, (policies, namespaces), "round {round} of seed {seed}");
    }
}

fn random_change(random: &mut StdRng) -> RecordBody {
    let name = NAMES[random.random_range(0..NAMES.len())];
    if random.random_bool(0.2) {
        return removed(name);
    }
    let mut verdict = says(name, random.random_range(0..3), random.random_range(0..3));
    if verdict.outcome == Outcome::Fail && random.random_bool(0.3) {
        verdict.outcome = Outcome::Error;
        verdict.findings.clear();
    }
    change(name, vec![verdict])
}
