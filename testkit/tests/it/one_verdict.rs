//! One policy, one verdict, at run time: what the hub shows of objects in a real API server is what
//! a scan says of the files they came from, by subject, policy, outcome and fingerprint.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Discovery, Scope};
use kube::{Api, Client};
use provost_agent::config::{Cluster as ClusterSettings, Source};
use provost_aggregator::store::findings::FindingFilter;
use provost_aggregator::store::verdicts::VerdictFilter;
use provost_engine::{Cluster, CompiledSet, Object, Options, Review};
use provost_manifests::{Class, Document, Options as LoadOptions, Resource, load};
use provost_model::policy::Checkpoint;
use provost_testkit::available;
use provost_testkit::controlplane::{ControlPlane, client};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::fleet::{Fleet, library};

const BOUND: Duration = Duration::from_secs(120);
/// Above what the fixtures and the corpus come to.
const ALL_ROWS: u32 = 100_000;

/// (kind, namespace, name)
type Key = (String, String, String);

/// What is known of some subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Picture {
    /// With policy and outcome.
    verdicts: BTreeSet<(Key, String, String)>,
    /// With policy and fingerprint.
    findings: BTreeSet<(Key, String, String)>,
}

impl Picture {
    fn forget(&mut self, key: &Key) {
        self.verdicts.retain(|(subject, ..)| subject != key);
        self.findings.retain(|(subject, ..)| subject != key);
    }

    fn differs(&self, other: &Self) -> String {
        let verdicts: Vec<_> =
            self.verdicts.symmetric_difference(&other.verdicts).take(10).collect();
        let findings: Vec<_> =
            self.findings.symmetric_difference(&other.findings).take(10).collect();
        format!(
            "verdicts on one side only: {verdicts:#?}; findings on one side only: {findings:#?}"
        )
    }
}

/// Objects put into the API server, and what a scan says of their files.
struct World {
    kube: Client,
    discovery: Discovery,
    set: CompiledSet,
    subjects: BTreeSet<Key>,
    scan: Picture,
    /// Not served, or refused by the API server: listed, not compared.
    left_out: Vec<String>,
}

fn key(resource: &Resource) -> Key {
    (resource.gvk.kind.clone(), resource.namespace.clone(), resource.name.clone())
}

impl World {
    async fn new(kube: Client) -> Self {
        let discovery = Discovery::new(kube.clone()).run().await.expect("discovery");
        let set = CompiledSet::compile(&library(), &Cluster::default(), &Options::default());
        let (subjects, scan, left_out) = Default::default();
        Self { kube, discovery, set, subjects, scan, left_out }
    }

    async fn apply(&mut self, root: &Path, space: &str) {
        self.namespace(space).await;
        let options = LoadOptions {
            paths: vec![root.to_owned()],
            namespace: Some(space.to_owned()),
            ..LoadOptions::default()
        };
        let loaded = load(&options);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        for document in &loaded.documents {
            let Class::Resource(resource) = &document.class else { continue };
            self.namespace(&resource.namespace).await;
            if let Some(words) = self.create(document, resource).await {
                self.left_out.push(format!("{} {}: {words}", resource.gvk.kind, resource.name));
            } else {
                self.note(document, resource);
            }
        }
    }

    async fn namespace(&self, name: &str) {
        if name.is_empty() {
            return;
        }
        let api: Api<Namespace> = Api::all(self.kube.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("one");
        match api.create(&PostParams::default(), &namespace).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("namespace {name}: {error}"),
        }
    }

    fn api(
        &self,
        kind: &str,
        group: &str,
        version: &str,
        namespace: &str,
    ) -> Option<Api<DynamicObject>> {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let (served, capabilities): (ApiResource, _) = self.discovery.resolve_gvk(&gvk)?;
        Some(if capabilities.scope == Scope::Namespaced {
            Api::namespaced_with(self.kube.clone(), namespace, &served)
        } else {
            Api::all_with(self.kube.clone(), &served)
        })
    }

