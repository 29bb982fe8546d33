//! Where a batch stands in its chain.

use std::time::Duration;

use provost_aggregator::store::Error;
use provost_aggregator::store::history::GapCounts;
use provost_aggregator::store::reports::{Alarm, Ingested, Position};
use provost_model::{ClusterId, InstanceId};

use super::{Fixture, actor, cluster};
use crate::chain::{Chain, Step, activated, change, decoded, record, says};

fn accepted(ingested: &Ingested) -> (Position, u64) {
    match ingested {
        Ingested::Accepted { position, records, .. } => (*position, *records),
        other => panic!("not accepted: {other:?}"),
    }
}

pub async fn a_batch_twice_changes_nothing(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    let batch = chain.stored(vec![activated(), change("a", vec![says("a", 1, 2)])]);
    let first = store.ingest(&batch, 10).await.unwrap();
    assert_eq!(accepted(&first), (Position { epoch: 1, seq: 2, head: chain.head }, 2));
    let again = store.ingest(&batch, 11).await.unwrap();
    assert_eq!(accepted(&again), (Position { epoch: 1, seq: 2, head: chain.head }, 0));
    assert_eq!(store.batches(chain.cluster, None, 10).await.unwrap().len(), 1);
    let verdicts: u64 =
        store.policy_counts(None).await.unwrap().iter().map(|count| count.verdicts).sum();
    assert_eq!(verdicts, 1);
}

/// Scenario: many agents send at the same time, and one that nobody enrolled among them. Guarantee: each is answered
/// with its own position, all of it is stored, and the stranger takes nothing with it.
pub async fn many_at_the_same_time_are_each_answered(fixture: Fixture) {
    let store = &*fixture.store;
    let mut batches = Vec::new();
    for number in 1..=40 {
        let mut chain = cluster(store, number).await;
        let batch = chain.stored(vec![activated(), change("a", vec![says("a", 1, 1)])]);
        batches.push((batch, chain.head));
    }
    let report = provost_trust::KeyPair::from_seed(&[99; 32]).unwrap();
    let (nobody, unknown) = (ClusterId::from_bytes([99; 16]), InstanceId::from_bytes([99; 16]));
    let stranger = Chain::new(nobody, unknown, report).stored(vec![activated()]);
    let all = futures::future::join_all(batches.iter().map(|(batch, _)| store.ingest(batch, 10)));
    let (answers, refused) = tokio::join!(all, store.ingest(&stranger, 10));
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    for ((batch, head), answer) in batches.iter().zip(answers) {
        let position = Position { epoch: 1, seq: 2, head: *head };
        assert_eq!(accepted(&answer.unwrap()), (position, 2));
        let stored = store.position(batch.cluster, batch.instance).await.unwrap();
        assert_eq!(stored, Some(position));
    }
    let verdicts = store.policy_counts(None).await.unwrap();
    assert_eq!(verdicts.iter().map(|count| count.verdicts).sum::<u64>(), 40);
}

/// Scenario: sessions end while their batches wait for the writer, whoever of them serves the others. Guarantee: who
/// still waits is served.
pub async fn who_gives_up_takes_nobody_along(fixture: Fixture) {
    let store = &*fixture.store;
    for round in 0..20 {
        let mut chains = Vec::new();
        for number in 0..4 {
            chains.push(cluster(store, round * 4 + number + 1).await);
        }
        let batches: Vec<_> = chains
            .iter_mut()
            .map(|chain| chain.stored(vec![activated(), change("a", vec![says("a", 1, 1)])]))
            .collect();
        let mut given_up: Vec<_> =
            batches[..2].iter().map(|batch| Box::pin(store.ingest(batch, 10))).collect();
        for ingest in &mut given_up {
            let _ = futures::poll!(ingest);
        }
        let others = futures::future::join_all(batches[2..].iter().map(|b| store.ingest(b, 11)));
        let gone = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            drop(given_up);
        };
        let served = async { tokio::join!(others, gone).0 };
        let served = tokio::time::timeout(Duration::from_secs(30), served).await.unwrap();
        for answer in served {
            assert_eq!(accepted(&answer.unwrap()).1, 2);
        }
    }
}

