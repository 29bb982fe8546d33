//! The composition root: opens what the hub keeps, binds its listeners, starts its tasks, and waits.

mod api_listener;
mod bound;
mod data_folder;
mod hub_certificate;
mod store_check;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use provost_runtime::admin::{self, Health};
use provost_runtime::clock::SharedClock;
use provost_runtime::config::rule;
use provost_runtime::errors::chain;
use provost_runtime::metrics::Registry;
use provost_runtime::process::GRACE;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::spiffe::TrustDomain;
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::tls::CertificateSlot;
use provost_runtime::web;

use crate::auth::first_token;
use crate::ca::{self, HubKeys};
use crate::config::Config;
pub use bound::Addresses;

use bound::Listeners;
use data_folder::DataFolder;

use crate::hub::{Hub, Settings};
use crate::metrics::watch_store;
use crate::retention;
use crate::session;
use crate::store::{Identity as _, SqliteStore};

/// A hub that listens.
#[derive(Debug)]
pub struct Running {
    pub hub: Arc<Hub>,
    pub addresses: Addresses,
    pub registry: Registry,
    tasks: Tasks,
    store: SqliteStore,
    _folder: DataFolder,
}

/// Starts everything; on an error nothing is left running. A setting that cannot be used is found before anything is
/// touched, and is a [`provost_runtime::config::Error`].
pub async fn start(config: Config, clock: SharedClock, shutdown: Shutdown) -> Result<Running> {
    let certificate = config.api.certificate()?;
    let listeners = Listeners::bind(&config).await?;
    let tasks = Tasks::new(shutdown);
    let started = start_within(&config, clock, listeners, certificate, tasks.clone()).await;
    if started.is_err() {
        tasks.shutdown().trigger();
        // What failed to start is the error to tell, not what then ended.
        let _ = tasks.join(GRACE).await;
    }
    started
}

async fn start_within(
    config: &Config,
    clock: SharedClock,
    listeners: Listeners,
    certificate: Option<CertificateSlot>,
    tasks: Tasks,
) -> Result<Running> {
    let asked: TrustDomain = config.trust_domain.parse()?;
    ca::make_dir(&config.data_dir).map_err(|error| rule("data_dir", chain(&error)))?;
    let folder = DataFolder::open(&config.data_dir)?;
    let keys = HubKeys::open(folder.path(), &asked, &*clock)?;
    let store = open_store(&folder, &asked).await?;
    if let Some(path) = first_token::ensure(&store, folder.path(), clock.wall_ms()).await? {
        tracing::info!(path = %path.display(), "wrote the first admin token");
    }
    let addresses = listeners.addresses()?;
    let settings = Settings {
        heartbeat_interval: config.heartbeat_interval(),
        auto_approve: config.auto_approve,
        agent_urls: config.agents.urls.clone(),
        agent_address: addresses.agents,
    };
    let registry = Registry::of_process();
    let hub =
        Hub::open(store.clone(), Arc::clone(&clock), keys, asked, settings, &registry).await?;
    let shutdown = tasks.shutdown().clone();
    let slot = hub_certificate::first(&hub)?;
    let keep = hub_certificate::keep(Arc::clone(&hub), slot.clone(), shutdown.clone());
    tasks.spawn("hub certificate", OnEnd::Log, keep);
    let keep = retention::keep(Arc::clone(&hub), shutdown.clone());
    tasks.spawn_infallible("retention", OnEnd::Log, keep);
    session::server::start(&hub, &slot, listeners.agents, &tasks)?;
    watch_store(&registry, folder.path());
    api_listener::serve_api(&hub, certificate, listeners.api, &registry, &tasks)?;
    let health = Health::new();
    tasks.spawn_infallible(
        "store check",
        OnEnd::Log,
        store_check::watch(Arc::clone(&hub), health.clone(), shutdown.clone()),
    );
    let router = admin::router(health, registry.clone(), Default::default());
    tasks.spawn("admin port", OnEnd::ShutDown, web::serve_plain(listeners.admin, router, shutdown));
    folder.announce(&addresses)?;
    tracing::info!(agents = %addresses.agents, api = %addresses.api, admin = %addresses.admin, "the hub listens");
    Ok(Running { hub, addresses, registry, tasks, store, _folder: folder })
}

async fn open_store(folder: &DataFolder, asked: &TrustDomain) -> Result<SqliteStore> {
    let path = folder.path().join("hub.db");
    let store = SqliteStore::open(&path).await.context("cannot open the hub's database")?;
    let kept = store.meta_once("trust_domain", asked.as_str()).await?;
    anyhow::ensure!(kept == asked.as_str(), "this hub's trust domain is {kept}; it never changes");
    Ok(store)
}

impl Running {
    /// Until shutdown, or until an essential task ends.
    pub async fn wait(self) -> Result<()> {
        let ended = self.tasks.join(GRACE).await;
        self.store.close().await;
        Ok(ended?)
    }
}
