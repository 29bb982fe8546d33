//! The cluster as a source: discovers the kinds that the loaded policies match, lists and watches
//! each, and streams what it sees.
//!
//! One task a kind, so that one kind that cannot be read (not served, forbidden) is reported and
//! hides no other. A broken or expired watch lists its kind again. No object is kept. The agent
//! only ever lists and watches: nothing here writes to a cluster.

mod discover;
mod raw;
mod watch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use provost_engine::CompiledSet;
use provost_model::policy::Checkpoint;
use provost_model::{Digest, KindSelector, NotEvaluatedReason};
use provost_runtime::backoff::Backoff;
use provost_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;

use crate::source::{Change, Error, Source, Unavailable};
use discover::Discovered;
use watch::KindState;

/// A kind that a CRD adds later is found by looking again.
const REDISCOVER: Duration = Duration::from_secs(300);
/// A Node names its images and may be large.
const NODES_PER_PAGE: u32 = 100;
/// Different versions of kubelets that are told; a cluster has two or three.
const MAX_NODE_VERSIONS: usize = 32;

/// Where the API server is.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// None: the pod's service account, or the file that `KUBECONFIG` and kubectl's default name.
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
}

impl Settings {
    /// As its file says it, or the pod; nothing is connected to.
    pub async fn read(&self) -> Result<kube::Config, Error> {
        let Some(path) = &self.kubeconfig else {
            return kube::Config::infer().await.map_err(|cause| self.unusable(cause));
        };
        let file = Kubeconfig::read_from(path).map_err(|cause| self.unusable(cause))?;
        let context = self.context.clone();
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let read = kube::Config::from_custom_kubeconfig(file, &options).await;
        read.map_err(|cause| self.unusable(cause))
    }

    fn unusable(&self, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
        let what = match &self.kubeconfig {
            Some(path) => format!("cannot use the kubeconfig {}", path.display()),
            None => "cannot reach an API server: set source.cluster.kubeconfig, or run in a pod with a service account".to_owned(),
        };
        Error { what, cause: Some(Box::new(cause)) }
    }
}

pub struct ClusterSource {
    client: Client,
}

impl ClusterSource {
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let mut config = settings.read().await?;
        // A watch is quiet for minutes; kube's own timeouts of the watch request bound it.
        config.read_timeout = None;
        let client = Client::try_from(config).map_err(|cause| settings.unusable(cause))?;
        Ok(Self { client })
    }

    /// The uid of kube-system, by which the hub knows one cluster from another, and which versions run.
    pub async fn facts(&self) -> Result<Facts, kube::Error> {
        let version = self.client.apiserver_version().await?;
        let namespaces =
            kube::Api::<raw::Raw>::all_with(self.client.clone(), &discover::namespaces());
        let kube_system = namespaces.get_opt("kube-system").await?;
        let cluster_uid =
            kube_system.map(|namespace| namespace.object.uid().to_owned()).unwrap_or_default();
        let node_versions = match self.node_versions().await {
            Ok(versions) => versions,
            Err(error) => {
                tracing::warn!(%error, "the API server does not list nodes: their versions stay unknown");
                Vec::new()
            }
        };
        Ok(Facts { cluster_uid, server_version: version.git_version, node_versions })
    }

    /// Of the kubelets, each once, sorted.
    async fn node_versions(&self) -> Result<Vec<String>, kube::Error> {
        let nodes = kube::Api::<Node>::all(self.client.clone());
        let mut page = ListParams::default().limit(NODES_PER_PAGE);
        let mut versions = BTreeSet::new();
        loop {
            let listed = nodes.list(&page).await?;
            let found = listed.items.into_iter().filter_map(|node| node.status?.node_info);
            versions.extend(found.map(|info| info.kubelet_version));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        Ok(versions.into_iter().take(MAX_NODE_VERSIONS).collect())
    }
}

/// What tells one cluster from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Empty where the agent may not read the namespace.
    pub cluster_uid: String,
    pub server_version: String,
    /// Each once; empty where the agent may not list nodes.
    pub node_versions: Vec<String>,
}

impl Facts {
    /// SHA-256 over the versions, a line each, the server's first.
    #[must_use]
    pub fn version_hash(&self) -> Digest {
        let mut lines = format!("{}\n", self.server_version);
        for version in &self.node_versions {
            lines.push_str(version);
            lines.push('\n');
        }
        Digest::of(lines.as_bytes())
    }
}

#[async_trait]
impl Source for ClusterSource {
    async fn run(
        self: Box<Self>,
        mut sets: channel::Receiver<Arc<CompiledSet>>,
        changes: mpsc::Sender<Change>,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        while !shutdown.is_triggered() && !changes.is_closed() {
            let set = sets.borrow_and_update().clone();
            let selectors = set.kinds(Checkpoint::Run);
            let discovered = match shutdown.or(discover::discover(&self.client, &selectors)).await {
                None => break,
                Some(Ok(discovered)) => discovered,
                Some(Err(error)) => {
                    say_unreachable(&changes, &error).await;
                    if !shutdown.sleep(backoff.next_delay(None)).await {
                        break;
                    }
                    continue;
                }
            };
            backoff.reset();
            let round = Round { client: &self.client, changes: &changes, set: set.id() };
            tokio::select! {
                () = round.run(discovered, &selectors) => {}
                changed = sets.changed() => if changed.is_err() { break },
                () = shutdown.wait() => break,
            }
        }
        Ok(())
    }
}