/// Scenario: an agent sends again in other batches what was acknowledged. Guarantee: equal records are taken once, and
/// other records under the same numbers quarantine the instance.
pub async fn an_overlap_must_hash_equal(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    let begin = chain.fork();
    let bodies = || {
        vec![activated(), change("a", vec![says("a", 1, 1)]), change("b", vec![says("b", 1, 1)])]
    };
    store.ingest(&chain.stored(bodies()), 10).await.unwrap();

    let mut longer = begin.fork();
    let mut more = bodies();
    more.push(change("c", vec![says("c", 1, 1)]));
    let overlap = store.ingest(&longer.stored(more), 11).await.unwrap();
    assert_eq!(accepted(&overlap), (Position { epoch: 1, seq: 4, head: longer.head }, 1));

    // Inside a stored batch: found by decoding it.
    let mut shorter = begin.fork();
    let prefix = store.ingest(&shorter.stored(bodies()[..2].to_vec()), 12).await.unwrap();
    assert_eq!(accepted(&prefix).1, 0);

    let mut other = begin.fork();
    let forked = store
        .ingest(&other.stored(vec![activated(), change("x", vec![says("x", 1, 1)])]), 13)
        .await
        .unwrap();
    assert_eq!(forked, Ingested::Fork { at_seq: 2 });
    let instance = store.instance(chain.cluster, chain.instance).await.unwrap().unwrap();
    assert_eq!(instance.quarantine.as_deref(), Some("FORK"));
    let alarms = store.alarms(Some(chain.cluster)).await.unwrap();
    assert_eq!(alarms[0].code, "FORK");
}

pub async fn a_jump_is_an_alarm_until_it_is_filled(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    let first = chain.stored(vec![activated()]);
    let second = chain.stored(vec![change("a", vec![says("a", 1, 1)])]);
    let third = chain.stored(vec![change("b", vec![says("b", 1, 1)])]);
    store.ingest(&first, 10).await.unwrap();
    for now_ms in [11, 12] {
        let jumped = store.ingest(&third, now_ms).await.unwrap();
        assert_eq!(jumped, Ingested::UndeclaredGap { send_from: 2 });
    }
    let gaps = store.gaps(chain.cluster).await.unwrap();
    assert_eq!(gaps.len(), 1, "the same hole is one gap");
    assert!(!gaps[0].declared && gaps[0].resolved_at_ms.is_none());
    assert_eq!((gaps[0].from_seq, gaps[0].to_seq), (2, 2));
    assert_eq!(store.alarms(None).await.unwrap()[0].times, 2);
    store.ingest(&second, 13).await.unwrap();
    store.ingest(&third, 14).await.unwrap();
    assert_eq!(store.gaps(chain.cluster).await.unwrap()[0].resolved_at_ms, Some(13));
    assert_eq!(store.alarms(None).await.unwrap()[0].resolved_at_ms, Some(13));
}

pub async fn an_elision_is_a_gap_and_no_alarm(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    store.ingest(&chain.stored(vec![activated()]), 10).await.unwrap();
    let wire = chain.batch_of(vec![Step::Elision(7), record(change("a", vec![says("a", 1, 1)]))]);
    let taken = store.ingest(&decoded(wire), 11).await.unwrap();
    assert_eq!(accepted(&taken).0, Position { epoch: 1, seq: 9, head: chain.head });
    let gaps = store.gaps(chain.cluster).await.unwrap();
    assert!(gaps[0].declared);
    assert_eq!((gaps[0].from_seq, gaps[0].to_seq, gaps[0].reason.as_str()), (2, 8, "cap"));
    assert!(store.alarms(None).await.unwrap().is_empty());
    let counts = store.count_gaps().await.unwrap();
    assert_eq!(counts, GapCounts { declared: 1, undeclared: 0, open: 0 });
    let (id, gap) = store.all_gaps(None, 2).await.unwrap().remove(0);
    assert_eq!(gap.to_seq, 8);
    assert!(store.all_gaps(Some(id), 2).await.unwrap().is_empty());
}

/// Scenario: our acknowledgement was lost, and the agent shed what we have and more. Guarantee: only what we lack is a
/// gap, and an elision that does not start on our chain is a fork.
pub async fn an_elision_over_acknowledged_records_is_accepted(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    store.ingest(&chain.stored(vec![activated()]), 10).await.unwrap();
    let middle = chain.fork();
    store.ingest(&chain.stored(vec![change("a", vec![says("a", 1, 1)])]), 11).await.unwrap();
    let mut shed = middle.fork();
    let taken = store.ingest(&decoded(shed.batch_of(vec![Step::Elision(4)])), 12).await.unwrap();
    assert_eq!(accepted(&taken).0.seq, 5);
    let gap = &store.gaps(chain.cluster).await.unwrap()[0];
    assert_eq!((gap.from_seq, gap.to_seq), (3, 5));

    let mut stranger = Chain { head: provost_model::Digest::of(b"other"), ..middle.fork() };
    let forked =
        store.ingest(&decoded(stranger.batch_of(vec![Step::Elision(9)])), 13).await.unwrap();
    assert_eq!(forked, Ingested::Fork { at_seq: 1 });
}

