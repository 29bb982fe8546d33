//! The composition root: from settings to a running agent.
//!
//! Order: identity and trust from disk, the recorder, the last good bundle, evaluation and
//! source; the uplink last. So nothing here waits for the hub.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use provost_engine::CompiledSet;
use provost_model::{ClusterId, InstanceId};
use provost_proto::enrol::Facts;
use provost_runtime::admin::{self, Health};
use provost_runtime::backoff::Backoff;
use provost_runtime::clock::{SharedClock, System};
use provost_runtime::config::rule;
use provost_runtime::metrics::Registry;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::web;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::admission::Door;
use crate::bundles::{Bundles, Offer, Shared, Store, View};
use crate::cluster::{self, ClusterSource};
use crate::config::{Config, Source as SourceSettings};
use crate::damage::{self, Damage};
use crate::disk;
use crate::identity::Identity;
use crate::identity::certificates::Certificates;
use crate::identity::enrolment::Enrolment;
use crate::metrics::watch_board;
use crate::plane::{self, Recording};
use crate::ports::Ports;
use crate::report::{Chain, Journal};
use crate::status::{self, Board, Link};
use crate::trust_state::{Trust, TrustedClock};
use crate::uplink::{Membership, Metrics, Parts, Uplink};

/// In the data folder: where the admin port listens.
pub const ADMIN_ADDRESS_FILE: &str = "admin.addr";
const LOCK_FILE: &str = "lock";
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// Assignments that wait while one is worked on.
const OFFERS_QUEUE: usize = 4;
/// What the API server gets to say which cluster it is.
const FACTS_TIMEOUT: Duration = Duration::from_secs(10);

/// A running agent. It ends with the shutdown of its tasks.
pub struct Agent {
    pub instance: InstanceId,
    pub admin_address: SocketAddr,
    pub board: Board,
    pub registry: Registry,
    /// The compiled set in force.
    pub sets: watch::Receiver<Arc<CompiledSet>>,
    /// Held while the agent runs: two agents never share a data folder.
    _lock: File,
}

/// The recorder's two ends.
#[derive(Clone)]
pub struct DataPlane {
    pub chain: Arc<dyn Chain>,
    pub journal: Arc<dyn Journal>,
}

/// What an agent is built on.
struct Base {
    lock: File,
    health: Health,
    plane: DataPlane,
    recording: Option<Recording>,
    registry: Registry,
    /// Set: agents of one process prepare a bundle once for all.
    shared: Option<Shared>,
}

/// What is on disk before anything runs.
struct Ground {
    folder: PathBuf,
    identity: Identity,
    enrolment: Option<Enrolment>,
    certificates: Certificates,
    trust: Trust,
    store: Store,
}

impl Ground {
    fn open(data_dir: &Path, clock: &SharedClock) -> anyhow::Result<Self> {
        let folder = data_dir.join("identity");
        let identity = Identity::open(&folder)?;
        let enrolment = Enrolment::read(&folder)?;
        let certificates = Certificates::open(&folder)?;
        let pinned = enrolment.as_ref().map(|enrolment| enrolment.root_sha256);
        let trust = Trust::open(&data_dir.join("trust"), pinned, Arc::clone(clock))?;
        let store = Store::open(&data_dir.join("bundles"))?;
        Ok(Self { folder, identity, enrolment, certificates, trust, store })
    }

    fn cluster(&self) -> Option<ClusterId> {
        self.enrolment.as_ref().and_then(|enrolment| enrolment.cluster_id)
    }
}

impl Agent {
    /// Starts everything as tasks of `tasks`, over listeners that are bound.
    pub async fn start(
        config: Config,
        clock: SharedClock,
        ports: Ports,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let (lock, health) = (hold(&config.data_dir).await?, Health::new());
        let registry = Registry::of_process();
        let (shared, parts) = (Arc::clone(&clock), health.clone());
        let recording = plane::record(&config, shared, parts, &registry, tasks).await?;
        let plane = DataPlane {
            chain: Arc::new(recording.outbox.clone()),
            journal: Arc::new(recording.reporter.clone()),
        };
        let base = Base { lock, health, plane, recording: Some(recording), registry, shared: None };
        Self::start_over(base, config, clock, ports, tasks).await
    }

    /// As [`Self::start`], over a recorder of the caller's; nothing is evaluated. Agents of one process may share what
    /// prepares a bundle once for all.
    pub async fn start_on(
        plane: DataPlane,
        shared: Option<Shared>,
        config: Config,
        clock: SharedClock,
        admin: TcpListener,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let (lock, health) = (hold(&config.data_dir).await?, Health::new());
        let registry = Registry::of_process();
        let base = Base { lock, health, plane, recording: None, registry, shared };
        let ports = Ports { admin, admission: None };
        Self::start_over(base, config, clock, ports, tasks).await
    }

