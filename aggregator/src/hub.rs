//! What every part of the hub shares: its store, clock, keys, who is live, and the news of bundles.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use provost_runtime::clock::{Floored, SharedClock};
use provost_runtime::metrics::Registry;
use provost_runtime::spiffe::TrustDomain;
use provost_trust::{Envelope, Root};
use tokio::sync::watch;

use crate::ca::HubKeys;
use crate::intake::Intake;
use crate::liveness::Liveness;
use crate::metrics::Metrics;
use crate::open_sessions::OpenSessions;
use crate::store::bundles::{Publication, RootRow};
use crate::store::{self, Identity as _, SqliteStore, Store};

/// Handed around as an `Arc`.
pub struct Hub {
    pub store: Arc<dyn Store>,
    /// Never before the newest date that was signed offline: whoever holds such an object takes nothing for current that
    /// a slow clock dated before it.
    pub clock: SharedClock,
    /// What `clock` is made of.
    pub floor: Arc<Floored>,
    pub keys: HubKeys,
    pub trust_domain: TrustDomain,
    pub settings: Settings,
    pub liveness: Liveness,
    pub sessions: OpenSessions,
    /// Of agents with a certificate.
    pub known: Intake,
    /// Of enrolments and re-entries, which anybody can send.
    pub anonymous: Intake,
    pub metrics: Metrics,
    /// Changes when a bundle was published: sessions look again.
    pub published: watch::Sender<u64>,
    /// Newest root; none before the first publication.
    pub root_version: watch::Sender<Option<u64>>,
    /// Drawn when the database was made and sent with Welcome and each Ack, so that an agent could tell that it speaks with
    /// another history. Those of this version tell by what was acknowledged.
    pub epoch: u64,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub heartbeat_interval: Duration,
    /// Approve every cluster that enrols with a good token.
    pub auto_approve: bool,
    /// Where agents reach the hub, as told; none: the bound address.
    pub agent_urls: Vec<String>,
    pub agent_address: SocketAddr,
}

impl Hub {
    /// Reads what the hub must know of its own store.
    pub async fn open(
        store: SqliteStore,
        clock: SharedClock,
        keys: HubKeys,
        trust_domain: TrustDomain,
        settings: Settings,
        registry: &Registry,
    ) -> store::Result<Arc<Self>> {
        let epoch =
            store.meta_once("hub_epoch", &clock.wall_ms().unsigned_abs().to_string()).await?;
        let store: Arc<dyn Store> = Arc::new(store);
        let floor = Floored::over(clock);
        let clock: SharedClock = floor.clone();
        let roots = store.roots_after(0).await?;
        for root in &roots {
            raise(&floor, root);
        }
        for bundle in store.bundles().await? {
            floor.raise(bundle.created_at_ms);
        }
        let newest_root = roots.last().map(|root| root.version);
        Ok(Arc::new(Self {
            liveness: Liveness::new(Arc::clone(&clock), settings.heartbeat_interval),
            known: Intake::new(clock.monotonic()),
            anonymous: Intake::new(clock.monotonic()),
            metrics: Metrics::new(registry),
            store,
            clock,
            floor,
            keys,
            trust_domain,
            settings,
            sessions: OpenSessions::default(),
            published: watch::Sender::new(0),
            root_version: watch::Sender::new(newest_root),
            epoch: epoch.parse().map_err(|error| store::Error::corrupt("meta", error))?,
        }))
    }

    /// What was published is past, whatever the clock says.
    pub fn passed(&self, publication: &Publication) {
        for root in &publication.roots {
            raise(&self.floor, root);
        }
        self.floor.raise(publication.bundle.created_at_ms);
    }

    /// Where agents reach this hub: as it was told, or else the bound address, if that names one machine. Empty: the
    /// operator has to say.
    #[must_use]
    pub fn agent_urls(&self) -> Vec<String> {
        let Settings { agent_urls, agent_address, .. } = &self.settings;
        if agent_urls.is_empty() && !agent_address.ip().is_unspecified() {
            return vec![format!("https://{agent_address}")];
        }
        agent_urls.clone()
    }
}

/// One that cannot be read says nothing of time.
fn raise(floor: &Floored, root: &RootRow) {
    let envelope = Envelope::from_json(root.envelope.as_bytes()).ok();
    if let Some(root) = envelope.and_then(|envelope| Root::parse(&envelope.payload).ok()) {
        floor.raise(root.created.unix_s().saturating_mul(1000));
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}
