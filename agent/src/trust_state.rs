//! What this agent trusts: the root chain, the grant, and what it must not fall behind; and from
//! them what time it is at least.
//!
//! Invariants: the root chain on disk starts at the pinned root and is checked step by step at
//! every start; nothing that failed a check changes anything; what changed is durable before it
//! counts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use provost_model::record::ClockQuality;
use provost_model::{ClusterId, Digest, Labels};
use provost_runtime::clock::{BootId, Clock, SharedClock};
use provost_trust::grant::{self, Authority, Grant};
use provost_trust::{
    Envelope, PolicyManifest, PublicKey, Timestamp, TrustState, TrustedRoot, TrustedTime, Verified,
};

use crate::disk;

const ROOTS_FOLDER: &str = "roots";
const STATE_FILE: &str = "state.json";
const GRANT_FILE: &str = "grant.dsse.json";
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read or write {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "{} is damaged: restore it from a backup, or remove the data folder and enrol anew",
        path.display()
    )]
    File { path: PathBuf, source: provost_trust::Error },
    #[error(transparent)]
    Refused(#[from] provost_trust::Error),
    #[error("there is no trusted root yet")]
    NoRoot,
}

impl Error {
    /// The refusal's, where it is one.
    #[must_use]
    pub const fn code(&self) -> provost_model::Code {
        match self {
            Self::File { source, .. } | Self::Refused(source) => source.code(),
            Self::Io { .. } | Self::NoRoot => provost_model::Code::Internal,
        }
    }
}

/// Shared by uplink and bundles; cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust {
    inner: Arc<Mutex<Inner>>,
    folder: Arc<Path>,
    clock: SharedClock,
}

#[derive(Debug)]
struct Inner {
    rooted: Option<Rooted>,
    time: TrustedTime,
    /// A reading of the hub's clock counts within its boot only.
    read_in: Option<BootId>,
}

#[derive(Clone, Debug)]
struct Rooted {
    /// From the pinned root to the newest.
    roots: Vec<Envelope>,
    root: TrustedRoot,
    state: TrustState,
    grant: Option<Verified<Grant>>,
}

