//! One cluster's chains: signatures, hashes and sequence, batch by batch.
//!
//! Invariants: a batch counts only when its signature by a granted report key, its own cluster,
//! instance and epoch, its inner chain, and its place after the batch before it all hold; the first
//! failure of a chain is told and the rest is still looked at, so that one altered byte does not hide
//! another.

use std::collections::BTreeMap;

use provost_model::{Digest, InstanceId};
use provost_proto::batch::{self, Batch, Item};
use provost_proto::record;
use provost_trust::Envelope;
use provost_trust::chain::GENESIS;
use provost_trust::dsse::payload_type;
use provost_trust::grant::{Authority, Grant};
use serde::Serialize;

use super::completeness;
use super::evidence::{Cluster, Export, Exported};
use super::heartbeats::{self, Announced};
use super::roots::Roots;

/// What is said of one cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    pub id: String,
    pub name: String,
    /// `operator` or `director`; missing without a grant that verifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<Authority>,
    /// The newest root that accepts the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_root_version: Option<u64>,
    pub batches: u64,
    pub records: u64,
    /// Records that declared gaps stand for.
    pub elided: u64,
    pub chains: Vec<ChainReport>,
    /// Where each instance's chain stood, as its newest heartbeat says.
    pub heartbeats: Vec<Announced>,
    pub failures: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainReport {
    pub instance: InstanceId,
    pub epoch: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub batches: u64,
    pub records: u64,
    pub head: Digest,
    pub gaps: Vec<Gap>,
    /// Chain value after the record that a heartbeat ends with, where it is among these batches.
    #[serde(skip)]
    pub announced: Option<Digest>,
}

/// A run of records that the agent declared gone.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    pub from_seq: u64,
    pub to_seq: u64,
    pub reason: String,
}

impl ClusterReport {
    pub fn verifies(&self) -> bool {
        self.failures.is_empty()
    }
}

pub fn check_cluster(
    export: &Export,
    cluster: &Cluster,
    grant: Option<&Envelope>,
    roots: &Roots,
) -> anyhow::Result<ClusterReport> {
    let mut report = ClusterReport {
        id: cluster.id.to_string(),
        name: cluster.name.clone(),
        granted_by: None,
        grant_root_version: None,
        batches: 0,
        records: 0,
        elided: 0,
        chains: Vec::new(),
        heartbeats: Vec::new(),
        failures: Vec::new(),
    };
    let grant = read_grant(cluster, grant, roots, &mut report);
    heartbeats::read(export, cluster, grant.as_ref(), &mut report)?;
    let announced = heartbeats::ends(&report.heartbeats);
    let mut chains: BTreeMap<(InstanceId, u64), ChainReport> = BTreeMap::new();
    export.batches(cluster.id, |number, exported| {
        report.batches += 1;
        let checked = exported.and_then(|exported| {
            let batch = check_batch(cluster, &exported, grant.as_ref())?;
            let end = announced.get(&(batch.instance, batch.epoch)).copied();
            Ok(extend(&mut chains, &batch, end)?)
        });
        if let Err(error) = checked {
            report.failures.push(format!("batch {number}: {error:#}"));
        }
    })?;
    report.chains = chains.into_values().collect();
    report.failures.extend(completeness::of_cluster(&cluster.chains, &report.chains));
    heartbeats::compare(&mut report);
    report.records = report.chains.iter().map(|chain| chain.records).sum();
    let gaps = report.chains.iter().flat_map(|chain| &chain.gaps);
    report.elided = gaps.map(|gap| gap.to_seq - gap.from_seq + 1).sum();
    Ok(report)
}

