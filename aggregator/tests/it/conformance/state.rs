//! What records make of current state.

use std::collections::BTreeMap;

use provost_aggregator::store::Store;
use provost_aggregator::store::identity::Reentry;
use provost_aggregator::store::reports::{AlarmRow, Ingested};
use provost_model::{Digest, InstanceId, NotEvaluated, NotEvaluatedReason, Outcome, RecordBody};
use provost_trust::KeyPair;

use super::{Fixture, cluster};
use crate::chain::{
    Chain, POLICIES, Step, activated, change, decoded, record, removed, says, snapshot, verdict,
};

/// Verdicts by policy and outcome.
async fn counts(store: &dyn Store) -> BTreeMap<(String, Outcome), u64> {
    let rows = store.policy_counts(None).await.unwrap();
    rows.into_iter().map(|row| ((row.policy.to_string(), row.outcome), row.verdicts)).collect()
}

fn expected(rows: &[(usize, Outcome, u64)]) -> BTreeMap<(String, Outcome), u64> {
    rows.iter().map(|(index, outcome, n)| ((POLICIES[*index].to_owned(), *outcome), *n)).collect()
}

async fn open_findings(store: &dyn Store) -> u64 {
    store.open_by_cluster().await.unwrap().iter().map(|count| count.findings).sum()
}

fn asks_for_resync(ingested: &Ingested) -> bool {
    matches!(ingested, Ingested::Accepted { resync: true, .. })
}

async fn take(store: &dyn Store, chain: &mut Chain, bodies: Vec<RecordBody>) -> Ingested {
    store.ingest(&chain.stored(bodies), 10).await.unwrap()
}

pub async fn findings_open_and_close_with_their_verdict(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    take(store, &mut chain, vec![activated(), change("a", vec![says("a", 1, 3), says("a", 2, 0)])])
        .await;
    assert_eq!(counts(store).await, expected(&[(1, Outcome::Fail, 1), (2, Outcome::Pass, 1)]));
    assert_eq!(open_findings(store).await, 3);
    take(store, &mut chain, vec![change("a", vec![says("a", 1, 1)])]).await;
    assert_eq!(open_findings(store).await, 1);
    take(store, &mut chain, vec![change("a", vec![says("a", 1, 0)])]).await;
    assert_eq!(open_findings(store).await, 0);
    assert_eq!(counts(store).await, expected(&[(1, Outcome::Pass, 1), (2, Outcome::Pass, 1)]));
    // What closed opens again under the same key.
    take(store, &mut chain, vec![change("a", vec![says("a", 1, 2)])]).await;
    assert_eq!(open_findings(store).await, 2);
}

pub async fn a_snapshot_closes_what_it_did_not_see(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    take(store, &mut chain, vec![activated(), change("a", vec![says("a", 1, 1), says("a", 2, 1)])])
        .await;
    take(store, &mut chain, vec![change("gone", vec![says("gone", 1, 1)])]).await;
    assert_eq!(open_findings(store).await, 3);
    let inactive = NotEvaluated {
        policy: POLICIES[0].parse().unwrap(),
        binding: "default".parse().unwrap(),
        group: String::new(),
        kind: "Pod".to_owned(),
        reason: NotEvaluatedReason::Inactive,
        detail: String::new(),
    };
    let stated =
        snapshot(1, &[("a", vec![says("a", 1, 1)]), ("b", vec![says("b", 2, 0)])], vec![inactive]);
    let taken = take(store, &mut chain, stated).await;
    assert!(!asks_for_resync(&taken), "{taken:?}");
    assert_eq!(counts(store).await, expected(&[(1, Outcome::Fail, 1), (2, Outcome::Pass, 1)]));
    assert_eq!(open_findings(store).await, 1);
    let missing = store.not_evaluated(None).await.unwrap();
    assert_eq!(missing[0].reason, NotEvaluatedReason::Inactive);
    assert!(store.cluster(chain.cluster).await.unwrap().unwrap().snapshot_at_ms.is_some());
}

/// Scenario: a snapshot's end counts more than arrived. Guarantee: nothing closes, and everything is asked for again.
pub async fn an_incomplete_snapshot_closes_nothing(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    take(store, &mut chain, vec![activated(), change("old", vec![says("old", 1, 1)])]).await;
    let pods = [("a", vec![says("a", 1, 1)]), ("b", vec![says("b", 1, 0)])];
    for dropped in [1, 2] {
        let mut stated = snapshot(dropped, &pods, Vec::new());
        stated.remove(usize::from(dropped));
        let taken = take(store, &mut chain, stated).await;
        assert!(asks_for_resync(&taken), "{taken:?}");
    }
    // An end without a begin, and no snapshot at all: an empty agent is never "all deleted".
    let mut stated = snapshot(3, &[], Vec::new());
    let taken = take(store, &mut chain, vec![stated.remove(1)]).await;
    assert!(asks_for_resync(&taken), "{taken:?}");
    assert_eq!(open_findings(store).await, 2, "old and a");
    let open = |alarms: Vec<AlarmRow>| {
        alarms.iter().filter(|alarm| alarm.resolved_at_ms.is_none()).count()
    };
    assert_eq!(open(store.alarms(None).await.unwrap()), 1);
    assert!(store.cluster(chain.cluster).await.unwrap().unwrap().snapshot_at_ms.is_none());
    // A complete one puts everything right.
    let taken = take(store, &mut chain, snapshot(4, &pods, Vec::new())).await;
    assert!(!asks_for_resync(&taken), "{taken:?}");
    assert_eq!(open_findings(store).await, 1);
    assert_eq!(open(store.alarms(None).await.unwrap()), 0);
}

