//! `provost fleet clusters`.

use serde_json::{Value, json};

use super::table::{count, left, percent, right, table, text};
use crate::exit::Exit;
use crate::hub::{Asked, encode};
use crate::output::{self, Format};

/// List clusters with their numbers.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet clusters
  provost fleet clusters --state pending
  provost fleet clusters --label tier=edge -o json
A cluster that was not heard within its time is stale: its score is not shown, whatever it was.")]
pub struct Args {
    /// Part of the name.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// key=value; several, separated by commas, must all hold.
    #[arg(long, value_name = "KEY=VALUE")]
    label: Option<String>,
    /// pending, approved, rejected, revoked, fresh or stale.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    #[command(flatten)]
    hub: Asked,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut filters = Vec::new();
    for (key, value) in [("name", &args.name), ("label", &args.label), ("state", &args.state)] {
        if let Some(value) = value {
            filters.push(format!("{key}={}", encode(value)));
        }
    }
    let path = format!("/api/v1/clusters?{}", filters.join("&"));
    let clusters = args.hub.open()?.all(path.trim_end_matches('?'))?;
    match args.hub.format() {
        Format::Json => output::json(&json!({"version": 1, "clusters": clusters}))?,
        Format::Pretty => print(&clusters),
    }
    Ok(Exit::Clean)
}

fn print(clusters: &[Value]) {
    if clusters.is_empty() {
        println!("no cluster matches");
        return;
    }
    let mut rows = table(&[
        "name", "id", "state", "score", "coverage", "crit", "high", "med", "low", "heard", "bundle",
    ]);
    for cluster in clusters {
        rows.add_row(vec![
            left(text(cluster, "/name")),
            left(text(cluster, "/id")),
            left(&state(cluster)),
            right(percent(cluster, "/score")),
            right(percent(cluster, "/coverage")),
            right(count(cluster, "/open/critical")),
            right(count(cluster, "/open/high")),
            right(count(cluster, "/open/medium")),
            right(count(cluster, "/open/low") + count(cluster, "/open/info")),
            left(match text(cluster, "/lastHeard") {
                "" => "never",
                time => time,
            }),
            left(&bundle(cluster)),
        ]);
    }
    println!("{rows}");
}

/// In a word: `fresh` and `stale` for those that are approved.
pub fn state(cluster: &Value) -> String {
    let fresh = cluster.pointer("/fresh").and_then(Value::as_bool).unwrap_or(false);
    match text(cluster, "/status") {
        "APPROVED" if fresh => "fresh".to_owned(),
        "APPROVED" => "stale".to_owned(),
        other => other.to_lowercase(),
    }
}

fn bundle(cluster: &Value) -> String {
    let digest = text(cluster, "/bundle");
    match digest.get(..12) {
        None => "none".to_owned(),
        Some(short) => format!("v{} {short}", count(cluster, "/bundleVersion")),
    }
}