    async fn start_over(
        base: Base,
        config: Config,
        clock: SharedClock,
        ports: Ports,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let Ports { admin, admission } = ports;
        let Base { lock, health, plane, recording, registry, shared } = base;
        let data_dir = config.data_dir.clone();
        let ground = Ground::open(&data_dir, &clock)?;
        let about = about(&config, &ground.identity).await;
        let (bundles, damages) = bundles(&ground, &plane, &about.facts).await?;
        let bundles = bundles.retrying(config.reconnect_first, config.reconnect_cap);
        let bundles = bundles.sharing(shared);
        damage::tell(&data_dir, &damages, &health);
        let journal = Arc::clone(&plane.journal);
        let kept = damage::watch(
            data_dir.clone(),
            damages,
            health.clone(),
            journal,
            tasks.shutdown().clone(),
        );
        tasks.spawn_infallible("damage", OnEnd::Log, kept);
        let (sets, view) = (bundles.sets(), bundles.view());
        if let Some(recording) = recording {
            let reporter = recording.reporter.clone();
            let evaluator =
                recording.evaluate(&config.source, &sets, Arc::clone(&clock), &registry, tasks)?;
            if let (Some(settings), Some(port)) = (&config.admission, admission) {
                let door = Door {
                    settings,
                    port,
                    data_dir: &data_dir,
                    registry: &registry,
                    health: &health,
                    trusted: Arc::new(TrustedClock(ground.trust.clone())),
                    tasks,
                };
                door.open(evaluator, sets.clone(), reporter, Arc::clone(&clock))?;
            }
        }
        let (link, link_seen) = watch::channel(Link {
            stage: ground.enrolment.as_ref().map(|enrolment| enrolment.stage),
            cluster: ground.cluster(),
            ..Link::default()
        });
        let instance = ground.identity.instance;
        let board = Board {
            name: config.name.clone(),
            instance,
            identity_key: ground.identity.identity_key.public(),
            link: link_seen,
            bundles: view.clone(),
            position: plane.chain.position(),
            health: health.clone(),
        };
        watch_board(&registry, &board);
        let (offers, offered) = mpsc::channel(OFFERS_QUEUE);
        let wires = Wires { plane, view, offers, health: health.clone(), link, clock };
        let uplink = uplink(ground, config, about, wires, &registry, tasks)?;
        let shutdown = tasks.shutdown();
        let ready = readiness(board.bundles.clone(), health.clone(), shutdown.clone());
        tasks.spawn_infallible("readiness", OnEnd::ShutDown, ready);
        tasks.spawn_infallible("bundles", OnEnd::ShutDown, bundles.run(offered, shutdown.clone()));
        tasks.spawn_infallible("uplink", OnEnd::ShutDown, uplink.run());
        let admin_address = admin.local_addr()?;
        let router = admin::router(health, registry.clone(), status::router(board.clone()));
        tasks.spawn("admin", OnEnd::ShutDown, web::serve_plain(admin, router, shutdown.clone()));
        let path = data_dir.join(ADMIN_ADDRESS_FILE);
        disk::replace(&path, format!("{admin_address}\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { instance, admin_address, board, registry, sets, _lock: lock })
    }
}

/// The policies that were last in force, read from the data folder; none before the first bundle.
/// Does not disturb an agent that runs over it.
pub async fn last_good_set(
    data_dir: &Path,
    journal: Arc<dyn Journal>,
) -> anyhow::Result<Option<Arc<CompiledSet>>> {
    if !data_dir.join("bundles").is_dir() {
        return Ok(None);
    }
    let clock = System::shared();
    let ground = Ground::open(data_dir, &clock)?;
    let mut bundles = Bundles::new(ground.store.clone(), ground.trust.clone(), journal, None);
    bundles.load_last_good(ground.cluster()).await?;
    let active = bundles.view().borrow().active.is_some();
    let set = bundles.sets().borrow().clone();
    Ok(active.then_some(set))
}

/// An agent is ready when a bundle is in force.
async fn readiness(mut view: watch::Receiver<View>, health: Health, shutdown: Shutdown) {
    loop {
        let View { active, delayed, .. } = view.borrow_and_update().clone();
        let detail = match (&active, delayed) {
            (None, None) => "none in force yet".to_owned(),
            (None, Some(error)) => format!("none in force yet: {error}"),
            (Some(_), None) => String::new(),
            (Some(_), Some(error)) => format!("another is not in force yet: {error}"),
        };
        health.set("bundle", active.is_some(), detail);
        if !matches!(shutdown.or(view.changed()).await, Some(Ok(()))) {
            // Without its bundles the agent is going down.
            return shutdown.wait().await;
        }
    }
}

/// With the last good bundle in force, where there is one that can be used.
/// What could not be read is set aside and said.
async fn bundles(
    ground: &Ground,
    plane: &DataPlane,
    facts: &Facts,
) -> anyhow::Result<(Bundles, Vec<Damage>)> {
    let version = Some(facts.server_version.clone()).filter(|version| !version.is_empty());
    let journal = Arc::clone(&plane.journal);
    let mut bundles = Bundles::new(ground.store.clone(), ground.trust.clone(), journal, version);
    let mut damages = match bundles.load_last_good(ground.cluster()).await {
        Ok(damages) => damages,
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "the last bundle cannot be used; waiting for the hub");
            Vec::new()
        }
    };
    for damage in &damages {
        damage.set_aside().with_context(|| format!("cannot rename {}", damage.path.display()))?;
    }
    ground.store.prune_aside()?;
    damages.extend(ground.trust.mend()?);
    damage::declare(&damages, &plane.journal).await;
    Ok((bundles, damages))
}

