//! One policy, one verdict, at run time: what the hub shows of objects in a real API server is what
//! a scan says of the files they came from, by subject, policy, outcome and fingerprint.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use provost_agent::config::{Cluster as ClusterSettings, Source};
use provost_manifests::{Class, Options as LoadOptions, load};
use provost_model::subject::ResourceRef;
use provost_testkit::controlplane::{ControlPlane, client};
use provost_testkit::marked::{Applied, Run};
use provost_testkit::processes::program;
use provost_testkit::{available, marked};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::api::Api as HubApi;
use crate::fleet::{Fleet, library};

const BOUND: Duration = Duration::from_secs(120);

/// What is known of some subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Picture {
    /// With policy and outcome.
    verdicts: BTreeSet<(ResourceRef, String, String)>,
    /// With policy and fingerprint.
    findings: BTreeSet<(ResourceRef, String, String)>,
}

impl Picture {
    /// As `provost scan` prints it, the program itself.
    fn scanned(root: &Path, namespace: &str) -> Self {
        let output = Command::new(program("provost"))
            .args(["scan", "--no-config", "--namespace", namespace, "-o", "json"])
            .arg(root)
            .output()
            .expect("provost runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let rows = |list: &str, field: &str| {
            let rows = report[list].as_array().expect("rows").iter();
            let row = |row: &Value| (subject(row), text(&row["policy"]), text(&row[field]));
            rows.map(row).collect()
        };
        Self { verdicts: rows("verdicts", "outcome"), findings: rows("findings", "fingerprint") }
    }

