//! Tokens, clusters, instances.

use provost_aggregator::store::Error;
use provost_aggregator::store::identity::{
    Approval, ClusterStatus, Enrolled, HelloFacts, IssuedCertificate, Reentered, Reentry,
};
use provost_aggregator::store::retention::{Cutoffs, Swept};
use provost_model::{ClusterId, Digest, InstanceId, Labels};

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
    again.cluster = ClusterId::from_bytes([99; 16]);
    let Enrolled::Again(second) = fixture.store.enrol(&again, 2).await.unwrap() else {
        panic!("not the same")
    };
    assert_eq!(second.id, first.id);
    // Another report key is another agent, whatever it says it is.
    again.report_key = [7; 32];
    assert!(matches!(fixture.store.enrol(&again, 3).await.unwrap(), Enrolled::TokenUsed));
}

/// Scenario: whoever has a used token and the agent's keys shows it later. Guarantee: it opens nothing once the agent was
/// heard, nor after the token's life.
pub async fn a_used_token_is_over_with_its_life_or_the_first_session(fixture: Fixture) {
    let store = &*fixture.store;
    for (name, number, heard, at_ms) in [("heard", 1, true, 3), ("late", 2, false, 10_000)] {
        let (request, _) = enrolment(token(store, name).await, number);
        assert!(matches!(store.enrol(&request, 1).await.unwrap(), Enrolled::New(_)));
        assert!(matches!(store.enrol(&request, 2).await.unwrap(), Enrolled::Again(_)));
        if heard {
            store.hello(&hello(request.cluster, request.instance), 2).await.unwrap();
        }
        let again = store.enrol(&request, at_ms).await.unwrap();
        assert!(matches!(again, Enrolled::TokenUsed), "{name}: {again:?}");
    }
}

pub async fn tokens_expire_and_unknown_ones_are_unknown(fixture: Fixture) {
    let token = token(&*fixture.store, "one").await;
    let expired = fixture.store.enrol(&enrolment(token, 1).0, 10_000).await.unwrap();
    assert!(matches!(expired, Enrolled::TokenExpired { expired_at_ms: 10_000 }), "{expired:?}");
    let unknown = fixture.store.enrol(&enrolment(Digest::of(b"?"), 1).0, 1).await.unwrap();
    assert!(matches!(unknown, Enrolled::TokenUnknown), "{unknown:?}");
    let log = fixture.store.audit_log(None, 10).await.unwrap();
    let results: Vec<&str> = log.iter().map(|(_, entry)| entry.result.as_str()).collect();
    assert_eq!(results, ["TOKEN_EXPIRED", "ok"], "anybody can send tokens that nobody made");
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
    store.hello(&hello(chain.cluster, chain.instance), 2).await.unwrap();
    let forked = store.reenter(&reenter(1, b"c"), 3).await.unwrap();
    assert!(matches!(forked, Reentered::Forked { expected: 2 }), "{forked:?}");
    let instance = store.instance(chain.cluster, chain.instance).await.unwrap().unwrap();
    assert_eq!(instance.quarantine.as_deref(), Some("CLONE_SUSPECTED"));
}

/// Scenario: a clone came back first, an operator removes it and releases the instance. Guarantee: the agent that is left
/// comes back with the counter that it has, and after that counters count again.
pub async fn who_is_released_comes_back_with_any_counter_once(fixture: Fixture) {
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
    let said = hello(chain.cluster, chain.instance);
    store.hello(&said, 1).await.unwrap();
    for (counter, nonce) in [(1, b"a"), (2, b"b")] {
        store.reenter(&reenter(counter, nonce), 2).await.unwrap();
        store.hello(&said, 2).await.unwrap();
    }
    let stale = store.reenter(&reenter(1, b"c"), 3).await.unwrap();
    assert!(matches!(stale, Reentered::Forked { expected: 3 }), "{stale:?}");
    store.release(chain.cluster, chain.instance, &actor(), 4).await.unwrap();
    let absurd = store.reenter(&reenter(u64::MAX, b"d"), 5).await.unwrap();
    assert!(matches!(absurd, Reentered::Forked { .. }), "{absurd:?}");
    store.release(chain.cluster, chain.instance, &actor(), 6).await.unwrap();
    let back = store.reenter(&reenter(1, b"e"), 7).await.unwrap();
    assert!(matches!(back, Reentered::Ok { join_counter: 4, .. }), "{back:?}");
    store.hello(&said, 8).await.unwrap();
    let clone = store.reenter(&reenter(3, b"f"), 9).await.unwrap();
    assert!(matches!(clone, Reentered::Forked { expected: 4 }), "{clone:?}");
}

