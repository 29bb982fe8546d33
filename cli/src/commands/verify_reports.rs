//! `provost verify-reports`: checks exported evidence without a hub.
//!
//! Trust begins at the operator's own root file: the grants must be signed under it, and the batches
//! by the report keys that the grants name. Nothing in the export vouches for itself.

mod chain_check;
mod completeness;
mod evidence;
mod heartbeats;
mod roots;

use std::path::PathBuf;

use provost_trust::grant::Authority;
use serde_json::json;

use self::chain_check::{ClusterReport, check_cluster};
use self::evidence::Export;
use self::roots::Roots;
use crate::exit::Exit;
use crate::hub::plain;
use crate::output::{self, Format, Output, Style, paint};

/// Check exported evidence.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost verify-reports --from evidence --roots root.json
  provost verify-reports --from evidence --grants evidence/grants --roots root.json -o json

Recomputes every hash chain over the exported records, checks each batch's signature against
the report key that a grant names, and each grant against your root: those before it that stand
beside it (root.1.json and on; what was signed before a rotation needs them) and those that
follow it. Gaps are listed: declared ones are signed by the agent and leave the exit code alone.
Each agent signs in its heartbeats where its chain stands and what the hub acknowledged: what
is missing of that, the hub withholds. What was not sent yet is named and leaves the exit code
alone. What export.json states must be there to the last batch; that is the hub's word.

Exits 1 when anything does not verify or is missing, 3 when something cannot be read.")]
pub struct Args {
    /// A folder that 'provost fleet export' wrote.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Folder of grants. Default: the export's own, which is as good: they are signed.
    #[arg(long, value_name = "FOLDER")]
    grants: Option<PathBuf>,
    /// Your own root file, never the export's.
    #[arg(long, value_name = "FILE")]
    roots: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let export = Export::open(&args.from)?;
    let roots = Roots::open(&args.roots, &export.roots()?)?;
    let folder = args.grants.clone().unwrap_or_else(|| export.grants_folder());
    let mut reports = Vec::new();
    for cluster in export.clusters() {
        let grant = evidence::grant_of(&folder, cluster.id)?;
        reports.push(check_cluster(&export, cluster, grant.as_ref(), &roots)?);
    }
    let manifests = export.check_manifests(&roots)?;
    let missing = completeness::of_export(&export, &reports)?;
    let good = reports.iter().all(ClusterReport::verifies)
        && manifests.failures.is_empty()
        && missing.is_empty();
    match args.output.format {
        Format::Json => output::json(&json!({
            "version": 1,
            "verified": good,
            "rootVersion": roots.version(),
            "clusters": reports,
            "manifests": manifests,
            "export": {"statedBy": "hub", "failures": missing},
        }))?,
        Format::Pretty => {
            reports.iter().for_each(print);
            for failure in &manifests.failures {
                println!("{} {}", paint(Style::Red, "manifest"), plain(failure));
            }
            for failure in &missing {
                println!("{} {}", paint(Style::Red, "not complete:"), plain(failure));
            }
            let word = if good {
                paint(Style::Green, "everything verifies")
            } else {
                paint(Style::Red, "NOT EVERYTHING VERIFIES")
            };
            println!("{word} under root version {}", roots.version());
            println!(
                "no agent signed anything after its heartbeat: what came later is the hub's word (export.json)"
            );
        }
    }
    Ok(if good { Exit::Clean } else { Exit::Violations })
}

fn print(report: &ClusterReport) {
    let word = if report.verifies() { paint(Style::Green, "ok") } else { paint(Style::Red, "BAD") };
    println!(
        "{word} {} {}: {} records in {} batches, {} elided",
        report.id,
        plain(&report.name),
        report.records,
        report.batches,
        report.elided,
    );
    match report.granted_by {
        Some(Authority::Operator) => println!("   keys granted by an operator"),
        Some(Authority::Director) => {
            println!("   keys granted by the director: whoever holds the hub can forge this grant");
        }
        None => {}
    }
    for chain in &report.chains {
        println!(
            "   instance {} epoch {}: seq {} to {}, head {}",
            chain.instance,
            chain.epoch,
            chain.first_seq,
            chain.last_seq,
            &chain.head.to_string()[..12],
        );
        for gap in &chain.gaps {
            println!("   gap {} to {}: {}", gap.from_seq, gap.to_seq, gap.reason);
        }
    }
    for heartbeat in &report.heartbeats {
        heartbeat.print();
    }
    for failure in &report.failures {
        println!("   {} {}", paint(Style::Red, "does not verify:"), plain(failure));
    }
}