    fn forget(&mut self, key: &ResourceRef) {
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
    run: Run,
    subjects: BTreeSet<ResourceRef>,
    scan: Picture,
    /// By root: kinds that are not served. Listed, not compared.
    not_served: BTreeSet<(String, String)>,
    /// Not taken by the API server, and why. Listed, not compared.
    refused: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn subject(row: &Value) -> ResourceRef {
    let subject = &row["subject"];
    ResourceRef {
        group: text(&subject["group"]),
        kind: text(&subject["kind"]),
        namespace: text(&subject["namespace"]),
        name: text(&subject["name"]),
    }
}

impl World {
    async fn new(kube: Client) -> Self {
        let run = Run::new(kube).await.expect("a run");
        let (subjects, scan, not_served, refused) = Default::default();
        Self { run, subjects, scan, not_served, refused }
    }

    async fn apply(&mut self, root: &Path, name: &str) {
        let space = format!("from-{name}");
        let scan = Picture::scanned(root, &space);
        self.run.namespace(&space).await.expect("a namespace");
        let options = LoadOptions {
            paths: vec![root.to_owned()],
            namespace: Some(space),
            ..LoadOptions::default()
        };
        let loaded = load(&options);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        for document in &loaded.documents {
            let Class::Resource(resource) = &document.class else { continue };
            let (gvk, space) = (&resource.gvk, &resource.namespace);
            self.run.namespace(space).await.expect("a namespace");
            let object = Value::deserialize(&document.node).expect("JSON");
            let applied = self.run.apply(&gvk.group, &gvk.version, &gvk.kind, space, object).await;
            let subject = format!("{name}: {} {space}/{}", gvk.kind, resource.name);
            match applied.expect("an answer") {
                Applied::Yes => self.note(resource.reference(), &scan),
                Applied::NotServed => {
                    self.not_served.insert((name.to_owned(), gvk.kind.clone()));
                }
                Applied::Taken => self.refused.push(format!("{subject} is somebody else's")),
                Applied::Refused(words) => self.refused.push(format!("{subject}: {words}")),
            }
        }
    }

    fn api(&self, kind: &str, group: &str, namespace: &str) -> Api<DynamicObject> {
        self.run.api(group, "v1", kind, namespace).expect("a kind that every server has")
    }

    fn note(&mut self, key: ResourceRef, scan: &Picture) {
        let of_it = |entry: &&(ResourceRef, String, String)| entry.0 == key;
        self.scan.verdicts.extend(scan.verdicts.iter().filter(of_it).cloned());
        self.scan.findings.extend(scan.findings.iter().filter(of_it).cloned());
        self.subjects.insert(key);
    }

    /// What the hub shows of our subjects by its API. None while rows come and go between pages.
    async fn shown(&self, hub: &HubApi) -> Option<Picture> {
        let mut picture = Picture::default();
        let sets = [
            ("verdicts", "outcome", &mut picture.verdicts),
            ("findings", "fingerprint", &mut picture.findings),
        ];
        for (list, field, set) in sets {
            for row in hub.rows(list).await? {
                let key = subject(&row);
                if self.subjects.contains(&key) {
                    let once = set.insert((key, text(&row["policy"]), text(&row[field])));
                    assert!(once, "it stands twice in {list}: {row}");
                }
            }
        }
        Some(picture)
    }

    async fn until_equal(&self, hub: &HubApi, expected: &Picture, when: &str) {
        let mut last = None;
        let waiting = async {
            while last.as_ref() != Some(expected) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                last = self.shown(hub).await;
            }
        };
        if tokio::time::timeout(BOUND, waiting).await.is_err() {
            panic!("{when}: {}", last.unwrap_or_default().differs(expected));
        }
    }

    fn with_finding(&self, policy: &str) -> ResourceRef {
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

/// What Kubernetes itself does not serve: root and kind.
const NOT_SERVED: &[(&str, &str)] =
    &[("podinfo-kustomize", "Certificate"), ("podinfo-kustomize", "ClusterIssuer")];

/// Applies everything, and says what could not be.
async fn applied(plane: &ControlPlane) -> World {
    let mut world = World::new(client(plane).await.expect("a client")).await;
    let mut not_served = BTreeSet::new();
    for root in roots() {
        let name = root.file_name().expect("a name").to_string_lossy().into_owned();
        world.apply(&root, &name).await;
        let kinds = NOT_SERVED.iter().filter(|(of, _)| *of == name);
        not_served.extend(kinds.map(|(of, kind)| ((*of).to_owned(), (*kind).to_owned())));
    }
    available::say(&format!(
        "{} objects under {}={}; kinds not served: {:?}; objects refused: {:#?}",
        world.subjects.len(),
        marked::LABEL,
        world.run.id,
        world.not_served,
        world.refused,
    ));
    let labelled = world.run.labelled().await.expect("a list");
    let unmarked: Vec<_> = world.subjects.difference(&labelled).collect();
    assert!(unmarked.is_empty(), "applied and not labelled: {unmarked:?}");
    // Other people's clusters serve more kinds, refuse more objects, and have controllers that
    // copy labels.
    if !plane.is_shared() {
        assert_eq!(world.not_served, not_served, "kinds not served");
        assert!(world.refused.is_empty(), "objects refused: {:#?}", world.refused);
        // A namespace that no manifest describes is none of the subjects.
        let more: Vec<_> = labelled.difference(&world.subjects).collect();
        let unknown = more.iter().find(|subject| subject.kind != "Namespace");
        assert!(unknown.is_none(), "labelled and not applied: {unknown:?}");
    }
    assert!(world.scan.findings.len() > 50, "the fixtures alone have more");
    world
}

/// Somebody else's object in the same cluster, which violates policy too.
async fn foreign(world: &World) -> (Api<DynamicObject>, String) {
    let name = format!("foreign-{}", world.run.id);
    let api = world.api("Service", "", "default");
    let service = json!({
        "metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    });
    let service = serde_json::from_value(service).expect("a service");
    api.create(&PostParams::default(), &service).await.expect("created");
    (api, name)
}

/// Scenario: fixtures and corpus in a real API server, beside objects of others; an agent over it, a
/// hub. An object is repaired, one is deleted while the agent is down, and the API server crashes and
/// comes back. Guarantee: at each point the hub's API shows of every object exactly what a scan of
/// its file says, once each, without gaps or alarms.
#[tokio::test(flavor = "multi_thread")]
async fn the_hub_shows_of_a_cluster_what_scan_says_of_its_files() {
    let Some(mut plane) = ControlPlane::start().expect("a control plane") else { return };
    let world = applied(&plane).await;
    let (theirs, name) = foreign(&world).await;

    let fleet = Fleet::start().await;
    fleet.publish_bundle(&library(), 1).await;
    let source =
        || Source::Cluster(ClusterSettings { kubeconfig: Some(plane.kubeconfig().to_owned()) });
    let token = fleet.token().await;
    let running = fleet.agent_over(source(), Some(&token)).await;
    running.active(1).await;
    let hub = fleet.api();
    let mut expected = world.scan.clone();
    world.until_equal(&hub, &expected, "after the first listing").await;
    fleet.settled(&running).await;
    let rows = hub.rows("findings").await.expect("nothing changes");
    assert!(
        rows.iter().any(|row| row["subject"]["name"] == name.as_str()),
        "others' are shown too"
    );
    assert!(rows.len() > 100, "more than one page");

    let service = world.with_finding("node-port");
    let api = world.api("Service", "", &service.namespace);
    let repair = json!({"spec": {"type": "ClusterIP"}});
    api.patch(&service.name, &PatchParams::default(), &Patch::Merge(&repair))
        .await
        .expect("repaired");
    let of_service =
        |entry: &(ResourceRef, String, String)| entry.0 == service && entry.1 == "node-port";
    expected.findings.retain(|entry| !of_service(entry));
    expected.verdicts.retain(|entry| !of_service(entry));
    expected.verdicts.insert((service.clone(), "node-port".to_owned(), "pass".to_owned()));
    world.until_equal(&hub, &expected, "after a repair").await;
    fleet.settled(&running).await;
    running.stop().await;

    let gone = world.with_finding("host-network");
    let deleted = world.api(&gone.kind, &gone.group, &gone.namespace);
    let at_once = DeleteParams::default().grace_period(0);
    deleted.delete(&gone.name, &at_once).await.expect("deleted");
    expected.forget(&gone);
    let running = fleet.agent_over(source(), None).await;
    world.until_equal(&hub, &expected, "after a deletion that nobody saw").await;

    if plane.kill() {
        plane.restart().expect("it comes back");
        api.delete(&service.name, &DeleteParams::default()).await.expect("deleted");
        expected.forget(&service);
        world.until_equal(&hub, &expected, "after the API server's crash").await;
    }
    fleet.settled(&running).await;
    let store = &fleet.hub.hub.store;
    assert!(store.gaps(running.cluster()).await.expect("gaps").is_empty());
    assert!(store.alarms(Some(running.cluster())).await.expect("alarms").is_empty());
    running.stop().await;
    fleet.stop().await;
    theirs.delete(&name, &DeleteParams::default()).await.expect("deleted");
    if plane.is_shared() {
        world.run.remove().await.expect("removed");
    }
}
