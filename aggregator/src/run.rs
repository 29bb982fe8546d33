//! The composition root: opens what the hub keeps, binds its listeners, starts its tasks, and waits.

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
use provost_runtime::tls::{self, CertificateSlot, Clients};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::auth::cookie::Transport;
use crate::auth::first_token;
use crate::ca::{self, HubKeys};
use crate::config::{ApiListener, Config};
use crate::hub::{Hub, Settings};
use crate::liveness::Liveness;
use crate::operate::Operations;
use crate::session::{self, Sessions};
use crate::store::{Identity as _, SqliteStore, Store};
use crate::{api, web};

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
    let settings = Settings {
        heartbeat_interval: config.heartbeat_interval(),
        auto_approve: *auto_approve,
        agent_urls: agents.urls.clone(),
        agent_address: addresses.agents,
    };
    let hub = build(store.clone(), Arc::clone(&clock), keys, asked, settings).await?;
    let tasks = Tasks::new(shutdown.clone());
    let slot = ca::hub_certificate(&hub.keys.ca, &hub.trust_domain, &*clock)?;
    tasks.spawn(
        "hub certificate",
        OnEnd::Log,
        ca::keep_certificate(Arc::clone(&hub), slot.clone(), shutdown.clone()),
    );
    session::server::start(&hub, &slot, agent_listener, &tasks)?;
    serve_api(&hub, api, api_listener, &tasks)?;
    let health = Health::new();
    health.set("store", true, "");
    let router = admin::router(health, Registry::new(), Default::default());
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

async fn build(
    store: SqliteStore,
    clock: SharedClock,
    keys: HubKeys,
    trust_domain: TrustDomain,
    settings: Settings,
) -> Result<Arc<Hub>> {
    let epoch = store.meta_once("hub_epoch", &clock.wall_ms().unsigned_abs().to_string()).await?;
    let store: Arc<dyn Store> = Arc::new(store);
    let newest_root = store.roots_after(0).await?.last().map(|root| root.version);
    Ok(Arc::new(Hub {
        liveness: Liveness::new(Arc::clone(&clock), settings.heartbeat_interval),
        store,
        clock,
        keys,
        trust_domain,
        settings,
        sessions: Sessions::default(),
        published: watch::Sender::new(0),
        root_version: watch::Sender::new(newest_root),
        epoch: epoch.parse().context("hub_epoch")?,
    }))
}

fn serve_api(
    hub: &Arc<Hub>,
    config: &ApiListener,
    listener: TcpListener,
    tasks: &Tasks,
) -> Result<()> {
    let slot = config.certificate()?;
    let transport = if slot.is_some() { Transport::Tls } else { Transport::Plain };
    web::check_listener(listener.local_addr()?, transport)?;
    let operations = Arc::new(Operations(Arc::clone(hub)));
    let state = api::hub::Hub {
        store: Arc::clone(&hub.store),
        clock: Arc::clone(&hub.clock),
        liveness: operations.clone(),
        operate: operations,
        transport,
    };
    let (router, _) = web::router(state);
    let shutdown = tasks.shutdown().clone();
    match slot {
        None => tasks.spawn("api", OnEnd::ShutDown, admin::serve(listener, router, shutdown)),
        Some(slot) => {
            let config = tls::server_config(
                &slot,
                Clients::Anonymous,
                Arc::clone(&hub.clock),
                tls::ALPN_WEB,
            )?;
            let incoming =
                tls::listen("api listener", listener, config, tls::Limits::default(), tasks)?;
            tasks.spawn("api", OnEnd::ShutDown, admin::serve_tls(incoming, router, shutdown));
        }
    }
    Ok(())
}

impl ApiListener {
    /// The certificate to serve with; none is plain HTTP, for loopback alone.
    fn certificate(&self) -> Result<Option<CertificateSlot>> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let chain = std::fs::read_to_string(certificate)
            .with_context(|| certificate.display().to_string())?;
        let key =
            std::fs::read_to_string(key).map(zeroize::Zeroizing::new).context("api.tls_key")?;
        let key = provost_runtime::pki::TlsKey::from_pem(&key).context("api.tls_key")?;
        let chain =
            provost_runtime::pki::certificates_from_pem(&chain).context("api.tls_certificate")?;
        Ok(Some(CertificateSlot::new(chain, &key)?))
    }
}