fn read_grant(
    cluster: &Cluster,
    envelope: Option<&Envelope>,
    roots: &Roots,
    report: &mut ClusterReport,
) -> Option<Grant> {
    let Some(envelope) = envelope else {
        // A cluster that never reported needs none.
        if cluster.chains.is_empty() {
            return None;
        }
        report.failures.push("there is no grant: nobody says which keys may report".to_owned());
        return None;
    };
    match roots.grant(envelope) {
        Ok((grant, ..)) if grant.cluster_id != cluster.id => {
            report.failures.push("the grant is another cluster's".to_owned());
            None
        }
        Ok((grant, authority, version)) => {
            report.granted_by = Some(authority);
            report.grant_root_version = Some(version);
            Some(grant)
        }
        Err(error) => {
            report.failures.push(format!("the grant does not verify: {error}"));
            None
        }
    }
}

/// The payload, signed by the report key that the grant names for the instance.
pub fn signed_payload(
    exported: &Exported,
    grant: Option<&Grant>,
    payload_type: &'static str,
) -> anyhow::Result<Vec<u8>> {
    let instance = exported.instance;
    let grant = grant.ok_or_else(|| anyhow::anyhow!("no grant says whose signature to check"))?;
    let key = grant
        .report_key(instance)
        .ok_or_else(|| anyhow::anyhow!("the grant names no report key for instance {instance}"))?;
    Ok(exported.envelope.verify(payload_type, &[key], 1)?.to_vec())
}

fn check_batch(
    cluster: &Cluster,
    exported: &Exported,
    grant: Option<&Grant>,
) -> anyhow::Result<Batch> {
    let Exported { instance, epoch, .. } = exported;
    let payload = signed_payload(exported, grant, payload_type::BATCH)?;
    let batch = batch::decode(&payload)?;
    anyhow::ensure!(batch.cluster == cluster.id, "it is another cluster's");
    anyhow::ensure!(batch.instance == *instance, "it is another instance's");
    anyhow::ensure!(batch.epoch == *epoch, "it is of epoch {}, not {epoch}", batch.epoch);
    anyhow::ensure!(batch.chain_holds(), "its records do not lead to its head");
    let mut seq = batch.first_seq;
    for item in &batch.items {
        match item {
            Item::Record(bytes) => {
                let record = record::decode(bytes)?;
                let found = record.header.seq;
                anyhow::ensure!(found == seq, "a record says seq {found} at the place of {seq}");
                seq += 1;
            }
            Item::Elision(elision) => seq = elision.to_seq + 1,
        }
    }
    Ok(batch)
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the chain starts at seq {0}, not at 1: what was before is not in the export")]
    Start(u64),
    #[error("seq {first} follows {last}: records are missing and no elision says so")]
    Gap { first: u64, last: u64 },
    #[error("it does not follow from the head before it (seq {0})")]
    Head(u64),
}

fn extend(
    chains: &mut BTreeMap<(InstanceId, u64), ChainReport>,
    batch: &Batch,
    announced_seq: Option<u64>,
) -> Result<(), Broken> {
    let key = (batch.instance, batch.epoch);
    let known = chains.contains_key(&key);
    let chain = chains.entry(key).or_insert_with(|| ChainReport {
        instance: batch.instance,
        epoch: batch.epoch,
        first_seq: batch.first_seq,
        last_seq: 0,
        batches: 0,
        records: 0,
        head: GENESIS,
        gaps: Vec::new(),
        announced: None,
    });
    let broken = if batch.first_seq != chain.last_seq + 1 {
        Some(if known {
            Broken::Gap { first: batch.first_seq, last: chain.last_seq }
        } else {
            Broken::Start(batch.first_seq)
        })
    } else {
        (batch.prev_head != chain.head).then_some(Broken::Head(batch.first_seq))
    };
    if let Some(seq) = announced_seq {
        chain.announced = chain.announced.or_else(|| heartbeats::head_at(batch, seq));
    }
    // Goes on from here in any case: what comes after may still hold together.
    chain.batches += 1;
    chain.last_seq = batch.last_seq;
    chain.head = batch.head;
    for item in &batch.items {
        match item {
            Item::Record(_) => chain.records += 1,
            Item::Elision(elision) => chain.gaps.push(Gap {
                from_seq: elision.from_seq,
                to_seq: elision.to_seq,
                reason: elision.reason.to_string(),
            }),
        }
    }
    broken.map_or(Ok(()), Err)
}
