//! Which bundle is in force: the last good one at start, and what the hub assigns after that.
//!
//! Order of every activation: roots, grant, assignment, manifest, files, exact set, compile, own
//! tests; then persist, report, swap, tell. A failure at any step leaves what is in force as it
//! was, is told to the hub with its code, and stands in the chain. Nothing here waits for the hub
//! but the fetching of blobs.

mod fetch;
mod last_good;
mod prepare;
mod queue;
mod shared;
mod store;
mod view;

use std::sync::Arc;
use std::time::Duration;

use provost_bundle::VerifiedBundle;
use provost_engine::{Cluster, CompiledSet, Options};
use provost_model::binding::Origin;
use provost_model::record::{BundleEvent, BundleRecord, TrustEvent, TrustRecord};
use provost_model::{ClusterId, Code, Digest};
use provost_proto::session::{self, BundleAnswer};
use provost_runtime::backoff::Backoff;
use provost_runtime::shutdown::Shutdown;
use provost_trust::assignment::{AssignedAction, Assignment, Nonce, Session};
use provost_trust::manifest::{self, Circumstances, EngineVersion, Purpose};
use provost_trust::{Envelope, PolicyManifest, PublicKey, Verified};
use tokio::sync::{mpsc, watch};

use queue::Queue;

pub use fetch::BlobSource;
pub use prepare::{Prepared, Refused};
pub use shared::Shared;
pub use store::{Error as StoreError, Store};
pub use view::{Active, LastRefusal, View};

use crate::damage;
use crate::report::Journal;
use crate::trust_state::{self, Trust};

/// Between attempts at a bundle that something else than the bundle broke; for as long as its
/// assignment stands.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);

/// What a session hands over when the hub assigns a bundle.
pub struct Offer {
    pub assignment: session::Assignment,
    /// Of this session's Hello.
    pub nonce: Nonce,
    pub cluster: ClusterId,
    pub identity_key: PublicKey,
    pub blobs: Arc<dyn BlobSource>,
    /// Back to the session; closed when it ended.
    pub answers: mpsc::Sender<BundleAnswer>,
}

pub struct Bundles {
    store: Store,
    trust: Trust,
    journal: Arc<dyn Journal>,
    sets: watch::Sender<Arc<CompiledSet>>,
    view: watch::Sender<View>,
    in_force: Option<VerifiedBundle>,
    /// Version of the API server, where one is watched.
    server_version: Option<String>,
    /// First and longest delay between attempts.
    retry: (Duration, Duration),
    shared: Option<Shared>,
}

/// Either the bundle is refused, or nothing is known of it because something else broke.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Interrupted(#[from] anyhow::Error),
    #[error("another assignment came")]
    Superseded,
}