/// What the agent says of its cluster, as it was at the start.
struct About {
    facts: Facts,
    /// Of the kubelets.
    node_versions: Vec<String>,
}

/// What ties the uplink to the rest.
struct Wires {
    plane: DataPlane,
    view: watch::Receiver<View>,
    offers: mpsc::Sender<Offer>,
    health: Health,
    link: watch::Sender<Link>,
    clock: SharedClock,
}

fn uplink(
    ground: Ground,
    config: Config,
    about: About,
    wires: Wires,
    registry: &Registry,
    tasks: &Tasks,
) -> anyhow::Result<Uplink> {
    let Ground { folder, identity, enrolment, certificates, trust, store } = ground;
    let Wires { plane: DataPlane { chain, journal }, view, offers, health, link, clock } = wires;
    let About { facts, node_versions } = about;
    let server_version = facts.server_version.clone();
    let membership = Membership::new(Parts {
        folder,
        identity,
        certificates,
        enrolment,
        token: config.token,
        token_missing: config.token_missing,
        facts,
        name: config.name,
        trust: trust.clone(),
        clock: Arc::clone(&clock),
        journal: Arc::clone(&journal),
    })?;
    Ok(Uplink {
        membership,
        trust,
        chain,
        journal,
        store,
        bundles: view,
        offers,
        clock,
        health,
        link,
        metrics: Metrics::new(registry),
        shutdown: tasks.shutdown().clone(),
        config_digest: config.digest,
        server_version,
        node_versions,
        hubs: config.hubs,
        proxy: config.proxy,
        backoff: Backoff::new(config.reconnect_first, config.reconnect_cap),
        ask_again: config.reconnect_cap,
    })
}

/// The data folder, made and locked. A predecessor that is just ending gets a moment.
async fn hold(data_dir: &Path) -> anyhow::Result<File> {
    disk::create_folder(data_dir).map_err(|error| {
        rule("data_dir", format!("cannot create {}: {error}", data_dir.display()))
    })?;
    let path: PathBuf = data_dir.join(LOCK_FILE);
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    for _ in 0..LOCK_ATTEMPTS {
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    bail!("another agent runs on {}", data_dir.display())
}

/// What tells this cluster from others. An API server that does not answer stops nothing: the
/// instance stands in for the cluster then.
async fn about(config: &Config, identity: &Identity) -> About {
    let mut about = About {
        facts: Facts {
            cluster_uid: identity.instance.to_string(),
            version_hash: Vec::new(),
            server_version: String::new(),
        },
        node_versions: Vec::new(),
    };
    let SourceSettings::Cluster(settings) = &config.source else { return about };
    let settings = cluster::Settings { kubeconfig: settings.kubeconfig.clone(), context: None };
    let Ok(source) = ClusterSource::connect(&settings).await else { return about };
    match tokio::time::timeout(FACTS_TIMEOUT, source.facts()).await {
        Ok(Ok(found)) => {
            about.facts.version_hash = found.version_hash().as_bytes().to_vec();
            if !found.cluster_uid.is_empty() {
                about.facts.cluster_uid = found.cluster_uid;
            }
            about.facts.server_version = found.server_version;
            about.node_versions = found.node_versions;
        }
        Ok(Err(error)) => tracing::warn!(%error, "the API server did not say which cluster it is"),
        Err(_) => tracing::warn!("the API server did not answer in time which cluster it is"),
    }
    about
}