impl Trust {
    /// Loads what is on disk and checks it anew. `pinned`: the root that the token named.
    pub fn open(folder: &Path, pinned: Option<Digest>, clock: SharedClock) -> Result<Self, Error> {
        let roots_folder = folder.join(ROOTS_FOLDER);
        disk::create_folder(&roots_folder).map_err(io_at(&roots_folder))?;
        let rooted = match pinned {
            Some(pinned) => Rooted::load(folder, pinned)?,
            None => None,
        };
        let floor = rooted.as_ref().map_or_else(Timestamp::default, |r| r.state.time_floor());
        let inner = Inner { rooted, time: TrustedTime::new(floor), read_in: None };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), folder: folder.into(), clock })
    }

    /// Starts from the root whose digest was pinned, which must be among `roots`.
    pub fn pin(&self, pinned: Digest, roots: &[Envelope]) -> Result<(), Error> {
        let root = TrustedRoot::pin(pinned, roots)?;
        let first = roots.iter().position(|root| root.payload_digest() == pinned).unwrap_or(0);
        let state = TrustState::new(&root);
        let rooted = Rooted { roots: roots[first..].to_vec(), root, state, grant: None };
        rooted.write_roots(&self.folder)?;
        rooted.write_state(&self.folder)?;
        self.set(rooted);
        Ok(())
    }

    /// Goes on to newer roots. True: there was one.
    pub fn follow(&self, newer: &[Envelope]) -> Result<bool, Error> {
        let mut rooted = self.rooted()?;
        let before = rooted.root.version();
        for envelope in newer {
            let held = rooted.root.version();
            rooted.root = rooted.root.follow(std::slice::from_ref(envelope))?;
            if rooted.root.version() > held {
                rooted.roots.push(envelope.clone());
            }
        }
        if rooted.root.version() == before {
            return Ok(false);
        }
        rooted.state.remember_root(&rooted.root);
        rooted.write_roots(&self.folder)?;
        rooted.write_state(&self.folder)?;
        self.set(rooted);
        Ok(true)
    }

    /// Takes a grant of this cluster. True: labels or keys are new.
    pub fn accept_grant(
        &self,
        envelope: &Envelope,
        cluster: ClusterId,
        identity_key: PublicKey,
    ) -> Result<bool, Error> {
        let mut rooted = self.rooted()?;
        let held = rooted.state.held_grant();
        let (grant, authority) =
            grant::accept(&rooted.root, envelope, Some(cluster), identity_key, held)?;
        if held.is_some_and(|held| held.digest == grant.digest() && held.authority == authority) {
            return Ok(false);
        }
        rooted.remember_grant(grant, authority);
        let path = self.folder.join(GRANT_FILE);
        disk::replace(&path, envelope.to_json().as_bytes()).map_err(io_at(&path))?;
        rooted.write_state(&self.folder)?;
        self.set(rooted);
        Ok(true)
    }

    /// Before a bundle goes into force.
    pub fn remember_manifest(&self, manifest: &Verified<PolicyManifest>) -> Result<(), Error> {
        let mut rooted = self.rooted()?;
        rooted.state.remember_manifest(manifest);
        rooted.write_state(&self.folder)?;
        self.set(rooted);
        Ok(())
    }

    pub fn root(&self) -> Result<TrustedRoot, Error> {
        Ok(self.rooted()?.root)
    }

    /// The root as it was at `version`: what was accepted under it stays in force under the next.
    pub fn root_at(&self, version: u64) -> Result<TrustedRoot, Error> {
        let roots = self.rooted()?.earlier_roots()?;
        roots.into_iter().find(|root| root.version() >= version).ok_or(Error::NoRoot)
    }

    /// None before the first root.
    #[must_use]
    pub fn state(&self) -> Option<TrustState> {
        self.lock().rooted.as_ref().map(|rooted| rooted.state.clone())
    }

    /// 0 before the first root.
    #[must_use]
    pub fn root_version(&self) -> u64 {
        self.lock().rooted.as_ref().map_or(0, |rooted| rooted.root.version())
    }

    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.lock().rooted.as_ref().and_then(|rooted| rooted.state.digest().ok())
    }

    /// The cluster's granted labels; none before the first grant.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let inner = self.lock();
        let grant = inner.rooted.as_ref().and_then(|rooted| rooted.grant.as_ref());
        grant.map(|grant| grant.labels.clone()).unwrap_or_default()
    }

    /// The hub told its time, just now, over a connection that it proved to be the hub on.
    pub fn hub_reading(&self, hub_ms: i64) {
        let monotonic_ms = self.clock.monotonic_ms();
        let mut inner = self.lock();
        inner.read_in = Some(self.clock.boot());
        inner.time.hub_reading(hub_ms, monotonic_ms);
    }

    /// A lower bound of the time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let (monotonic_ms, wall_ms) = (self.clock.monotonic_ms(), self.clock.wall_ms());
        self.time().now(monotonic_ms, wall_ms)
    }

    #[must_use]
    pub fn clock_quality(&self) -> ClockQuality {
        let (monotonic_ms, wall_ms) = (self.clock.monotonic_ms(), self.clock.wall_ms());
        self.time().quality(monotonic_ms, wall_ms)
    }

    fn time(&self) -> TrustedTime {
        let inner = self.lock();
        let floor = inner.rooted.as_ref().map_or_else(Timestamp::default, |r| r.state.time_floor());
        let mut time = inner.time;
        if inner.read_in != Some(self.clock.boot()) {
            time = TrustedTime::new(inner.time.floor());
        }
        time.raise_floor(floor);
        time
    }

    fn rooted(&self) -> Result<Rooted, Error> {
        self.lock().rooted.clone().ok_or(Error::NoRoot)
    }

    fn set(&self, rooted: Rooted) {
        self.lock().rooted = Some(rooted);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Trusted time as TLS asks for it: a wrong wall clock neither refuses a good hub nor takes an
/// expired one that we know to have expired.
#[derive(Debug)]
pub struct TrustedClock(pub Trust);

impl Clock for TrustedClock {
    fn wall_ms(&self) -> i64 {
        self.0.now().unix_ms()
    }

    fn monotonic(&self) -> std::time::Duration {
        self.0.clock.monotonic()
    }

    fn boot(&self) -> BootId {
        self.0.clock.boot()
    }
}

impl Rooted {
    fn load(folder: &Path, pinned: Digest) -> Result<Option<Self>, Error> {
        let mut roots = read_roots(folder)?;
        if roots.is_empty() {
            return Ok(None);
        }
        let roots_folder = folder.join(ROOTS_FOLDER);
        let root = TrustedRoot::pin(pinned, &roots).map_err(file_at(&roots_folder))?;
        let first = roots.iter().position(|root| root.payload_digest() == pinned).unwrap_or(0);
        roots.drain(..first);
        let path = folder.join(STATE_FILE);
        let state = match disk::read_optional(&path, MAX_FILE_BYTES).map_err(io_at(&path))? {
            None => TrustState::new(&root),
            Some(bytes) => TrustState::from_json(&bytes).map_err(file_at(&path))?,
        };
        // A crash between roots and state leaves the state one root behind, never ahead.
        state.check_root(&root).map_err(file_at(&path))?;
        let mut rooted = Self { roots, root, state, grant: None };
        rooted.state.remember_root(&rooted.root);
        rooted.load_grant(folder)?;
        Ok(Some(rooted))
    }

    /// The grant was checked when it came; here it is only held to what is remembered of it.
    fn load_grant(&mut self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(GRANT_FILE);
        let Some(bytes) = disk::read_optional(&path, MAX_FILE_BYTES).map_err(io_at(&path))? else {
            return Ok(());
        };
        let envelope = Envelope::from_json(&bytes).map_err(file_at(&path))?;
        // It may have been signed by keys that a later root dropped; it holds until it is replaced.
        let mut verified = grant::verify(&self.root, &envelope);
        for root in self.earlier_roots()?.iter().rev() {
            if verified.is_ok() {
                break;
            }
            verified = grant::verify(root, &envelope);
        }
        let (grant, authority) = verified.map_err(file_at(&path))?;
        self.remember_grant(grant, authority);
        Ok(())
    }

    /// Every root of the chain, the pinned one first.
    fn earlier_roots(&self) -> Result<Vec<TrustedRoot>, Error> {
        let first = self.roots.first().ok_or(Error::NoRoot)?;
        let mut roots =
            vec![TrustedRoot::pin(first.payload_digest(), std::slice::from_ref(first))?];
        for envelope in &self.roots[1..] {
            let next = roots[roots.len() - 1].clone().follow(std::slice::from_ref(envelope))?;
            roots.push(next);
        }
        Ok(roots)
    }

    fn remember_grant(&mut self, grant: Verified<Grant>, authority: Authority) {
        self.state.remember_grant(&grant, authority);
        self.grant = Some(grant);
    }

    fn write_roots(&self, folder: &Path) -> Result<(), Error> {
        let folder = folder.join(ROOTS_FOLDER);
        let first = self.root.version() + 1 - self.roots.len() as u64;
        for (version, envelope) in (first..).zip(&self.roots) {
            let path = folder.join(format!("{version:010}.dsse.json"));
            if !path.is_file() {
                disk::replace(&path, envelope.to_json().as_bytes()).map_err(io_at(&path))?;
            }
        }
        Ok(())
    }

    fn write_state(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(STATE_FILE);
        let json = self.state.to_json()?;
        disk::replace(&path, &json).map_err(io_at(&path))
    }
}

fn read_roots(folder: &Path) -> Result<Vec<Envelope>, Error> {
    let folder = folder.join(ROOTS_FOLDER);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(io_at(&folder))? {
        let path = entry.map_err(io_at(&folder))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            names.push(path);
        }
    }
    names.sort();
    let mut roots = Vec::new();
    for path in names {
        if let Some(bytes) = disk::read_optional(&path, MAX_FILE_BYTES).map_err(io_at(&path))? {
            roots.push(Envelope::from_json(&bytes).map_err(file_at(&path))?);
        }
    }
    Ok(roots)
}

fn io_at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

fn file_at(path: &Path) -> impl FnOnce(provost_trust::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provost_runtime::clock::Manual;

    /// What is damaged is named, with the way out of it.
    #[test]
    fn a_damaged_root_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let clock: SharedClock = Manual::at(0);
        let pinned = Some(Digest::of(b"root"));
        Trust::open(folder.path(), pinned, Arc::clone(&clock)).unwrap();
        let path = folder.path().join(ROOTS_FOLDER).join("0000000001.dsse.json");
        std::fs::write(&path, "{").unwrap();
        let error = Trust::open(folder.path(), pinned, clock).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("remove the data folder and enrol anew"), "{text}");
    }
}