impl From<provost_trust::Error> for Failure {
    fn from(error: provost_trust::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<trust_state::Error> for Failure {
    fn from(error: trust_state::Error) -> Self {
        match error {
            trust_state::Error::Refused(error) => error.into(),
            other => Self::Interrupted(other.into()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Interrupted(error.into())
    }
}

/// A set with no policy: what is in force before the first bundle.
#[must_use]
pub fn empty_set() -> Arc<CompiledSet> {
    let bundle = provost_bundle::Bundle {
        policies: Vec::new(),
        libraries: Vec::new(),
        library_tests: Vec::new(),
        bindings: Vec::new(),
        origin: Origin::Local(Digest::of(b"")),
    };
    Arc::new(CompiledSet::compile(&bundle, &Cluster::default(), &Options::default()))
}

impl Bundles {
    #[must_use]
    pub fn new(
        store: Store,
        trust: Trust,
        journal: Arc<dyn Journal>,
        server_version: Option<String>,
    ) -> Self {
        let (sets, _) = watch::channel(empty_set());
        let (view, _) = watch::channel(View::default());
        Self {
            store,
            trust,
            journal,
            sets,
            view,
            in_force: None,
            server_version,
            retry: (RETRY_FIRST, RETRY_CAP),
            shared: None,
        }
    }

    /// A new bundle is prepared once for all that share. Only for agents that evaluate nothing.
    #[must_use]
    pub fn sharing(self, shared: Option<Shared>) -> Self {
        Self { shared, ..self }
    }

    /// With these first and longest delays between attempts, the longest at most a minute.
    #[must_use]
    pub fn retrying(self, first: Duration, cap: Duration) -> Self {
        Self { retry: (first, cap.min(RETRY_CAP)), ..self }
    }

    /// The set in force; changes with every activation.
    #[must_use]
    pub fn sets(&self) -> watch::Receiver<Arc<CompiledSet>> {
        self.sets.subscribe()
    }

    #[must_use]
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Takes offers until shutdown.
    pub async fn run(mut self, offers: mpsc::Receiver<Offer>, shutdown: Shutdown) {
        let mut queue = Queue::new(offers);
        while let Some(Some(offer)) = shutdown.or(queue.next()).await {
            let answers = offer.answers.clone();
            let handled = shutdown.or(self.handle(offer, &mut queue)).await;
            if let Some(Some(answer)) = handled {
                // A closed channel means that the session ended; the next one brings a new offer.
                let _ = answers.send(answer).await;
            }
        }
    }

    /// What breaks on the way is tried again while the session lasts, or until another assignment
    /// comes.
    async fn handle(&mut self, offer: Offer, queue: &mut Queue) -> Option<BundleAnswer> {
        let answer = self.keep_trying(offer, queue).await;
        self.view.send_modify(|view| view.delayed = None);
        answer
    }

    async fn keep_trying(&mut self, offer: Offer, queue: &mut Queue) -> Option<BundleAnswer> {
        let mut backoff = Backoff::new(self.retry.0, self.retry.1);
        loop {
            let error = match self.take(&offer, queue).await {
                Ok(answer) => return answer,
                Err(Failure::Refused(refused)) => return Some(self.refuse(&offer, refused).await),
                Err(Failure::Superseded) => return None,
                Err(Failure::Interrupted(error)) => format!("{error:#}"),
            };
            let delay = backoff.next_delay(None);
            tracing::warn!(error, ?delay, "bundle not taken; trying again");
            self.view.send_modify(|view| view.delayed = Some(error.clone()));
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = queue.newer() => return None,
                () = offer.answers.closed() => {}
            }
            if offer.answers.is_closed() {
                tracing::warn!(error, "bundle not taken; the hub will offer it again");
                return None;
            }
        }
    }

    async fn take(
        &mut self,
        offer: &Offer,
        queue: &mut Queue,
    ) -> Result<Option<BundleAnswer>, Failure> {
        self.follow_roots(&offer.assignment.roots).await?;
        self.take_grant(offer).await?;
        self.trust.check_not_behind()?;
        let root = self.trust.root()?;
        let session =
            Session { cluster_id: offer.cluster, nonce: offer.nonce, now: self.trust.now() };
        let assignment =
            provost_trust::assignment::verify(&root, &offer.assignment.assignment, &session)?;
        let purpose = match assignment.action {
            AssignedAction::Activate => Purpose::Activate,
            AssignedAction::RollbackTo => Purpose::Rollback,
            AssignedAction::Hold => return Ok(None),
            AssignedAction::Shadow => {
                let what = "shadow evaluation is not supported by this version";
                return Err(Refused::one(Code::Unsupported, "", what).into());
            }
        };
        let active = Active::of(self.in_force.as_ref());
        if active.is_some_and(|active| active.manifest == assignment.digest) {
            let (manifest, version) = (assignment.digest, assignment.version);
            if self.store.active()?.is_none() {
                self.store.activate(manifest, root.version())?;
            }
            return Ok(Some(BundleAnswer::Active { manifest, version }));
        }
        let envelope = self.manifest_envelope(offer, &assignment)?;
        let manifest = self.accept_manifest(&envelope, &assignment, purpose)?;
        self.set_aside_damaged(&manifest).await?;
        self.fetch(&manifest, offer, purpose, queue).await?;
        let (contents, _) = self.store.contents(&manifest.files)?;
        let verified = VerifiedBundle::new(manifest, contents)?;
        let prepared = self.prepare(verified.clone(), Some(offer.cluster), true).await?;
        self.store.keep_manifest(&envelope)?;
        self.trust.remember_manifest(verified.manifest())?;
        self.store.activate(verified.manifest().digest(), root.version())?;
        let (manifest, version) = (assignment.digest, assignment.version);
        tracing::info!(
            channel = assignment.channel,
            version,
            manifest = manifest.short(),
            "bundle active"
        );
        self.put_into_force(verified, prepared, BundleEvent::Activated).await;
        self.view.send_modify(|view| view.last_refusal = None);
        Ok(Some(BundleAnswer::Active { manifest, version }))
    }

    async fn follow_roots(&self, roots: &[Envelope]) -> Result<(), Failure> {
        if roots.is_empty() || !self.trust.follow(roots)? {
            return Ok(());
        }
        let root = self.trust.root()?;
        tracing::info!(version = root.version(), "root rotated");
        let event = TrustEvent::RootRotated;
        self.report_trust(event, root.version(), Some(root.digest())).await;
        Ok(())
    }

    /// New labels can bring other bindings into force, under the same bundle.
    async fn take_grant(&mut self, offer: &Offer) -> Result<(), Failure> {
        let Some(grant) = &offer.assignment.grant else { return Ok(()) };
        if !self.trust.accept_grant(grant, offer.cluster, offer.identity_key)? {
            return Ok(());
        }
        let (version, digest) = (self.trust.root_version(), grant.payload_digest());
        self.report_trust(TrustEvent::Granted, version, Some(digest)).await;
        if let Some(verified) = self.in_force.clone() {
            let prepared = self.prepare(verified.clone(), Some(offer.cluster), false).await?;
            self.put_into_force(verified, prepared, BundleEvent::PolicySetChanged).await;
        }
        Ok(())
    }

    /// The one beside the assignment, or the one held, where the hub knows that it is.
    fn manifest_envelope(
        &self,
        offer: &Offer,
        assignment: &Assignment,
    ) -> Result<Envelope, Failure> {
        if let Some(envelope) = &offer.assignment.manifest {
            return Ok(envelope.clone());
        }
        let held = self.store.manifest(&assignment.digest)?;
        let missing = || Refused::one(Code::NotFound, "", "the assigned manifest is not held here");
        Ok(held.ok_or_else(missing)?)
    }

    fn accept_manifest(
        &self,
        envelope: &Envelope,
        assignment: &Assignment,
        purpose: Purpose,
    ) -> Result<Verified<PolicyManifest>, Failure> {
        let state = self.trust.state();
        let labels = self.trust.labels();
        let held = state.as_ref().and_then(|state| state.held_manifest(&assignment.channel));
        if purpose == Purpose::Rollback && held.is_none() {
            let what = "no version floor of the channel is known here: nothing to roll back from";
            return Err(Refused::one(Code::BelowFloor, "", what).into());
        }
        let circumstances = Circumstances {
            now: self.trust.now(),
            labels: &labels,
            held,
            engine: EngineVersion::running(),
            purpose,
        };
        let manifest = manifest::accept(&self.trust.root()?, envelope, &circumstances)?;
        assignment.check_manifest(&manifest)?;
        Ok(manifest)
    }

    /// A rollback goes to what is held, and needs no network.
    async fn fetch(
        &self,
        manifest: &Verified<PolicyManifest>,
        offer: &Offer,
        purpose: Purpose,
        queue: &mut Queue,
    ) -> Result<(), Failure> {
        if purpose == Purpose::Rollback {
            return Ok(());
        }
        let fetched = tokio::select! {
            fetched = fetch::missing(&self.store, &manifest.files, offer.blobs.as_ref()) => fetched,
            () = queue.newer() => return Err(Failure::Superseded),
        };
        match fetched {
            Ok(()) => Ok(()),
            Err(fetch::Error::Refused(error)) => Err(error.into()),
            Err(fetch::Error::Source { blob, refusal }) if refusal.code == Code::NotFound => {
                let what = format!("the hub does not have the blob {blob}");
                Err(Refused::one(Code::FileMissing, "", &what).into())
            }
            Err(other) => Err(Failure::Interrupted(other.into())),
        }
    }

    async fn set_aside_damaged(&self, manifest: &Verified<PolicyManifest>) -> Result<(), Failure> {
        let damages = self.store.set_aside_damaged(&manifest.files)?;
        damage::declare(&damages, &self.journal).await;
        Ok(())
    }

    async fn prepare(
        &self,
        verified: VerifiedBundle,
        cluster: Option<ClusterId>,
        new: bool,
    ) -> Result<Prepared, Failure> {
        let cluster = Cluster {
            id: cluster.map(|id| id.to_string()).unwrap_or_default(),
            labels: self.trust.labels(),
            version: self.server_version.clone(),
        };
        let manifest = verified.manifest().digest();
        let work = move || prepare::prepare(&verified, &cluster, new);
        let prepared = async {
            let done = tokio::task::spawn_blocking(work).await;
            Ok(done.map_err(|error| Failure::Interrupted(error.into()))??)
        };
        match &self.shared {
            Some(shared) => shared.once(manifest, prepared).await,
            None => prepared.await,
        }
    }

    /// The record comes first, so that the set stands in the chain before the verdicts that name it.
    async fn put_into_force(
        &mut self,
        verified: VerifiedBundle,
        prepared: Prepared,
        event: BundleEvent,
    ) {
        let manifest = verified.manifest();
        let record = BundleRecord {
            event,
            channel: manifest.channel.clone(),
            version: manifest.version,
            manifest: manifest.digest(),
            policy_set: Some(prepared.set.policy_set().clone()),
            errors: Vec::new(),
        };
        self.journal.bundle(record).await;
        let active = Active {
            policies: prepared.bundle.policies.len(),
            bindings: prepared.set.policy_set().entries.len(),
            ..Active::from_manifest(manifest)
        };
        self.in_force = Some(verified);
        self.sets.send_replace(prepared.set);
        self.view.send_modify(|view| view.active = Some(active));
    }

    async fn refuse(&self, offer: &Offer, refused: Refused) -> BundleAnswer {
        let code = refused.code;
        // Unverified: only to say which bundle was refused.
        let envelope = &offer.assignment.assignment;
        let (manifest, version, channel) = Assignment::parse(&envelope.payload).map_or_else(
            |_| (envelope.payload_digest(), 0, String::new()),
            |claimed| (claimed.digest, claimed.version, claimed.channel),
        );
        tracing::error!(
            version, manifest = manifest.short(), %code, reason = refused.message,
            "bundle refused; what was in force stays"
        );
        let errors = refused.errors.clone();
        let record = BundleRecord {
            event: BundleEvent::Refused,
            channel,
            version,
            manifest,
            policy_set: None,
            errors: errors.clone(),
        };
        let last = LastRefusal { version, manifest, refused };
        // Offered again in every session: one record is enough until something changes. The words
        // of a refusal may name the time, so that the code tells.
        let news = self.view.borrow().last_refusal.as_ref().is_none_or(|before| {
            (before.manifest, before.version, before.refused.code)
                != (last.manifest, last.version, last.refused.code)
        });
        if news {
            self.journal.bundle(record).await;
            self.view.send_modify(|view| view.last_refusal = Some(last));
        }
        BundleAnswer::Refused { manifest, version, code, errors }
    }

    async fn report_trust(&self, event: TrustEvent, root_version: u64, digest: Option<Digest>) {
        let record = TrustRecord { event, root_version, digest, detail: String::new() };
        self.journal.trust(record).await;
    }
}
