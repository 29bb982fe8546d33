//! The thin line from end to end, in one process: a hub, an agent over a directory of manifests,
//! and everything between them as it runs in production.

use std::path::Path;
use std::time::Duration;

use provost_agent::config::{Config as AgentConfig, Manifests, Settings, Source};
use provost_agent::ports::Ports;
use provost_agent::run::Agent;
use provost_aggregator::bundles::publish::{PublishRequest, publish};
use provost_aggregator::config::{AdminListener, AgentListener, ApiListener, Config as HubConfig};
use provost_aggregator::enrol::token::{self as tokens, TokenRequest};
use provost_aggregator::run::{self, Running as Hub};
use provost_aggregator::store::Actor;
use provost_aggregator::store::findings::{FindingFilter, FindingRow};
use provost_bundle::Bundle;
use provost_bundle::contents::{Contents, Header};
use provost_model::{ClusterId, LabelSelector, Labels};
use provost_proto::token::Token;
use provost_runtime::clock::{Clock as _, System};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;
use provost_trust::{KeyPair, Role, Root, Timestamp};

use crate::api::Api;

/// No step of a test waits longer.
const BOUND: Duration = Duration::from_secs(120);
const DAY_S: i64 = 86_400;

/// A hub with its signers.
pub(crate) struct Fleet {
    pub hub: Hub,
    shutdown: Shutdown,
    root: provost_trust::Envelope,
    policy_key: KeyPair,
    folder: tempfile::TempDir,
}

pub(crate) struct Running {
    pub agent: Agent,
    tasks: Tasks,
}

impl Fleet {
    pub async fn start() -> Self {
        provost_runtime::tls::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = HubConfig {
            data_dir: folder.path().join("hub"),
            agents: AgentListener { listen: any, urls: Vec::new() },
            api: ApiListener { listen: any, ..ApiListener::default() },
            admin: AdminListener { listen: any },
            auto_approve: true,
            heartbeat_interval_ms: 500,
            ..HubConfig::default()
        };
        let shutdown = Shutdown::new();
        let hub = run::start(config, System::shared(), shutdown.clone()).await.unwrap();
        let (root_key, policy_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let now = Timestamp::from_unix_ms(System::new().wall_ms());
        let mut root = Root::first(now, now.plus_s(365 * DAY_S));
        root.add_key(Role::Root, root_key.public(), "root");
        root.add_key(Role::Policy, policy_key.public(), "policy");
        root.add_key(Role::Director, hub.hub.keys.director.public(), "director");
        let mut root = root.to_unsigned().unwrap();
        root.add_signature(&root_key);
        Self { hub, shutdown, root, policy_key, folder }
    }

    /// Publishes these policies of the library.
    pub async fn publish(&self, policies: &[&str], version: u64) {
        let ids: Vec<_> = policies.iter().map(|id| id.parse().unwrap()).collect();
        self.publish_bundle(&library().narrowed_to(&ids), version).await;
    }

    pub async fn publish_bundle(&self, bundle: &Bundle, version: u64) {
        let contents = Contents::of(bundle);
        let now = Timestamp::from_unix_ms(System::new().wall_ms());
        let manifest = contents.manifest(Header {
            channel: "stable".to_owned(),
            version,
            floor_version: 0,
            revoked_versions: Vec::new(),
            created: now,
            expires: now.plus_s(30 * DAY_S),
            scope: LabelSelector::default(),
            rings: Vec::new(),
        });
        let mut manifest = manifest.to_unsigned().unwrap();
        manifest.add_signature(&self.policy_key);
        let request = PublishRequest {
            roots: vec![self.root.clone()],
            manifest,
            blobs: contents.files.values().cloned().collect(),
            plan_only: false,
        };
        publish(&self.hub.hub, request, &Actor::token("tester")).await.unwrap();
    }

    pub async fn token(&self) -> Token {
        let labels = Labels::from([("site".to_owned(), "edge".to_owned())]);
        let request = TokenRequest { display_name: "edge-1".to_owned(), labels, life_s: None };
        let created =
            tokens::create(&self.hub.hub, request, &Actor::token("tester")).await.unwrap();
        Token {
            hubs: created.hub_urls,
            trust_domain: created.trust_domain,
            ca_sha256: created.ca,
            root_sha256: self.root.payload_digest(),
            secret: created.secret,
        }
    }

    /// The hub's REST API.
    pub fn api(&self) -> Api {
        Api::of(self.hub.addresses.api, &self.folder.path().join("hub"))
    }

    fn manifests(&self) -> std::path::PathBuf {
        self.folder.path().join("manifests")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.manifests()).unwrap();
        std::fs::write(self.manifests().join(name), text).unwrap();
    }

