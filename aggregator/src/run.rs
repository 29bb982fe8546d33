//! The composition root: opens what the hub keeps, binds its listeners, starts its tasks, and waits.

mod api_listener;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use provost_runtime::admin::{self, Health};
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::Registry;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::spiffe::TrustDomain;
use provost_runtime::tasks::{OnEnd, Tasks};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::auth::first_token;
use crate::ca::{self, HubKeys};
use crate::config::Config;
use crate::hub::{Hub, Settings};
use crate::session;
use crate::store::{Identity as _, SqliteStore};

/// Tasks get this long to end in order.
const GRACE: Duration = Duration::from_secs(10);

/// Bound addresses, as `addresses.json` in the data folder says them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    pub agents: SocketAddr,
    pub api: SocketAddr,
    pub admin: SocketAddr,
}

/// A hub that listens.
#[derive(Debug)]
pub struct Running {
    pub hub: Arc<Hub>,
    pub addresses: Addresses,
    tasks: Tasks,
    store: SqliteStore,
}

/// Starts everything; on an error nothing is left running.
pub async fn start(config: Config, clock: SharedClock, shutdown: Shutdown) -> Result<Running> {
    let Config {
        data_dir,
        trust_domain,
        agents,
        api,
        admin,
        auto_approve,
        heartbeat_interval_ms: _,
        log: _,
    } = &config;
    let asked: TrustDomain = trust_domain.parse()?;
    let keys = HubKeys::open(data_dir, &asked, &*clock)?;
    let store = SqliteStore::open(&data_dir.join("hub.db"))
        .await
        .context("cannot open the hub's database")?;
    let trust_domain = store.meta_once("trust_domain", asked.as_str()).await?;
    anyhow::ensure!(
        trust_domain == asked.as_str(),
        "this hub's trust domain is {trust_domain}; it never changes"
    );
    if let Some(path) = first_token::ensure(&store, data_dir, clock.wall_ms()).await? {
        tracing::info!(path = %path.display(), "wrote the first admin token");
    }
    let agent_listener =
        TcpListener::bind(agents.listen).await.with_context(|| agents.listen.to_string())?;
    let api_listener =
        TcpListener::bind(api.listen).await.with_context(|| api.listen.to_string())?;
    let admin_listener =
        admin::bind(admin.listen).await.with_context(|| admin.listen.to_string())?;
    let addresses = Addresses {
        agents: agent_listener.local_addr()?,
        api: api_listener.local_addr()?,
        admin: admin_listener.local_addr()?,
    };
    let registry = Registry::new();
    let settings = Settings {
        heartbeat_interval: config.heartbeat_interval(),
        auto_approve: *auto_approve,
        agent_urls: agents.urls.clone(),
        agent_address: addresses.agents,
    };
    let hub =
        Hub::open(store.clone(), Arc::clone(&clock), keys, asked, settings, &registry).await?;
    let tasks = Tasks::new(shutdown.clone());
    let slot = ca::hub_certificate(&hub.keys.ca, &hub.trust_domain, &*clock)?;
    tasks.spawn(
        "hub certificate",
        OnEnd::Log,
        ca::keep_certificate(Arc::clone(&hub), slot.clone(), shutdown.clone()),
    );
    session::server::start(&hub, &slot, agent_listener, &tasks)?;
    api_listener::serve_api(&hub, api, api_listener, &tasks)?;
    let health = Health::new();
    health.set("store", true, "");
    let router = admin::router(health, registry, Default::default());
    tasks.spawn("admin port", OnEnd::ShutDown, admin::serve(admin_listener, router, shutdown));
    // Last, so that who waits for the file finds everything listening.
    ca::write_private(&data_dir.join("addresses.json"), &serde_json::to_vec(&addresses)?, false)?;
    tracing::info!(agents = %addresses.agents, api = %addresses.api, admin = %addresses.admin, "the hub listens");
    Ok(Running { hub, addresses, tasks, store })
}

impl Running {
    /// Until shutdown, or until an essential task ends.
    pub async fn wait(self) -> Result<()> {
        let ended = self.tasks.join(GRACE).await;
        self.store.close().await;
        Ok(ended?)
    }
}
