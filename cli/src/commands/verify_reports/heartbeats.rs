//! What agents signed about the end of their chains, held against the batches of the export.
//!
//! Invariants: a heartbeat counts only when it is signed by a granted report key and names its own cluster and instance;
//! what it says was acknowledged must be among the batches, and where they reach its last record the chain value must
//! be the same. A record that was not acknowledged when the heartbeat was signed may still have been on its way: it is
//! told, and is no failure. The newest heartbeat is the last that an agent signed about its end: a hub that withholds
//! heartbeats too shows an older end, with its time.

use std::collections::BTreeMap;

use provost_model::{Digest, InstanceId};
use provost_proto::batch::{Batch, Item};
use provost_proto::heartbeat;
use provost_trust::Timestamp;
use provost_trust::chain;
use provost_trust::dsse::payload_type;
use provost_trust::grant::Grant;
use serde::Serialize;

use super::chain_check::{ClusterReport, signed_payload};
use super::evidence::{Cluster, Export};

/// The end of an instance's chain, in its own words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Announced {
    pub instance: InstanceId,
    pub epoch: u64,
    pub last_seq: u64,
    pub acked_seq: u64,
    pub head: Digest,
    /// By the agent's clock.
    pub at: Timestamp,
    /// Records that are not in the export and were not acknowledged then.
    pub not_sent: u64,
}

impl Announced {
    pub fn print(&self) {
        let Self { instance, epoch, last_seq, acked_seq, at, not_sent, .. } = self;
        print!(
            "   instance {instance} said at {at}: epoch {epoch}, seq {last_seq}, {acked_seq} acknowledged"
        );
        match not_sent {
            0 => println!(),
            waiting => println!("; {waiting} records had not been taken by the hub yet"),
        }
    }
}

/// Heartbeats that verify; the others are failures.
pub fn read(
    export: &Export,
    cluster: &Cluster,
    grant: Option<&Grant>,
    report: &mut ClusterReport,
) -> anyhow::Result<()> {
    export.heartbeats(cluster.id, |number, exported| {
        let checked = exported.and_then(|exported| {
            let payload = signed_payload(&exported, grant, payload_type::HEARTBEAT)?;
            let said = heartbeat::decode(&payload)?;
            anyhow::ensure!(said.cluster == cluster.id, "it is another cluster's");
            anyhow::ensure!(said.instance == exported.instance, "it is another instance's");
            anyhow::ensure!(said.epoch == exported.epoch, "it is of epoch {}", said.epoch);
            Ok(Announced {
                instance: said.instance,
                epoch: said.epoch,
                last_seq: said.last_seq,
                acked_seq: said.acked_seq,
                head: said.head,
                at: Timestamp::from_unix_ms(said.wall_ms),
                not_sent: 0,
            })
        });
        match checked {
            Ok(announced) => report.heartbeats.push(announced),
            Err(error) => report.failures.push(format!("heartbeat {number}: {error:#}")),
        }
    })
}

/// Where each chain ends by its heartbeat.
pub fn ends(heartbeats: &[Announced]) -> BTreeMap<(InstanceId, u64), u64> {
    heartbeats.iter().map(|said| ((said.instance, said.epoch), said.last_seq)).collect()
}

/// Chain value after record `seq`, where the batch reaches it outside an elision.
pub fn head_at(batch: &Batch, seq: u64) -> Option<Digest> {
    let (mut next, mut head) = (batch.first_seq, batch.prev_head);
    for item in &batch.items {
        (next, head) = match item {
            Item::Record(bytes) => (next + 1, chain::next(&head, &chain::leaf(bytes))),
            Item::Elision(elision) => (elision.to_seq + 1, elision.chain_after),
        };
        if next == seq.saturating_add(1) {
            return Some(head);
        }
    }
    None
}

/// Tells what the agents announced and the export does not have, or has otherwise.
pub fn compare(report: &mut ClusterReport) {
    let ClusterReport { heartbeats, chains, failures, .. } = report;
    for said in heartbeats {
        let name = format!("instance {} epoch {}", said.instance, said.epoch);
        let chain = chains.iter().find(|c| (c.instance, c.epoch) == (said.instance, said.epoch));
        let last_seq = chain.map_or(0, |chain| chain.last_seq);
        if said.acked_seq > last_seq {
            failures.push(format!(
                "{name}: the agent signed that the hub took its records to seq {}, and the export ends at {last_seq}: \
                 the hub withholds the rest",
                said.acked_seq
            ));
        }
        said.not_sent = said.last_seq.saturating_sub(last_seq.max(said.acked_seq));
        if chain.and_then(|chain| chain.announced).is_some_and(|head| head != said.head) {
            let seq = said.last_seq;
            failures.push(format!(
                "{name}: the agent signed another head for seq {seq} than these batches have"
            ));
        }
    }
}
