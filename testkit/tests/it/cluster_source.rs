//! The cluster source on a real API server: what it lists, what it sees change, what it survives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use provost_agent::cluster::{ClusterSource, Settings};
use provost_agent::source::{CHANGES_IN_FLIGHT, Change, Scope, Source as _};
use provost_engine::{Cluster, CompiledSet, Options};
use provost_runtime::shutdown::Shutdown;
use provost_testkit::controlplane::{ControlPlane, client};
use provost_testkit::marked::Run;
use serde_json::json;
use tokio::sync::{mpsc, watch};

const LIMIT: Duration = Duration::from_secs(60);

/// What a receiver of changes knows.
#[derive(Default)]
struct Seen {
    exist: BTreeSet<String>,
    listing: BTreeSet<String>,
    complete: u32,
    unavailable: BTreeSet<String>,
}

struct Running {
    changes: mpsc::Receiver<Change>,
    seen: Seen,
    shutdown: Shutdown,
    _sets: watch::Sender<Arc<CompiledSet>>,
}

impl Seen {
    fn take(&mut self, change: Change) {
        match change {
            Change::Begin(_) => self.listing.clear(),
            Change::Exists(observed) => {
                let name = format!("{}/{}", observed.object.namespace(), observed.object.name());
                assert!(observed.object.gvk().is_some(), "{name} has no type");
                self.listing.insert(name.clone());
                self.exist.insert(name);
            }
            Change::Gone { subject, .. } => {
                self.exist.remove(&format!("{}/{}", subject.namespace, subject.name));
            }
            Change::Unreadable { subject } => panic!("{subject:?} is unreadable"),
            Change::End { scope, .. } => {
                assert!(
                    matches!(&scope, Scope::Kind { kind, .. } if kind == "Service"),
                    "{scope:?}"
                );
                self.exist.retain(|name| self.listing.contains(name));
            }
            Change::Complete { unavailable, .. } => {
                self.complete += 1;
                self.unavailable = unavailable.into_iter().map(|kind| kind.kind).collect();
            }
            Change::Health { .. } => {}
        }
    }
}

impl Running {
    async fn start(plane: &ControlPlane) -> Self {
        let settings = Settings { kubeconfig: Some(plane.kubeconfig().to_owned()), context: None };
        let source = ClusterSource::connect(&settings).await.expect("a connection");
        let (keep, sets) = watch::channel(Arc::new(services_only()));
        let (sender, changes) = mpsc::channel(CHANGES_IN_FLIGHT);
        let shutdown = Shutdown::new();
        let run = Box::new(source).run(sets, sender, shutdown.clone());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(run.map(drop));
        tasks.detach_all();
        Self { changes, seen: Seen::default(), shutdown, _sets: keep }
    }

    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Seen) -> bool) {
        let waiting = async {
            while !holds(&self.seen) {
                let change = self.changes.recv().await.expect("the source goes on");
                self.seen.take(change);
            }
        };
        let ended = tokio::time::timeout(LIMIT, waiting).await;
        assert!(ended.is_ok(), "not within {LIMIT:?}: {what}; seen {:?}", self.seen.exist);
    }
}

/// One policy on Services, and one on a kind that no server has.
fn services_only() -> CompiledSet {
    let policy = |id: &str, group: &str, kind: &str| {
        format!(
            "# METADATA\n# title: T\n# custom:\n#   id: {id}\n#   severity: low\n#   category: security\n#   kinds: [{{group: \"{group}\", kinds: [{kind}]}}]\n#   action: audit\n#   failMode: open\npackage provost.test.{}\n\nviolation contains {{\"msg\": \"m\", \"path\": []}} if input.review.object.bad\n",
            id.replace('-', "_"),
        )
    };
    let folder = tempfile::tempdir().expect("a folder");
    for (id, group, kind) in
        [("on-services", "", "Service"), ("on-nothing", "example.org", "Gadget")]
    {
        let place = folder.path().join("test").join(id);
        std::fs::create_dir_all(&place).expect("a folder");
        std::fs::write(place.join("policy.rego"), policy(id, group, kind)).expect("a file");
    }
    let source = provost_bundle::source::read_dir(folder.path()).expect("two policies");
    CompiledSet::compile(&source.into_bundle(), &Cluster::default(), &Options::default())
}

fn service(name: &str) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}]}
    }))
    .expect("a service")
}

/// Guarantees: what exists is listed once complete, changes and deletions are seen as they happen,
/// kinds that are not served are named, kinds without a policy are not read, and after the API
/// server was killed and came back, deletions and creations are seen again.
#[tokio::test]
async fn a_cluster_is_listed_watched_and_found_again_after_a_crash() {
    let Some(mut plane) = ControlPlane::start().expect("a control plane") else { return };
    let kube = client(&plane).await.expect("a client");
    let run = Run::new(kube.clone()).await.expect("a run");
    // A name of its own: other tests' services of these names may stand in the same cluster.
    let space = format!("source-{}", run.id);
    run.namespace(&space).await.expect("a namespace");
    let named = |name: &str| format!("{space}/{name}");
    let (first, second, third) = (named("first"), named("second"), named("third"));
    let services: Api<Service> = Api::namespaced(kube.clone(), &space);
    let maps: Api<ConfigMap> = Api::namespaced(kube.clone(), &space);
    services.create(&PostParams::default(), &service("first")).await.expect("created");
    let map = serde_json::from_value(json!({"metadata": {"name": "map"}})).expect("a map");
    maps.create(&PostParams::default(), &map).await.expect("created");

    let mut running = Running::start(&plane).await;
    running.until("the first listing", |seen| seen.complete == 1).await;
    assert!(running.seen.exist.contains(&first));
    assert!(!running.seen.exist.contains(&named("map")), "no policy asked for it");
    assert_eq!(running.seen.unavailable, BTreeSet::from(["Gadget".to_owned()]));

    services.create(&PostParams::default(), &service("second")).await.expect("created");
    running.until("a creation", |seen| seen.exist.contains(&second)).await;
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    services
        .patch("second", &PatchParams::default(), &Patch::Merge(&labels))
        .await
        .expect("patched");
    services.delete("first", &DeleteParams::default()).await.expect("deleted");
    running.until("a deletion", |seen| !seen.exist.contains(&first)).await;

    if plane.kill() {
        plane.restart().expect("it comes back");
        services.create(&PostParams::default(), &service("third")).await.expect("created");
        running.until("a creation after the crash", |seen| seen.exist.contains(&third)).await;
        services.delete("second", &DeleteParams::default()).await.expect("deleted");
        running.until("a deletion after the crash", |seen| !seen.exist.contains(&second)).await;
    }
    running.shutdown.trigger();
    if plane.is_shared() {
        run.remove().await.expect("removed");
    }
}