    async fn agent(&self, token: Option<&Token>) -> Running {
        let source = Source::Manifests(Manifests {
            dir: self.manifests(),
            namespace: String::new(),
            rescan_ms: 200,
        });
        self.agent_over(source, token).await
    }

    pub async fn agent_over(&self, source: Source, token: Option<&Token>) -> Running {
        let mut settings = Settings {
            data_dir: self.folder.path().join("agent"),
            name: "edge-1".to_owned(),
            source: Some(source),
            token: token.map(|token| token.to_text().to_string()).unwrap_or_default(),
            ..Settings::default()
        };
        // Not the default port: tests run side by side.
        settings.admin.listen.set_port(0);
        settings.reconnect.first_ms = 1;
        settings.reconnect.cap_ms = 100;
        let config = AgentConfig::check(settings).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let ports = Ports::open(&config).await.unwrap();
        let agent = Agent::start(config, System::shared(), ports, &tasks).await.unwrap();
        Running { agent, tasks }
    }

    async fn open_findings(&self) -> Vec<FindingRow> {
        let open = FindingFilter::default();
        self.hub.hub.store.findings(&open, &[], None, 1000).await.unwrap()
    }

    /// Waits until the open findings are exactly these (policy, object).
    async fn shows(&self, expected: &[(&str, &str)]) {
        let mut found = Vec::new();
        for _ in 0..BOUND.as_millis() / 50 {
            found = self.open_findings().await;
            let pairs: Vec<(String, String)> =
                found.iter().map(|row| (row.policy.to_string(), row.name.clone())).collect();
            let pairs: Vec<(&str, &str)> =
                pairs.iter().map(|(policy, name)| (policy.as_str(), name.as_str())).collect();
            if pairs == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("expected {expected:?}, the hub has {found:#?}");
    }

    /// Waits until the hub has everything that the agent recorded.
    pub async fn settled(&self, running: &Running) -> u64 {
        let mut position = running.agent.board.position.clone();
        let done = position.wait_for(|position| position.records == 0 && position.last_seq > 0);
        let last = tokio::time::timeout(BOUND, done).await.unwrap().unwrap().last_seq;
        let (cluster, instance) = (running.cluster(), running.agent.instance);
        let stored = self.hub.hub.store.position(cluster, instance).await.unwrap().unwrap();
        assert!(stored.seq >= last, "acknowledged up to {last}, stored up to {}", stored.seq);
        stored.seq
    }

    pub async fn stop(self) {
        self.shutdown.trigger();
        self.hub.wait().await.unwrap();
    }
}

impl Running {
    pub fn cluster(&self) -> ClusterId {
        self.agent.board.status().cluster.unwrap()
    }

    pub async fn active(&self, version: u64) {
        let mut view = self.agent.board.bundles.clone();
        let is = |view: &provost_agent::bundles::View| {
            view.active.as_ref().is_some_and(|active| active.version == version)
        };
        let waited = tokio::time::timeout(BOUND, view.wait_for(is)).await.map(drop);
        assert!(waited.is_ok(), "version {version} not active: {:?}", self.agent.board.status());
    }

    pub async fn stop(self) {
        self.tasks.shutdown().trigger();
        self.tasks.join(Duration::from_secs(20)).await.unwrap();
    }
}

/// The whole library, as it stands in the tree.
pub(crate) fn library() -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("policies");
    provost_bundle::source::read_dir(&folder).unwrap().into_bundle()
}

