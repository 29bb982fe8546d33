//! An export on disk. Everything in it is read with a limit and believed by its signature alone.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provost_model::{ClusterId, InstanceId};
use provost_proto::envelope;
use provost_trust::dsse::MAX_ENVELOPE_JSON_BYTES;
use provost_trust::{Envelope, PolicyManifest};
use serde::{Deserialize, Serialize};

use super::roots::Roots;
use crate::commands::fleet::export::{EXPORT_FILE, Stated, VERSION};
use crate::exit::UsageError;

/// One exported batch as a line: an envelope of 2 MiB in base64, and names.
const MAX_LINE_BYTES: u64 = 4 * 1024 * 1024;
const MAX_SUMMARY_BYTES: u64 = 64 * 1024 * 1024;

pub struct Export {
    folder: PathBuf,
    summary: Summary,
}

/// What the export says of itself.
#[derive(Deserialize)]
pub struct Summary {
    version: u64,
    clusters: Vec<Cluster>,
    pub batches: u64,
    #[serde(default)]
    pub heartbeats: u64,
    pub grants: u64,
    pub roots: u64,
    pub manifests: u64,
}

#[derive(Debug, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    #[serde(default)]
    pub name: String,
    pub chains: Vec<Stated>,
}

/// A line of `batches.jsonl` and of `heartbeats.jsonl`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    instance: InstanceId,
    epoch: u64,
    envelope: String,
}

/// A batch or heartbeat as it was exported: whose it is said to be, and its bytes.
pub struct Exported {
    pub instance: InstanceId,
    pub epoch: u64,
    pub envelope: Envelope,
}

#[derive(Debug, Default, Serialize)]
pub struct Manifests {
    pub checked: u64,
    pub failures: Vec<String>,
}

impl Export {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(EXPORT_FILE);
        if !path.is_file() {
            let message = format!(
                "{} is no finished export: make one with 'provost fleet export'",
                folder.display()
            );
            return Err(UsageError(message).into());
        }
        let bytes = read(&path, MAX_SUMMARY_BYTES)?;
        let summary: Summary =
            serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
        if summary.version != VERSION {
            bail!("{}: version {} is not known here", path.display(), summary.version);
        }
        Ok(Self { folder: folder.to_owned(), summary })
    }

    pub fn clusters(&self) -> &[Cluster] {
        &self.summary.clusters
    }

    pub const fn stated(&self) -> &Summary {
        &self.summary
    }

    /// How many signed objects lie in one of its folders.
    pub fn count(&self, folder: &str) -> anyhow::Result<u64> {
        Ok(files(&self.folder.join(folder))?.len() as u64)
    }

    /// What lies in one of its folders, by name.
    pub fn names(&self, folder: &str) -> anyhow::Result<Vec<String>> {
        let folder = self.folder.join(folder);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    pub fn grants_folder(&self) -> PathBuf {
        self.folder.join("grants")
    }

    /// Oldest first.
    pub fn roots(&self) -> anyhow::Result<Vec<Envelope>> {
        let mut roots = Vec::new();
        for (name, path) in files(&self.folder.join("roots"))? {
            let version: u64 = name.parse().with_context(|| path.display().to_string())?;
            roots.push((version, read_envelope(&path)?));
        }
        roots.sort_by_key(|(version, _)| *version);
        Ok(roots.into_iter().map(|(_, envelope)| envelope).collect())
    }

    /// Every batch of a cluster, in the order of the export; none where the file is missing.
    pub fn batches(
        &self,
        cluster: ClusterId,
        each: impl FnMut(usize, anyhow::Result<Exported>),
    ) -> anyhow::Result<()> {
        self.lines(cluster, "batches.jsonl", each)
    }

    /// The newest heartbeat of each instance of a cluster.
    pub fn heartbeats(
        &self,
        cluster: ClusterId,
        each: impl FnMut(usize, anyhow::Result<Exported>),
    ) -> anyhow::Result<()> {
        self.lines(cluster, "heartbeats.jsonl", each)
    }

    fn lines(
        &self,
        cluster: ClusterId,
        name: &str,
        mut each: impl FnMut(usize, anyhow::Result<Exported>),
    ) -> anyhow::Result<()> {
        let path = self.folder.join("clusters").join(cluster.to_string()).join(name);
        if !path.exists() {
            return Ok(());
        }
        let file = fs::File::open(&path).with_context(|| path.display().to_string())?;
        let mut file = BufReader::new(file);
        let mut number = 0;
        loop {
            let mut line = Vec::new();
            let read = (&mut file)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)
                .with_context(|| path.display().to_string())?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            each(number, read_line(&line));
        }
    }

    /// Published manifests under the policy role of any root of the chain.
    pub fn check_manifests(&self, roots: &Roots) -> anyhow::Result<Manifests> {
        let mut manifests = Manifests::default();
        for (name, path) in files(&self.folder.join("manifests"))? {
            manifests.checked += 1;
            let checked = read_envelope(&path).and_then(|envelope| {
                let digest = roots.manifest(&envelope)?;
                if digest.to_string() != name {
                    bail!("its digest is {digest}");
                }
                PolicyManifest::parse(&envelope.payload)?;
                Ok(())
            });
            if let Err(error) = checked {
                manifests.failures.push(format!("{name}: {error:#}"));
            }
        }
        Ok(manifests)
    }
}

/// The grant of a cluster; none where there is no file.
pub fn grant_of(folder: &Path, cluster: ClusterId) -> anyhow::Result<Option<Envelope>> {
    let path = folder.join(format!("{cluster}.json"));
    if path.is_file() { read_envelope(&path).map(Some) } else { Ok(None) }
}

fn read_line(line: &[u8]) -> anyhow::Result<Exported> {
    let line: Line = serde_json::from_slice(line).context("the line is no exported envelope")?;
    let bytes = STANDARD.decode(&line.envelope).context("the envelope is not base64")?;
    let envelope = envelope::decode(&bytes).context("the envelope cannot be decoded")?;
    Ok(Exported { instance: line.instance, epoch: line.epoch, envelope })
}

/// (name without `.json`, path), in order of name.
fn files(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(name) = name.strip_suffix(".json") {
            files.push((name.to_owned(), path));
        }
    }
    files.sort();
    Ok(files)
}

fn read_envelope(path: &Path) -> anyhow::Result<Envelope> {
    let bytes = read(path, MAX_ENVELOPE_JSON_BYTES as u64)?;
    Envelope::from_json(&bytes).with_context(|| path.display().to_string())
}

fn read(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .with_context(|| path.display().to_string())?;
    if bytes.len() as u64 > limit {
        bail!("{} is larger than {limit} bytes", path.display());
    }
    Ok(bytes)
}