pub async fn an_elision_within_a_snapshot_voids_it(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    take(store, &mut chain, vec![activated(), change("old", vec![says("old", 1, 1)])]).await;
    let mut steps: Vec<Step> =
        snapshot(1, &[("a", vec![says("a", 1, 1)])], Vec::new()).into_iter().map(record).collect();
    steps.insert(2, Step::Elision(1));
    let taken = store.ingest(&decoded(chain.batch_of(steps)), 11).await.unwrap();
    assert!(asks_for_resync(&taken), "{taken:?}");
    assert_eq!(open_findings(store).await, 2);
}

/// Scenario: a snapshot is spread over batches, and changes come between. Guarantee: what was seen since its begin
/// stays, whoever said it.
pub async fn a_snapshot_across_batches_counts_what_arrived(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    take(store, &mut chain, vec![activated(), change("old", vec![says("old", 1, 1)])]).await;
    let stated =
        snapshot(1, &[("a", vec![says("a", 1, 1)]), ("b", vec![says("b", 1, 2)])], Vec::new());
    let mut bodies = stated.into_iter();
    let (begin, a, b, end) = (
        bodies.next().unwrap(),
        bodies.next().unwrap(),
        bodies.next().unwrap(),
        bodies.next().unwrap(),
    );
    take(store, &mut chain, vec![begin, a]).await;
    take(store, &mut chain, vec![change("new", vec![says("new", 1, 1)]), b]).await;
    let taken = take(store, &mut chain, vec![removed("b"), end]).await;
    assert!(!asks_for_resync(&taken), "{taken:?}");
    assert_eq!(counts(store).await, expected(&[(1, Outcome::Fail, 2)]), "a and new");
    assert_eq!(open_findings(store).await, 2);
}

pub async fn a_changed_uid_is_another_subject(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    let first = verdict("a", "uid-1", vec![says("a", 1, 1), says("a", 2, 0)], None);
    take(store, &mut chain, vec![activated(), first]).await;
    // The new object matches one policy only; the old one's other verdict must not stay with it.
    take(store, &mut chain, vec![verdict("a", "uid-2", vec![says("a", 1, 2)], None)]).await;
    assert_eq!(counts(store).await, expected(&[(1, Outcome::Fail, 1)]));
    assert_eq!(open_findings(store).await, 2);
    // The removal of the old object comes late and says nothing about the new one.
    let late =
        RecordBody::SubjectRemoved { subject: crate::chain::pod("a"), uid: "uid-1".to_owned() };
    take(store, &mut chain, vec![late]).await;
    assert_eq!(open_findings(store).await, 2);
}

pub async fn a_removal_ends_everything(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    take(store, &mut chain, vec![activated(), change("a", vec![says("a", 1, 2)]), removed("a")])
        .await;
    assert!(counts(store).await.is_empty());
    assert_eq!(open_findings(store).await, 0);
    take(store, &mut chain, vec![change("b", vec![says("b", 1, 1)])]).await;
    take(store, &mut chain, vec![removed("b"), removed("never-there")]).await;
    assert!(counts(store).await.is_empty());
}

pub async fn records_without_their_policy_set_ask_for_a_resync(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    chain.set = Some(Digest::of(b"never sent"));
    let taken = take(store, &mut chain, vec![change("a", vec![says("a", 1, 1)])]).await;
    assert!(asks_for_resync(&taken), "{taken:?}");
    assert!(counts(store).await.is_empty());
    assert_eq!(store.alarms(None).await.unwrap()[0].code, "RECORD_INVALID");
    // An index outside the set is one bad verdict; the others count.
    let mut beyond = says("a", 1, 1);
    beyond.binding = 77;
    let taken =
        take(store, &mut chain, vec![activated(), change("a", vec![beyond, says("a", 2, 1)])])
            .await;
    assert!(asks_for_resync(&taken), "{taken:?}");
    assert_eq!(counts(store).await, expected(&[(2, Outcome::Fail, 1)]));
}

/// Scenario: a second replica joins and later takes the audit over. Guarantee: one of them counts at any time: the one
/// that began a snapshot last.
pub async fn only_the_auditing_instance_counts(fixture: Fixture) {
    let store = &*fixture.store;
    let mut first = cluster(store, 1).await;
    take(store, &mut first, vec![activated(), change("a", vec![says("a", 1, 1)])]).await;
    let key = KeyPair::generate().unwrap();
    let instance = InstanceId::from_bytes([9; 16]);
    let reentry = Reentry {
        identity_key: store.cluster(first.cluster).await.unwrap().unwrap().identity_key,
        instance,
        report_key: *key.public().as_bytes(),
        join_counter: 0,
        nonce: Digest::of(b"n"),
        admit_new_instance: true,
    };
    store.reenter(&reentry, 3).await.unwrap();
    let mut second = Chain::new(first.cluster, instance, key);
    take(store, &mut second, vec![activated(), change("b", vec![says("b", 1, 1)])]).await;
    assert_eq!(counts(store).await, expected(&[(1, Outcome::Fail, 1)]), "a alone");
    take(store, &mut second, snapshot(2, &[("b", vec![says("b", 1, 2)])], Vec::new())).await;
    assert_eq!(open_findings(store).await, 2, "b alone, as stated");
    take(store, &mut first, vec![change("a", vec![says("a", 1, 1)])]).await;
    assert_eq!(open_findings(store).await, 2);
}
