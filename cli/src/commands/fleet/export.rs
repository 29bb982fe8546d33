//! `provost fleet export`: everything that 'provost verify-reports' needs, in a folder.
//!
//! Layout, version 1: `export.json`; `clusters/<id>/batches.jsonl` and `heartbeats.jsonl` (one accepted
//! envelope a line, its bytes as they came; of heartbeats the newest of each instance); `grants/<cluster id>.json`, `roots/<version>.json`, `manifests/<digest>.json`
//! (DSSE JSON). `export.json` states how many there are of each and where every chain ends; it is
//! signed by nobody. Names are ids and digests, never text of a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use provost_model::{ClusterId, Digest, InstanceId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::table::{count, text};
use crate::exit::{Exit, UsageError};
use crate::hub::{Asked, Hub};
use crate::output::{self, Format};

pub const EXPORT_FILE: &str = "export.json";
pub const VERSION: u64 = 1;

/// Where a chain ends in the export, as the hub gave it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stated {
    pub instance: InstanceId,
    pub epoch: u64,
    pub batches: u64,
    pub last_seq: u64,
}

/// Take the evidence away: batches, heartbeats, grants, roots and manifests.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet export evidence
  provost verify-reports --from evidence --grants evidence/grants --roots root.json
Every batch and heartbeat is exported byte for byte as the agent signed it.")]
pub struct Args {
    /// A new or empty folder.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    #[command(flatten)]
    hub: Asked,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let folder = &args.folder;
    if folder.exists() && fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_some())
    {
        let message = format!("{} exists and is not an empty folder", folder.display());
        return Err(UsageError(message).into());
    }
    let hub = args.hub.open()?;
    let facts: Value = hub.get("/api/v1/hub")?;
    let clusters = hub.all("/api/v1/clusters")?;
    let (mut batches, mut heartbeats) = (0_u64, 0_u64);
    let mut listed = Vec::new();
    for cluster in &clusters {
        let id: ClusterId = text(cluster, "/id").parse().context("cluster id")?;
        // Before the batches: what a heartbeat names as acknowledged is then among them.
        heartbeats += export_heartbeats(&hub, folder, id)?;
        let chains = export_batches(&hub, folder, id)?;
        batches += chains.iter().map(|chain| chain.batches).sum::<u64>();
        listed.push(json!({
            "id": id,
            "name": text(cluster, "/name"),
            "status": text(cluster, "/status"),
            "chains": chains,
        }));
    }
    let grants = signed(&hub, "/api/v1/grants", &folder.join("grants"), |name| {
        name.parse::<ClusterId>().is_ok()
    })?;
    let roots =
        signed(&hub, "/api/v1/roots", &folder.join("roots"), |name| name.parse::<u64>().is_ok())?;
    let manifests = signed(&hub, "/api/v1/manifests", &folder.join("manifests"), |name| {
        name.parse::<Digest>().is_ok()
    })?;
    let summary = json!({
        "version": VERSION,
        "trustDomain": text(&facts, "/trustDomain"),
        "clusters": listed,
        "batches": batches,
        "heartbeats": heartbeats,
        "grants": grants,
        "roots": roots,
        "manifests": manifests,
    });
    // Last: a folder without it was cut short.
    write(&folder.join(EXPORT_FILE), &serde_json::to_vec_pretty(&summary)?)?;
    match args.hub.format() {
        Format::Json => output::json(&summary)?,
        Format::Pretty => println!(
            "{}: {} clusters, {batches} batches, {heartbeats} heartbeats, {grants} grants, {roots} roots, {manifests} manifests",
            folder.display(),
            clusters.len(),
        ),
    }
    Ok(Exit::Clean)
}

fn export_heartbeats(hub: &Hub, folder: &Path, cluster: ClusterId) -> anyhow::Result<u64> {
    let heartbeats: Vec<Value> = hub.get(&format!("/api/v1/clusters/{cluster}/heartbeats"))?;
    let lines: String = heartbeats.iter().map(|heartbeat| format!("{heartbeat}\n")).collect();
    let path = folder.join("clusters").join(cluster.to_string()).join("heartbeats.jsonl");
    write(&path, lines.as_bytes())?;
    Ok(heartbeats.len() as u64)
}

fn export_batches(hub: &Hub, folder: &Path, cluster: ClusterId) -> anyhow::Result<Vec<Stated>> {
    let folder = folder.join("clusters").join(cluster.to_string());
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let path = folder.join("batches.jsonl");
    let file = fs::File::create_new(&path).with_context(|| path.display().to_string())?;
    let mut file = BufWriter::new(file);
    let mut chains = BTreeMap::new();
    hub.pages(&format!("/api/v1/clusters/{cluster}/batches"), None, |batch| {
        writeln!(file, "{batch}").with_context(|| path.display().to_string())?;
        let instance: InstanceId = text(&batch, "/instance").parse().context("instance id")?;
        let (epoch, last_seq) = (count(&batch, "/epoch"), count(&batch, "/lastSeq"));
        let first = Stated { instance, epoch, batches: 0, last_seq };
        let chain = chains.entry((instance, epoch)).or_insert(first);
        chain.batches += 1;
        chain.last_seq = chain.last_seq.max(last_seq);
        Ok(())
    })?;
    file.flush().with_context(|| path.display().to_string())?;
    Ok(chains.into_values().collect())
}

/// One file an object. A name that is none of ours is refused: it becomes a file's name.
fn signed(
    hub: &Hub,
    path: &str,
    folder: &Path,
    is_name: impl Fn(&str) -> bool,
) -> anyhow::Result<u64> {
    let objects: Vec<Value> = hub.get(path)?;
    let mut written = 0;
    for object in &objects {
        let name = text(object, "/name");
        anyhow::ensure!(is_name(name), "{path} names {name:?}, which is no id");
        let envelope = object.get("envelope").unwrap_or(&Value::Null);
        write(&folder.join(format!("{name}.json")), envelope.to_string().as_bytes())?;
        written += 1;
    }
    Ok(written)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    fs::write(path, bytes).with_context(|| path.display().to_string())
}