    /// Why it is not there, where it is not.
    async fn create(&self, document: &Document, resource: &Resource) -> Option<String> {
        let gvk = &resource.gvk;
        let Some(api) = self.api(&gvk.kind, &gvk.group, &gvk.version, &resource.namespace) else {
            return Some("not served".to_owned());
        };
        let value = Value::deserialize(&document.node).expect("JSON");
        let object: DynamicObject = serde_json::from_value(value).expect("an object");
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) if status.code == 409 && gvk.kind == "Namespace" => None,
            Err(error) => Some(error.to_string()),
        }
    }

    fn note(&mut self, document: &Document, resource: &Resource) {
        let key = key(resource);
        self.subjects.insert(key.clone());
        let object = Object::deserialize(&document.node).expect("an object");
        let mut review = Review::of(object, Checkpoint::Commit).expect("a type");
        review.namespace.clone_from(&resource.namespace);
        for verdict in self.set.evaluate(&review) {
            let policy = verdict.policy.to_string();
            self.scan.verdicts.insert((key.clone(), policy.clone(), verdict.outcome.to_string()));
            for finding in &verdict.findings {
                self.scan.findings.insert((
                    key.clone(),
                    policy.clone(),
                    finding.fingerprint.to_string(),
                ));
            }
        }
    }

    /// What the hub shows of our subjects.
    async fn shown(&self, fleet: &Fleet) -> Picture {
        let store = &fleet.hub.hub.store;
        let mut picture = Picture::default();
        let verdicts =
            store.verdicts(&VerdictFilter::default(), None, ALL_ROWS).await.expect("rows");
        for row in verdicts {
            let key = (row.kind, row.namespace, row.name);
            if self.subjects.contains(&key) {
                let once =
                    picture.verdicts.insert((key, row.policy.to_string(), row.outcome.to_string()));
                assert!(once, "a verdict stands twice in the store");
            }
        }
        // No state means every open one.
        for row in
            store.findings(&FindingFilter::default(), &[], None, ALL_ROWS).await.expect("rows")
        {
            let key = (row.kind, row.namespace, row.name);
            if self.subjects.contains(&key) {
                let once = picture.findings.insert((
                    key,
                    row.policy.to_string(),
                    row.fingerprint.to_string(),
                ));
                assert!(once, "a finding stands twice in the store");
            }
        }
        picture
    }

    async fn until_equal(&self, fleet: &Fleet, expected: &Picture, when: &str) {
        let waiting = async {
            while self.shown(fleet).await != *expected {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        if tokio::time::timeout(BOUND, waiting).await.is_err() {
            panic!("{when}: {}", self.shown(fleet).await.differs(expected));
        }
    }

    fn with_finding(&self, policy: &str) -> Key {
        let found = self.scan.findings.iter().find(|(_, of, _)| of == policy);
        found.unwrap_or_else(|| panic!("the fixtures violate {policy}")).0.clone()
    }
}

fn roots() -> Vec<PathBuf> {
    let mut roots = vec![available::fixtures()];
    if let Some(corpus) = available::corpus() {
        roots.extend(
            std::fs::read_dir(corpus).expect("it").map(|entry| entry.expect("a folder").path()),
        );
    }
    roots.sort();
    roots
}

/// Scenario: fixtures and corpus in a real API server, an agent over it, a hub. An object is repaired,
/// one is deleted while the agent is down, and the API server crashes and comes back. Guarantee:
/// at each point the hub shows of every object exactly what a scan of its file says, once each, without
/// gaps or alarms.
#[tokio::test(flavor = "multi_thread")]
async fn the_hub_shows_of_a_cluster_what_scan_says_of_its_files() {
    let Some(mut plane) = ControlPlane::start().expect("a control plane") else { return };
    let mut world = World::new(client(&plane).await.expect("a client")).await;
    for root in roots() {
        let space = format!("from-{}", root.file_name().expect("a name").to_string_lossy());
        world.apply(&root, &space).await;
    }
    available::say(&format!("{} objects; left out: {:#?}", world.subjects.len(), world.left_out));
    let refused: Vec<_> =
        world.left_out.iter().filter(|words| !words.ends_with("not served")).collect();
    assert!(
        refused.is_empty(),
        "the API server refuses what the fixtures and the corpus hold: {refused:#?}"
    );
    assert!(world.scan.findings.len() > 50, "the fixtures alone have more");

    let fleet = Fleet::start().await;
    fleet.publish_bundle(&library(), 1).await;
    let source =
        || Source::Cluster(ClusterSettings { kubeconfig: Some(plane.kubeconfig().to_owned()) });
    let token = fleet.token().await;
    let running = fleet.agent_over(source(), Some(&token)).await;
    running.active(1).await;
    let mut expected = world.scan.clone();
    world.until_equal(&fleet, &expected, "after the first listing").await;

    let service = world.with_finding("node-port");
    let api = world.api("Service", "", "v1", &service.1).expect("Services");
    let repair = json!({"spec": {"type": "ClusterIP"}});
    api.patch(&service.2, &PatchParams::default(), &Patch::Merge(&repair)).await.expect("repaired");
    let of_service = |entry: &(Key, String, String)| entry.0 == service && entry.1 == "node-port";
    expected.findings.retain(|entry| !of_service(entry));
    expected.verdicts.retain(|entry| !of_service(entry));
    expected.verdicts.insert((service.clone(), "node-port".to_owned(), "pass".to_owned()));
    world.until_equal(&fleet, &expected, "after a repair").await;
    fleet.settled(&running).await;
    running.stop().await;

    let (kind, namespace, name) = world.with_finding("host-network");
    let group = if kind == "Pod" { "" } else { "apps" };
    let api = world.api(&kind, group, "v1", &namespace).expect("its kind");
    api.delete(&name, &DeleteParams::default().grace_period(0)).await.expect("deleted");
    expected.forget(&(kind, namespace, name));
    let running = fleet.agent_over(source(), None).await;
    world.until_equal(&fleet, &expected, "after a deletion that nobody saw").await;

    if plane.kill() {
        plane.restart().expect("it comes back");
        let api = world.api("Service", "", "v1", &service.1).expect("Services");
        api.delete(&service.2, &DeleteParams::default()).await.expect("deleted");
        expected.forget(&service);
        world.until_equal(&fleet, &expected, "after the API server's crash").await;
    }
    fleet.settled(&running).await;
    let store = &fleet.hub.hub.store;
    assert!(store.gaps(running.cluster()).await.expect("gaps").is_empty());
    assert!(store.alarms(Some(running.cluster())).await.expect("alarms").is_empty());
    running.stop().await;
    fleet.stop().await;
}
