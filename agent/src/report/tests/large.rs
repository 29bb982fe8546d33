//! A policy set with a thousand bindings, from its compilation to what a hub decodes.

use provost_model::limits::{MAX_MESSAGE_ON_WIRE_BYTES, MAX_RECORD_BYTES};
use provost_model::{ClusterId, InstanceId};
use provost_proto::batch;

use super::*;

const BINDINGS: usize = 1000;

/// One policy by a thousand bindings, each with names as long as they may be.
fn thousand() -> Arc<CompiledSet> {
    let mut bundle = bundle(&["team"]);
    let policy = bundle.policies[0].meta.id.clone();
    bundle.bindings = (0..BINDINGS)
        .map(|number| {
            let json = serde_json::json!({
                "id": format!("binding-{number:04}-{}", "x".repeat(50)),
                "policy": policy,
            });
            serde_json::from_value(json).unwrap()
        })
        .collect();
    let set = CompiledSet::compile(&bundle, &Cluster::default(), &Options::default());
    assert_eq!(set.policy_set().entries.len(), BINDINGS);
    Arc::new(set)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_a_thousand_bindings_arrives() {
    let place = Place::new(&[("a.yaml", map("a", ""))]);
    let set = thousand();
    assert!(policy_set::encode(set.policy_set()).len() > MAX_RECORD_BYTES);
    let running = place.start(Arc::clone(&set)).await;
    let (mut seq, mut stated, mut said, mut counted) = (1, 0, None, 0);
    let mut wake = running.outbox.wake();
    while counted == 0 {
        let Some(sealed) = running.outbox.batch_from(seq).await else {
            tokio::time::timeout(BOUND, wake.changed()).await.unwrap().unwrap();
            continue;
        };
        seq = sealed.last_seq + 1;
        for record in over_the_wire(sealed) {
            match record.body {
                RecordBody::Bundle(body) => said = body.policy_set,
                RecordBody::Verdict(body) if body.snapshot.is_some() => {
                    stated += body.verdicts.len();
                }
                RecordBody::SnapshotEnd(end) => {
                    counted = end.counts.iter().map(|count| count.count).sum();
                }
                _ => {}
            }
        }
    }
    assert_eq!(said.as_ref(), Some(set.policy_set()));
    assert_eq!((stated, counted), (BINDINGS, BINDINGS as u64));
    running.stop().await;
}

/// Through encoding, limits and decoding, as a hub has it.
fn over_the_wire(sealed: SealedBatch) -> Vec<Record> {
    let item = |item| match item {
        Item::Record(bytes) => batch::Item::Record(bytes),
        Item::Elision(elision) => batch::Item::Elision(elision),
    };
    let batch = batch::Batch {
        cluster: ClusterId::from_bytes([1; 16]),
        instance: InstanceId::from_bytes([2; 16]),
        epoch: sealed.epoch,
        prev_head: sealed.prev_head,
        head: sealed.head,
        first_seq: sealed.first_seq,
        last_seq: sealed.last_seq,
        items: sealed.items.into_iter().map(item).collect(),
    };
    let payload = batch::encode(&batch).unwrap();
    assert!(payload.len() < MAX_MESSAGE_ON_WIRE_BYTES);
    let records =
        batch::decode(&payload).unwrap().items.into_iter().filter_map(|item| match item {
            batch::Item::Record(bytes) => Some(record::decode(&bytes).unwrap()),
            batch::Item::Elision(_) => None,
        });
    records.collect()
}