pub async fn a_quarantined_instance_waits_for_its_operator(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    store.ingest(&chain.stored(vec![activated()]), 10).await.unwrap();
    store.quarantine(chain.cluster, chain.instance, "FORK", "by hand", 11).await.unwrap();
    let batch = chain.stored(vec![change("a", vec![says("a", 1, 1)])]);
    assert_eq!(store.ingest(&batch, 12).await.unwrap(), Ingested::Quarantined);
    store.release(chain.cluster, chain.instance, &actor(), 13).await.unwrap();
    assert_eq!(store.ingest(&batch, 14).await.unwrap(), Ingested::OldEpoch { newest: 1 });
    let (_, closed) = store.chain(chain.cluster, chain.instance).await.unwrap().unwrap();
    assert!(closed);
    let mut next = Chain { epoch: 2, seq: 0, head: provost_trust::chain::GENESIS, ..chain.fork() };
    assert_eq!(
        accepted(&store.ingest(&next.stored(vec![activated()]), 15).await.unwrap()).0.epoch,
        2
    );
}

pub async fn a_new_epoch_replaces_the_old(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    store.ingest(&chain.stored(vec![activated()]), 10).await.unwrap();
    let late = chain.stored(vec![change("a", vec![says("a", 1, 1)])]);
    let mut next = Chain { epoch: 2, seq: 0, head: provost_trust::chain::GENESIS, ..chain.fork() };
    store.ingest(&next.stored(vec![activated()]), 11).await.unwrap();
    assert_eq!(store.ingest(&late, 12).await.unwrap(), Ingested::OldEpoch { newest: 2 });
    assert_eq!(store.position(chain.cluster, chain.instance).await.unwrap().unwrap().epoch, 2);
}

pub async fn envelopes_are_kept_byte_for_byte(fixture: Fixture) {
    let store = &*fixture.store;
    let mut chain = cluster(store, 1).await;
    let mut sent = Vec::new();
    for name in ["a", "b", "c"] {
        let wire = chain.batch(vec![activated(), change(name, vec![says(name, 1, 1)])]);
        sent.push(wire.envelope.to_vec());
        store.ingest(&decoded(wire), 10).await.unwrap();
    }
    let first = store.batches(chain.cluster, None, 2).await.unwrap();
    let last = first.last().unwrap();
    let rest = store
        .batches(chain.cluster, Some((last.instance, last.epoch, last.last_seq)), 2)
        .await
        .unwrap();
    let kept: Vec<Vec<u8>> =
        first.iter().chain(&rest).map(|batch| batch.envelope.to_vec()).collect();
    assert_eq!(kept, sent);
}

pub async fn an_audited_alarm_leaves_one_row_each_time_it_opens(fixture: Fixture) {
    let store = &*fixture.store;
    let chain = cluster(store, 1).await;
    let (cluster, instance) = (chain.cluster, chain.instance);
    let alarm = Alarm { cluster, instance, code: "HUB_BEHIND", detail: "3 are missing" };
    for now_ms in [10, 11] {
        store.raise_audited(&alarm, "hub.behind", now_ms).await.unwrap();
    }
    store.resolve(cluster, instance, "HUB_BEHIND", 12).await.unwrap();
    store.raise_audited(&alarm, "hub.behind", 13).await.unwrap();
    let log = store.audit_log(None, 10).await.unwrap();
    let rows: Vec<_> = log.iter().filter(|(_, row)| row.action == "hub.behind").collect();
    assert_eq!(rows.iter().map(|(_, row)| row.at_ms).collect::<Vec<_>>(), [13, 10]);
    assert_eq!((rows[0].1.result.as_str(), rows[0].1.actor.0.as_str()), ("HUB_BEHIND", "hub"));
    assert_eq!(rows[0].1.target, format!("{cluster}/{instance}"));
    let alarms = store.alarms(Some(cluster)).await.unwrap();
    assert_eq!((alarms[0].times, alarms[1].times, alarms[1].resolved_at_ms), (1, 2, Some(12)));
}