fn pod(name: &str, host_network: bool) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{hostNetwork: {host_network}, containers: [{{name: a, image: 'a:1'}}]}}\n"
    )
}

/// Scenario: a token, an enrolment, a bundle, a violation; the file is repaired, another one
/// breaks; the agent starts anew, the bundle changes. Guarantee:
/// the hub shows at every point exactly what the directory says, nothing twice, and without gaps.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_travels_to_an_agent_and_its_verdicts_travel_back() {
    let fleet = Fleet::start().await;
    fleet.write("web.yaml", &pod("web", true));
    fleet.write("api.yaml", &pod("api", false));
    fleet.publish(&["host-network"], 1).await;
    let token = fleet.token().await;
    let running = fleet.agent(Some(&token)).await;
    running.active(1).await;
    fleet.shows(&[("host-network", "web")]).await;
    let cluster = running.cluster();
    let known = fleet.hub.hub.store.cluster(cluster).await.unwrap().unwrap();
    assert_eq!(known.labels["site"], "edge");

    fleet.write("api.yaml", &pod("api", true));
    fleet.write("web.yaml", &pod("web", false));
    fleet.shows(&[("host-network", "api")]).await;
    fleet.settled(&running).await;
    let transitions = transitions(&fleet, cluster).await;
    running.stop().await;

    // What changed while nobody looked is found; what did not change is not told again.
    std::fs::remove_file(fleet.manifests().join("api.yaml")).unwrap();
    fleet.write("job.yaml", &pod("job", true));
    let running = fleet.agent(None).await;
    assert_eq!(running.cluster(), cluster);
    fleet.shows(&[("host-network", "job")]).await;
    fleet.settled(&running).await;
    assert_eq!(self::transitions(&fleet, cluster).await, transitions, "web changed nothing");

    fleet.publish(&["host-network", "host-pid"], 2).await;
    running.active(2).await;
    fleet.write("job.yaml", &pod("job", true).replace("spec: {", "spec: {hostPID: true, "));
    fleet.shows(&[("host-network", "job"), ("host-pid", "job")]).await;
    fleet.settled(&running).await;
    let gaps = fleet.hub.hub.store.gaps(cluster).await.unwrap();
    assert!(gaps.is_empty(), "{gaps:?}");
    let alarms = fleet.hub.hub.store.alarms(Some(cluster)).await.unwrap();
    assert!(alarms.is_empty(), "{alarms:?}");
    running.stop().await;
    fleet.stop().await;
}

/// How often the verdict on the pod `web` changed.
async fn transitions(fleet: &Fleet, cluster: ClusterId) -> usize {
    let web = provost_model::Subject::Kubernetes(provost_model::ResourceRef {
        group: String::new(),
        kind: "Pod".to_owned(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    });
    let key = provost_aggregator::store::current::SubjectKey::of(&web).0;
    let (policy, binding) = ("host-network".parse().unwrap(), "default".parse().unwrap());
    let store = &fleet.hub.hub.store;
    store.transitions(cluster, &key, &policy, &binding, 100).await.unwrap().len()
}

/// Guarantee: a bundle with a thousand bindings goes into force, and every verdict of every binding
/// reaches the hub.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_bindings_are_reported() {
    let fleet = Fleet::start().await;
    fleet.write("web.yaml", &pod("web", true));
    let mut bundle = library().narrowed_to(&["host-network".parse().unwrap()]);
    bundle.bindings = (0..1000)
        .map(|number| {
            let id = format!("binding-{number:04}-{}", "x".repeat(50));
            serde_json::from_value(serde_json::json!({"id": id, "policy": "host-network"})).unwrap()
        })
        .collect();
    fleet.publish_bundle(&bundle, 1).await;
    let running = fleet.agent(Some(&fleet.token().await)).await;
    running.active(1).await;
    fleet.shows(&[("host-network", "web"); 1000]).await;
    fleet.settled(&running).await;
    running.stop().await;
    fleet.stop().await;
}