pub async fn a_renewal_leaves_its_audit_row(fixture: Fixture) {
    let store = &*fixture.store;
    let chain = cluster(store, 1).await;
    let issued = |serial: &str, renews| IssuedCertificate {
        serial: serial.to_owned(),
        cluster: chain.cluster,
        instance: chain.instance,
        spki: Digest::of(serial.as_bytes()),
        issued_at_ms: 7,
        not_after_ms: 9,
        renews,
    };
    store.certificate_issued(&issued("01", false)).await.unwrap();
    store.certificate_issued(&issued("02", true)).await.unwrap();
    let log = store.audit_log(None, 10).await.unwrap();
    let renewals: Vec<_> =
        log.iter().filter(|(_, entry)| entry.action.starts_with("certificate.")).collect();
    assert_eq!(renewals.len(), 1, "{renewals:?}");
    let (_, entry) = renewals[0];
    assert_eq!((entry.action.as_str(), entry.at_ms), ("certificate.renew", 7));
    assert_eq!(entry.detail, "serial 02");
    assert_eq!(entry.target, format!("{}/{}", chain.cluster, chain.instance));
}

/// Guarantee: what ended before its cutoff goes and nothing else does; the newest certificate of a cluster stays whatever
/// its age, and so do clusters, batches and the audit log.
pub async fn what_is_long_over_is_forgotten(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    store.ingest(&chain.stored(vec![crate::chain::activated()]), 1).await.unwrap();
    for (serial, not_after_ms) in [("01", 100), ("02", 200), ("03", 300)] {
        let certificate = IssuedCertificate {
            serial: serial.to_owned(),
            cluster: chain.cluster,
            instance: chain.instance,
            spki: Digest::of(serial.as_bytes()),
            issued_at_ms: 1,
            not_after_ms,
            renews: false,
        };
        store.certificate_issued(&certificate).await.unwrap();
    }
    let identity_key = store.cluster(chain.cluster).await.unwrap().unwrap().identity_key;
    let reentry = |nonce: &[u8]| Reentry {
        identity_key,
        instance: chain.instance,
        report_key: *chain.key.public().as_bytes(),
        join_counter: 1,
        nonce: Digest::of(nonce),
        admit_new_instance: true,
    };
    store.reenter(&reentry(b"old"), 100).await.unwrap();
    store.reenter(&reentry(b"new"), 200).await.unwrap();
    // Unused, and over at 10 000 ms; the cluster's own was used at 1 ms.
    token(store, "unused").await;
    let audited = store.audit_log(None, 100).await.unwrap().len();
    let cutoffs =
        |at| Cutoffs { reentry_nonces_ms: at, certificates_ms: at, sessions_ms: at, tokens_ms: at };
    let swept = store.sweep(&cutoffs(150)).await.unwrap();
    assert_eq!(swept, Swept { reentry_nonces: 1, certificates: 1, sessions: 0, tokens: 1 });
    let replayed = store.reenter(&reentry(b"new"), 201).await.unwrap();
    assert!(matches!(replayed, Reentered::Replayed), "{replayed:?}");
    let swept = store.sweep(&cutoffs(1_000_000)).await.unwrap();
    assert_eq!(swept, Swept { reentry_nonces: 1, certificates: 1, sessions: 0, tokens: 1 });
    let left = store.certificates(chain.cluster).await.unwrap();
    assert_eq!(left.iter().map(|row| row.serial.as_str()).collect::<Vec<_>>(), ["03"]);
    assert_eq!(store.batches(chain.cluster, None, 9).await.unwrap().len(), 1);
    assert_eq!(store.audit_log(None, 100).await.unwrap().len(), audited);
    assert_eq!(store.sweep(&cutoffs(1_000_000)).await.unwrap(), Swept::default());
}

fn hello(cluster: ClusterId, instance: InstanceId) -> HelloFacts {
    HelloFacts {
        cluster,
        instance,
        agent_version: "0.1.0".to_owned(),
        server_version: String::new(),
        node_versions: Vec::new(),
        clock_offset_ms: 0,
    }
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