async fn say_unreachable(changes: &mpsc::Sender<Change>, error: &kube::Error) {
    tracing::warn!(error = %error, "the API server does not answer discovery; trying again");
    let detail = "the API server does not answer discovery".to_owned();
    let _ = changes.send(Change::Health { healthy: false, detail }).await;
}

/// Watching one set of kinds, until discovery finds another.
struct Round<'a> {
    client: &'a Client,
    changes: &'a mpsc::Sender<Change>,
    set: Digest,
}

impl Round<'_> {
    /// Returns when other kinds are served than at its start.
    async fn run(&self, discovered: Discovered, selectors: &[KindSelector]) {
        let (states, mut said) = mpsc::channel(discovered.kinds.len().max(1));
        let mut tasks = JoinSet::new();
        for kind in &discovered.kinds {
            tasks.spawn(watch::run(
                self.client.clone(),
                kind.clone(),
                self.changes.clone(),
                states.clone(),
            ));
        }
        let mut progress = Progress::new(&discovered);
        let mut rediscover = tokio::time::interval(REDISCOVER);
        rediscover.reset();
        progress.tell(self).await;
        loop {
            tokio::select! {
                Some(state) = said.recv() => {
                    progress.note(state);
                    progress.tell(self).await;
                }
                Some(_) = tasks.join_next() => {}
                _ = rediscover.tick() => {
                    let now = discover::discover(self.client, selectors).await;
                    if now.is_ok_and(|now| now.kinds != discovered.kinds) {
                        return;
                    }
                }
            }
        }
    }
}

/// Which kinds have been listed, and which cannot be.
struct Progress {
    waiting: BTreeSet<(String, String)>,
    not_served: Vec<Unavailable>,
    forbidden: BTreeSet<(String, String)>,
    broken: BTreeSet<(String, String)>,
    /// It was said that every kind is listed, and which cannot be.
    complete: bool,
}

impl Progress {
    fn new(discovered: &Discovered) -> Self {
        let waiting =
            discovered.kinds.iter().map(|kind| (kind.group.clone(), kind.kind.clone())).collect();
        Self {
            waiting,
            not_served: discovered.not_served.clone(),
            forbidden: BTreeSet::new(),
            broken: BTreeSet::new(),
            complete: false,
        }
    }

    fn note(&mut self, state: KindState) {
        match state {
            KindState::Listed(key) => {
                self.waiting.remove(&key);
                self.broken.remove(&key);
                // Somebody let the agent in: what cannot be evaluated is another list now.
                if self.forbidden.remove(&key) {
                    self.complete = false;
                }
            }
            KindState::Forbidden(key) => {
                self.waiting.remove(&key);
                self.forbidden.insert(key);
            }
            KindState::Broken(key) => {
                self.broken.insert(key);
            }
        }
    }

    async fn tell(&mut self, round: &Round<'_>) {
        let troubled: Vec<_> =
            self.broken.iter().chain(&self.forbidden).map(|(_, kind)| kind.as_str()).collect();
        let healthy = troubled.is_empty();
        let detail =
            if healthy { String::new() } else { format!("cannot watch {}", troubled.join(", ")) };
        let _ = round.changes.send(Change::Health { healthy, detail }).await;
        if self.complete || !self.waiting.is_empty() {
            return;
        }
        self.complete = true;
        let forbidden = self.forbidden.iter().map(|(group, kind)| Unavailable {
            group: group.clone(),
            kind: kind.clone(),
            reason: NotEvaluatedReason::Forbidden,
            detail: "the API server does not let the agent list and watch this kind".to_owned(),
        });
        let unavailable = self.not_served.iter().cloned().chain(forbidden).collect();
        let _ = round.changes.send(Change::Complete { set: round.set, unavailable }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str) -> (String, String) {
        (String::new(), kind.to_owned())
    }

    /// Scenario: the agent may not read a kind, and later somebody lets it. Guarantee: what cannot be evaluated is said again, without
    /// that kind; nothing is said again for what was listed all along.
    #[tokio::test]
    async fn a_kind_that_is_let_in_later_is_said_to_be() {
        provost_runtime::tls::install_crypto_provider();
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(nowhere).unwrap();
        let (changes, mut said) = mpsc::channel(64);
        let round = Round { client: &client, changes: &changes, set: Digest::of(b"set") };
        let mut progress = Progress {
            waiting: [key("Pod"), key("Secret")].into(),
            not_served: Vec::new(),
            forbidden: BTreeSet::new(),
            broken: BTreeSet::new(),
            complete: false,
        };
        for state in [
            KindState::Listed(key("Pod")),
            KindState::Forbidden(key("Secret")),
            KindState::Forbidden(key("Secret")),
            KindState::Listed(key("Pod")),
            KindState::Listed(key("Secret")),
            KindState::Listed(key("Secret")),
        ] {
            progress.note(state);
            progress.tell(&round).await;
        }
        drop(changes);
        let mut complete = Vec::new();
        while let Some(change) = said.recv().await {
            if let Change::Complete { unavailable, .. } = change {
                complete.push(unavailable.into_iter().map(|u| u.kind).collect::<Vec<_>>());
            }
        }
        assert_eq!(complete, [vec!["Secret".to_owned()], Vec::new()]);
    }
}
