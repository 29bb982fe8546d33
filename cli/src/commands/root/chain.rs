//! Root files: the newest under its own name, those before it beside it with their version.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use provost_trust::dsse::MAX_ENVELOPE_JSON_BYTES;
use provost_trust::root::Role;
use provost_trust::{Envelope, Root, TrustedRoot};

use crate::exit::UsageError;

/// Roots, oldest first; the last one may be a draft.
#[derive(Clone, Debug)]
pub struct Chain {
    pub envelopes: Vec<Envelope>,
    /// The last one, read and not verified.
    pub latest: Root,
}

/// How far the signatures of a root have come: (valid, needed) of its own root role, and of the
/// version before it where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub own: (u32, u32),
    pub previous: Option<(u32, u32)>,
}

/// Reads `path` and the versions before it that stand beside it.
pub fn read(path: &Path) -> anyhow::Result<Chain> {
    if !path.exists() {
        let message =
            format!("{} does not exist: make one with 'provost root init'", path.display());
        return Err(UsageError(message).into());
    }
    let latest_envelope = read_envelope(path)?;
    let latest =
        Root::parse(&latest_envelope.payload).with_context(|| path.display().to_string())?;
    let mut envelopes = vec![latest_envelope];
    for version in (1..latest.version).rev() {
        let older = versioned(path, version);
        if !older.exists() {
            break;
        }
        envelopes.push(read_envelope(&older)?);
    }
    envelopes.reverse();
    Ok(Chain { envelopes, latest })
}

/// The root of an operator's file, verified from the oldest version there is.
pub fn trusted(path: &Path) -> anyhow::Result<TrustedRoot> {
    read(path)?
        .trusted()
        .with_context(|| format!("{} cannot be trusted (see 'provost root show')", path.display()))
}

/// Writes the newest root, by rename.
pub fn write(path: &Path, envelope: &Envelope) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, envelope.to_json())
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Puts the newest root aside under its version, before another takes its place.
pub fn put_aside(path: &Path, version: u64) -> anyhow::Result<()> {
    let aside = versioned(path, version);
    if aside.exists() {
        let message = format!("{} exists already: move it away", aside.display());
        return Err(UsageError(message).into());
    }
    fs::copy(path, &aside).with_context(|| format!("cannot write {}", aside.display()))?;
    Ok(())
}

impl Chain {
    pub fn trusted(&self) -> Result<TrustedRoot, provost_trust::Error> {
        let (first, rest) =
            self.envelopes.split_first().ok_or(provost_trust::Error::RootChainBroken {
                reason: "there is no root".to_owned(),
            })?;
        TrustedRoot::from_operator(first)?.follow(rest)
    }

    pub fn latest_envelope(&self) -> anyhow::Result<&Envelope> {
        self.envelopes.last().context("there is no root")
    }

    /// The root before the newest.
    pub fn previous(&self) -> anyhow::Result<Option<Root>> {
        let Some(index) = self.envelopes.len().checked_sub(2) else { return Ok(None) };
        Ok(Some(Root::parse(&self.envelopes[index].payload)?))
    }

    pub fn progress(&self) -> anyhow::Result<Progress> {
        let envelope = self.latest_envelope()?;
        let count = |root: &Root| {
            let keys = root.keys_of(Role::Root);
            let needed = root.role(Role::Root).threshold;
            // Each key is asked alone, so that the number of good signatures shows.
            let good = keys.iter().filter(|key| {
                let one = std::slice::from_ref(*key);
                envelope.verify(provost_trust::dsse::payload_type::ROOT, one, 1).is_ok()
            });
            (u32::try_from(good.count()).unwrap_or(u32::MAX), needed)
        };
        let previous = self.previous()?;
        Ok(Progress { own: count(&self.latest), previous: previous.as_ref().map(count) })
    }
}

impl Progress {
    pub fn is_complete(self) -> bool {
        let met = |(valid, needed): (u32, u32)| valid >= needed;
        met(self.own) && self.previous.is_none_or(met)
    }
}

fn versioned(path: &Path, version: u64) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".json").unwrap_or(&name);
    path.with_file_name(format!("{stem}.{version}.json"))
}

fn read_envelope(path: &Path) -> anyhow::Result<Envelope> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_ENVELOPE_JSON_BYTES as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let envelope = Envelope::from_json(&bytes);
    Ok(envelope.map_err(|error| UsageError(format!("{} is no root: {error}", path.display())))?)
}
