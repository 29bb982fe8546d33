//! Tokens, clusters, instances.

use provost_aggregator::store::Error;
use provost_aggregator::store::identity::{
    Approval, ClusterStatus, Enrolled, HelloFacts, Reentered, Reentry,
};
use provost_model::{Digest, Labels};

use super::{Fixture, actor, cluster, enrolment, token};

/// Scenario: a hundred agents race for one token. Guarantee: exactly one is enrolled, and no other leaves a cluster.
pub async fn a_token_is_good_once_for_a_hundred_at_the_same_time(fixture: Fixture) {
    let token = token(&*fixture.store, "one").await;
    let mut races = tokio::task::JoinSet::new();
    for number in 1..=100 {
        let store = fixture.store.clone();
        races.spawn(async move { store.enrol(&enrolment(token, number).0, 1).await.unwrap() });
    }
    let answers = races.join_all().await;
    let won = answers.iter().filter(|answer| matches!(answer, Enrolled::New(_))).count();
    let used = answers.iter().filter(|answer| matches!(answer, Enrolled::TokenUsed)).count();
    assert_eq!((won, used), (1, 99));
    assert_eq!(fixture.store.clusters().await.unwrap().len(), 1);
}

pub async fn an_agent_that_lost_the_answer_asks_again(fixture: Fixture) {
    let token = token(&*fixture.store, "one").await;
    let (request, _) = enrolment(token, 1);
    let Enrolled::New(first) = fixture.store.enrol(&request, 1).await.unwrap() else {
        panic!("not enrolled")
    };
    assert_eq!(first.status, ClusterStatus::Pending);
    let mut again = request.clone();
    again.cluster = provost_model::ClusterId::from_bytes([99; 16]);
    let Enrolled::Again(second) = fixture.store.enrol(&again, 2).await.unwrap() else {
        panic!("not the same")
    };
    assert_eq!(second.id, first.id);
    // Another report key is another agent, whatever it says it is.
    again.report_key = [7; 32];
    assert!(matches!(fixture.store.enrol(&again, 3).await.unwrap(), Enrolled::TokenUsed));
}

pub async fn tokens_expire_and_unknown_ones_are_unknown(fixture: Fixture) {
    let token = token(&*fixture.store, "one").await;
    let expired = fixture.store.enrol(&enrolment(token, 1).0, 10_000).await.unwrap();
    assert!(matches!(expired, Enrolled::TokenExpired { expired_at_ms: 10_000 }), "{expired:?}");
    let unknown = fixture.store.enrol(&enrolment(Digest::of(b"?"), 1).0, 1).await.unwrap();
    assert!(matches!(unknown, Enrolled::TokenUnknown), "{unknown:?}");
    assert!(fixture.store.clusters().await.unwrap().is_empty());
}

/// Scenario: an identity key is copied, and both holders come back. Guarantee: the second is found out, unless the
/// first answer was never used.
pub async fn a_join_counter_that_forks_quarantines(fixture: Fixture) {
    let store = &*fixture.store;
    let chain = cluster(store, 1).await;
    let identity_key = store.cluster(chain.cluster).await.unwrap().unwrap().identity_key;
    let reenter = |join_counter, nonce: &[u8]| Reentry {
        identity_key,
        instance: chain.instance,
        report_key: *chain.key.public().as_bytes(),
        join_counter,
        nonce: Digest::of(nonce),
        admit_new_instance: true,
    };
    let counter = |answer| match answer {
        Reentered::Ok { join_counter, .. } => join_counter,
        other => panic!("{other:?}"),
    };
    assert_eq!(counter(store.reenter(&reenter(1, b"a"), 1).await.unwrap()), 2);
    assert!(matches!(store.reenter(&reenter(2, b"a"), 1).await.unwrap(), Reentered::Replayed));
    // The answer with counter 2 was lost: the agent asks again with 1, and gets 2 once more.
    assert_eq!(counter(store.reenter(&reenter(1, b"b"), 1).await.unwrap()), 2);
    let hello = HelloFacts {
        cluster: chain.cluster,
        instance: chain.instance,
        agent_version: "0.1.0".to_owned(),
        server_version: String::new(),
        node_versions: Vec::new(),
        clock_offset_ms: 0,
    };
    store.hello(&hello, 2).await.unwrap();
    let forked = store.reenter(&reenter(1, b"c"), 3).await.unwrap();
    assert!(matches!(forked, Reentered::Forked { expected: 2 }), "{forked:?}");
    let instance = store.instance(chain.cluster, chain.instance).await.unwrap().unwrap();
    assert_eq!(instance.quarantine.as_deref(), Some("CLONE_SUSPECTED"));
}

pub async fn decisions_leave_audit_rows(fixture: Fixture) {
    let store = &*fixture.store;
    let chain = cluster(store, 1).await;
    let revoked = store.dismiss(chain.cluster, "stolen", &actor(), 5).await.unwrap();
    assert_eq!(revoked.status, ClusterStatus::Revoked);
    let approval = Approval {
        cluster: chain.cluster,
        display_name: None,
        labels: Labels::new(),
        grant: String::new(),
        grant_version: 2,
    };
    let refused = store.approve(&approval, &actor(), 6).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    let log = store.audit_log(None, 10).await.unwrap();
    let seen: Vec<(&str, &str)> =
        log.iter().map(|(_, entry)| (entry.action.as_str(), entry.result.as_str())).collect();
    let expected = [
        ("cluster.approve", "CONFLICT"),
        ("cluster.revoke", "ok"),
        ("cluster.approve", "ok"),
        ("cluster.enrol", "ok"),
        ("token.create", "ok"),
    ];
    assert_eq!(seen, expected);
}
