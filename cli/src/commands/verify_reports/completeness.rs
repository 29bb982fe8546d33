//! Whether all is there that the export says it holds.
//!
//! Invariant: signatures of batches say nothing of what is missing at the end, so `export.json` is compared
//! with what was read. It is the hub's and the exporter's word, signed by nobody: what a hub withheld from
//! the export shows by the agents' heartbeats alone.

use provost_model::ClusterId;

use super::chain_check::{ChainReport, ClusterReport};
use super::evidence::Export;
use crate::commands::fleet::export::Stated;

/// Where the chains of one cluster do not end as stated.
pub fn of_cluster(stated: &[Stated], chains: &[ChainReport]) -> Vec<String> {
    let mut failures = Vec::new();
    for said in stated {
        let name = format!("instance {} epoch {}", said.instance, said.epoch);
        let found = chains.iter().find(|c| (c.instance, c.epoch) == (said.instance, said.epoch));
        let (batches, last_seq) = found.map_or((0, 0), |chain| (chain.batches, chain.last_seq));
        if (batches, last_seq) != (said.batches, said.last_seq) {
            failures.push(format!(
                "{name}: the export states {} batches to seq {}, but {batches} to seq {last_seq} verify",
                said.batches, said.last_seq
            ));
        }
    }
    for chain in chains {
        if !stated.iter().any(|said| (said.instance, said.epoch) == (chain.instance, chain.epoch)) {
            let ChainReport { instance, epoch, .. } = chain;
            failures
                .push(format!("instance {instance} epoch {epoch}: the export does not state it"));
        }
    }
    failures
}

/// What is missing or too much in the export as a whole.
pub fn of_export(export: &Export, reports: &[ClusterReport]) -> anyhow::Result<Vec<String>> {
    let mut failures = Vec::new();
    let read = reports.iter().map(|report| report.batches).sum();
    let heartbeats = reports.iter().map(|report| report.heartbeats.len() as u64).sum();
    let counts = [
        ("batches", export.stated().batches, read),
        ("heartbeats", export.stated().heartbeats, heartbeats),
        ("grants", export.stated().grants, export.count("grants")?),
        ("roots", export.stated().roots, export.count("roots")?),
        ("manifests", export.stated().manifests, export.count("manifests")?),
    ];
    for (what, stated, found) in counts {
        if stated != found {
            failures.push(format!("the export states {stated} {what}, but has {found}"));
        }
    }
    let listed = |name: &str| {
        let id = name.parse::<ClusterId>().ok();
        id.is_some_and(|id| export.clusters().iter().any(|cluster| cluster.id == id))
    };
    for folder in ["clusters", "grants"] {
        for name in export.names(folder)? {
            if !listed(name.trim_end_matches(".json")) {
                failures.push(format!("{folder}/{name} is of no cluster that the export lists"));
            }
        }
    }
    Ok(failures)
}
