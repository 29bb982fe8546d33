//! What this agent trusts: the root chain, the grant, and what it must not fall behind; and from
//! them what time it is at least.
//!
//! Invariants: the root chain on disk starts at the pinned root and is checked step by step at
//! every start; nothing that failed a check changes anything; what changed is durable before it
//! counts. A file that cannot be read is set aside and costs only itself: a lost state takes its
//! floor from the bundles held ([`Trust::recall`]), a lost root or grant comes again from the hub,
//! and until the roots are where they were remembered to be, nothing new is accepted.

mod files;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use provost_model::record::ClockQuality;
use provost_model::{ClusterId, Digest, Labels};
use provost_runtime::clock::{BootId, Clock, SharedClock};
use provost_trust::grant::{self, Authority, Grant};
use provost_trust::{
    Envelope, PolicyManifest, PublicKey, Timestamp, TrustState, TrustedRoot, TrustedTime, Verified,
};

use crate::damage::Damage;
use crate::disk;
use files::{Found, io_at};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read or write {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
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
            Self::Refused(source) => source.code(),
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
    pinned: Option<Digest>,
}

#[derive(Debug)]
struct Inner {
    rooted: Option<Rooted>,
    /// Of roots that cannot be read: it counts again from the next ones on.
    remembered: Option<TrustState>,
    /// The roots are here and the state was not.
    is_state_missing: bool,
    /// A bundle that was in force was verified again.
    has_recalled: bool,
    damages: Vec<Damage>,
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
    /// Loads what is on disk and checks it anew; changes nothing there. `pinned`: the root that the
    /// token named.
    pub fn open(folder: &Path, pinned: Option<Digest>, clock: SharedClock) -> Result<Self, Error> {
        let roots_folder = folder.join(files::ROOTS_FOLDER);
        disk::create_folder(&roots_folder).map_err(io_at(&roots_folder))?;
        let Found { roots, state, grant, damages } = match pinned {
            Some(pinned) => files::read(folder, pinned)?,
            None => Found::default(),
        };
        let is_state_missing = state.is_none() && !damages.iter().any(files::is_state);
        let remembered = state.clone();
        let rooted = Rooted::of(roots, state, grant);
        let floor = remembered.as_ref().map_or_else(Timestamp::default, TrustState::time_floor);
        let inner = Inner {
            rooted,
            remembered,
            is_state_missing,
            has_recalled: false,
            damages,
            time: TrustedTime::new(floor),
            read_in: None,
        };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), folder: folder.into(), clock, pinned })
    }

    /// A bundle that was in force, verified again: the floor is not below it. Changes nothing but
    /// where the state was lost.
    pub fn recall(&self, manifest: &Verified<PolicyManifest>) {
        let mut inner = self.lock();
        let Some(rooted) = &mut inner.rooted else { return };
        rooted.state.remember_manifest(manifest);
        inner.has_recalled = true;
        if std::mem::take(&mut inner.is_state_missing) {
            inner.damages.push(files::missing_state(&self.folder));
        }
    }

    /// Sets aside what was found damaged, and writes the state that stands in for a lost one. Gives
    /// what it was.
    pub fn mend(&self) -> Result<Vec<Damage>, Error> {
        let mut damages = std::mem::take(&mut self.lock().damages);
        for damage in &mut damages {
            damage.set_aside().map_err(io_at(&damage.path))?;
            if files::is_state(damage) {
                damage.what = format!("{}; {}", damage.what, self.floor());
            }
        }
        if let Ok(rooted) = self.rooted() {
            rooted.write_state(&self.folder)?;
        }
        Ok(damages)
    }

    /// What was signed under a root that is not here looks unsigned.
    #[must_use]
    pub fn has_all_roots(&self) -> bool {
        let lost = |damage: &Damage| {
            damage.path.parent().is_some_and(|folder| folder.ends_with(files::ROOTS_FOLDER))
        };
        self.check_not_behind().is_ok() && !self.lock().damages.iter().any(lost)
    }

    /// Where a floor that was lost comes from.
    fn floor(&self) -> &'static str {
        if self.lock().has_recalled {
            "the version floor is that of the bundles held here"
        } else {
            "no version floor is known: the next bundle sets it"
        }
    }

    /// Nothing new is accepted under roots older than those remembered.
    pub fn check_not_behind(&self) -> Result<(), Error> {
        let rooted = self.rooted()?;
        Ok(rooted.state.check_root(&rooted.root)?)
    }

    /// Starts from the root whose digest was pinned, which must be among `roots`.
    pub fn pin(&self, pinned: Digest, roots: &[Envelope]) -> Result<(), Error> {
        let root = TrustedRoot::pin(pinned, roots)?;
        let first = roots.iter().position(|root| root.payload_digest() == pinned).unwrap_or(0);
        let state = self.lock().remembered.clone().unwrap_or_else(|| TrustState::new(&root));
        let mut rooted = Rooted { roots: roots[first..].to_vec(), root, state, grant: None };
        rooted.remember_root();
        rooted.write_roots(&self.folder)?;
        rooted.write_state(&self.folder)?;
        self.set(rooted);
        Ok(())
    }

    /// Goes on to newer roots. True: there was one.
    pub fn follow(&self, newer: &[Envelope]) -> Result<bool, Error> {
        if let (0, Some(pinned)) = (self.root_version(), self.pinned) {
            // They were lost here; the pin was not.
            return self.pin(pinned, newer).map(|()| true);
        }
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
        rooted.remember_root();
        rooted.write_roots(&self.folder)?;
        rooted.write_state(&self.folder)?;
        self.set(rooted);
        Ok(true)
    }

    /// Takes a grant of this cluster. True: labels or keys are new. Labels decide what is in force: under an expired
    /// root the grant that is held goes on, and so does everything under it.
    pub fn accept_grant(
        &self,
        envelope: &Envelope,
        cluster: ClusterId,
        identity_key: PublicKey,
    ) -> Result<bool, Error> {
        let mut rooted = self.rooted()?;
        self.check_not_behind()?;
        let held = rooted.state.held_grant();
        let (grant, authority) =
            grant::accept(&rooted.root, envelope, Some(cluster), identity_key, held)?;
        let is_held =
            |held: &grant::HeldGrant| held.digest == grant.digest() && held.authority == authority;
        if rooted.grant.is_some() && held.is_some_and(is_held) {
            return Ok(false);
        }
        let expired = rooted.root.check_expiry(self.now());
        if let (Err(error), true) = (expired, rooted.grant.is_some()) {
            tracing::warn!(%error, "a new grant is not taken; the one that is held goes on");
            return Ok(false);
        }
        rooted.remember_grant(grant, authority);
        files::write_grant(&self.folder, envelope)?;
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

    /// Every root of the chain, the newest first: what was accepted under one stays in force under
    /// the next.
    pub fn roots(&self) -> Result<Vec<TrustedRoot>, Error> {
        let mut roots = self.rooted()?.earlier_roots()?;
        roots.reverse();
        Ok(roots)
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

    /// By the hub's last word its own certificate has expired, and this machine's clock says another time: one of the two
    /// clocks was wrong, and the word counts no more. What offline keys signed still does. True: there was one to forget.
    #[must_use]
    pub fn doubt_hub_reading(&self) -> bool {
        self.clock_quality() == ClockQuality::Suspect && self.lock().read_in.take().is_some()
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
    fn of(
        roots: Vec<(Envelope, TrustedRoot)>,
        state: Option<TrustState>,
        grant: Option<(Verified<Grant>, Authority)>,
    ) -> Option<Self> {
        let root = roots.last()?.1.clone();
        let roots = roots.into_iter().map(|(envelope, _)| envelope).collect();
        let state = state.unwrap_or_else(|| TrustState::new(&root));
        let mut rooted = Self { roots, root, state, grant: None };
        // A crash between roots and state leaves the state one root behind.
        rooted.remember_root();
        if let Some((grant, authority)) = grant {
            rooted.remember_grant(grant, authority);
        }
        Some(rooted)
    }

    /// Never an older one than is remembered.
    fn remember_root(&mut self) {
        if self.root.version() >= self.state.root_version() {
            self.state.remember_root(&self.root);
        }
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
        let first = self.root.version() + 1 - self.roots.len() as u64;
        files::write_roots(folder, first, &self.roots)
    }

    fn write_state(&self, folder: &Path) -> Result<(), Error> {
        files::write_state(folder, &self.state)
    }
}
