//! `deploy/` is what it says: the API server takes the manifests, our own policies find nothing in
//! them, the agent is forbidden nothing that it needs and nothing else is allowed, and the units are sound.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use provost_agent::admission::{Endpoint, Registration};
use provost_agent::config::{Cluster as ClusterSettings, Config, Settings, Source};
use provost_engine::{Cluster, CompiledSet, Object, Options, Review};
use provost_manifests::{Class, Options as LoadOptions, load};
use provost_model::Severity;
use provost_model::policy::Checkpoint;
use provost_runtime::config::{self, Overrides};
use provost_testkit::available;
use provost_testkit::controlplane::{ControlPlane, client, client_of};
use provost_testkit::marked::{Applied, Run};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::fleet::{Fleet, library};

const SPACE: &str = "provost-system";
const NAME: &str = "provost-agent";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

#[test]
fn our_own_policies_find_nothing_grave_in_what_we_deploy() {
    let set = CompiledSet::compile(&library(), &Cluster::default(), &Options::default());
    let loaded = load(&LoadOptions { paths: vec![folder()], ..LoadOptions::default() });
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let mut resources = 0;
    for document in &loaded.documents {
        let Class::Resource(resource) = &document.class else { continue };
        resources += 1;
        let object = Object::deserialize(&document.node).expect("an object");
        let mut review = Review::of(object, Checkpoint::Commit).expect("a type");
        review.namespace.clone_from(&resource.namespace);
        for verdict in set.evaluate(&review) {
            let severity = set.meta(&verdict.policy).expect("its policy").severity;
            let subject = format!("{} {}", resource.gvk.kind, resource.name);
            let grave = severity >= Severity::High && !verdict.findings.is_empty();
            assert!(!grave, "{subject}: {} {:?}", verdict.policy, verdict.findings);
        }
    }
    assert!(resources >= 8, "only {resources} resources");
}

/// Everything of the folder, as `kubectl apply` would.
async fn apply(run: &Run) {
    let loaded =
        load(&LoadOptions { paths: vec![folder().join("kubernetes")], ..LoadOptions::default() });
    let resources = loaded.documents.iter().filter_map(|document| match &document.class {
        Class::Resource(resource) => Some((document, resource)),
        Class::NotEvaluated { .. } => None,
    });
    let mut resources: Vec<_> = resources.collect();
    resources.sort_by_key(|(_, resource)| resource.gvk.kind != "Namespace");
    for (document, resource) in resources {
        let gvk = &resource.gvk;
        let object = Value::deserialize(&document.node).expect("JSON");
        let space = &resource.namespace;
        let applied = run.apply(&gvk.group, &gvk.version, &gvk.kind, space, object).await;
        assert_eq!(applied.expect("an answer"), Applied::Yes, "{} {}", gvk.kind, resource.name);
    }
}

/// A kubeconfig of the agent's account, with a token as its pod gets one.
async fn of_account(plane: &ControlPlane, kube: kube::Client, folder: &Path) -> PathBuf {
    let accounts: Api<ServiceAccount> = Api::namespaced(kube, SPACE);
    let request: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": []}})).expect("a request");
    let made = accounts.create_token_request(NAME, &PostParams::default(), &request).await;
    let token = made.expect("a token").status.expect("with a status").token;
    let file = Kubeconfig::read_from(plane.kubeconfig()).expect("a kubeconfig");
    let mut file = serde_json::to_value(file).expect("JSON");
    for user in file["users"].as_array_mut().expect("users") {
        user["user"] = json!({"token": token});
    }
    let path = folder.join("kubeconfig");
    std::fs::write(&path, file.to_string()).expect("a file");
    path
}

/// The settings that are deployed are settings; the Service is where the registration sends the API
/// server; the API server takes the registration.
async fn settings_service_and_registration_fit(kube: &kube::Client) {
    let maps: Api<ConfigMap> = Api::namespaced(kube.clone(), SPACE);
    let map = maps.get(NAME).await.expect("a map");
    let text = &map.data.expect("data")["agent.yaml"];
    let read = config::parse::<Settings>(Path::new("agent.yaml"), text, &Overrides::default());
    let checked = Config::check(read.expect("settings")).expect("that fit");
    assert_eq!(checked.source, Source::Cluster(ClusterSettings::default()));
    let names = checked.admission.expect("admission").names;
    assert_eq!(names, [format!("{NAME}.{SPACE}.svc")]);

    let services: Api<Service> = Api::namespaced(kube.clone(), SPACE);
    let service = services.get(NAME).await.expect("a service").spec.expect("a spec");
    assert_eq!(service.ports.expect("ports")[0].port, 443);
    let endpoint =
        Endpoint::Service { namespace: SPACE.to_owned(), name: NAME.to_owned(), port: 443 };
    let ca_pem = provost_agent::admission::Certificate::load_or_create(
        tempfile::tempdir().expect("a folder").path(),
        &names,
    );
    let ca_pem = ca_pem.expect("a certificate").ca_pem().to_owned();
    let excluded_namespaces = vec![SPACE.to_owned(), "kube-system".to_owned()];
    let registration = Registration { endpoint, ca_pem, excluded_namespaces };
    let set = CompiledSet::compile(&library(), &Cluster::default(), &Options::default());
    let document = serde_json::from_value(registration.document(&set)).expect("a registration");
    let api: Api<ValidatingWebhookConfiguration> = Api::all(kube.clone());
    api.create(&PostParams::default(), &document).await.expect("registered");
}

/// Two versions on three nodes; no kubelet is needed for that.
async fn two_versions(kube: &kube::Client, run: &Run) {
    let nodes: Api<Node> = Api::all(kube.clone());
    for (name, version) in [("a", "v1.36.3"), ("b", "v1.35.2"), ("c", "v1.36.3")] {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": format!("{name}-{}", run.id)},
            "status": {"nodeInfo": {"kubeletVersion": version}},
        }))
        .expect("a node");
        let made = nodes.create(&PostParams::default(), &node).await.expect("created");
        let status = Patch::Merge(json!({"status": node.status}));
        let name = made.metadata.name.expect("a name");
        nodes.patch_status(&name, &PatchParams::default(), &status).await.expect("patched");
    }
}

/// Scenario: the manifests in a real API server, and an agent with the account that they make. Guarantee: of
/// the kinds that the library matches none is forbidden, the cluster's uid is read, and Secrets are not.
#[tokio::test(flavor = "multi_thread")]
async fn the_deployed_account_may_do_what_the_agent_does_and_no_more() {
    let Some(plane) = ControlPlane::start().expect("a control plane") else { return };
    if plane.is_shared() {
        available::say("left out in a shared cluster: deploy/kubernetes, whose names are fixed");
        return;
    }
    let kube = client(&plane).await.expect("a client");
    let run = Run::new(kube.clone()).await.expect("a run");
    apply(&run).await;
    two_versions(&kube, &run).await;
    settings_service_and_registration_fit(&kube).await;

    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = of_account(&plane, kube, folder.path()).await;
    let account = client_of(&kubeconfig).await.expect("a client");
    let secrets: Api<Secret> = Api::all(account.clone());
    let refused = secrets.list(&ListParams::default()).await.expect_err("no Secrets");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");

    let source =
        provost_agent::cluster::Settings { kubeconfig: Some(kubeconfig.clone()), context: None };
    let source = provost_agent::cluster::ClusterSource::connect(&source).await.expect("connected");
    let facts = source.facts().await.expect("facts");
    assert!(!facts.cluster_uid.is_empty(), "kube-system is read");
    assert_eq!(facts.node_versions, ["v1.35.2", "v1.36.3"], "each version once");

    let fleet = Fleet::start().await;
    fleet.publish_bundle(&library(), 1).await;
    let token = fleet.token().await;
    let source = Source::Cluster(ClusterSettings { kubeconfig: Some(kubeconfig) });
    let running = fleet.agent_over(source, Some(&token)).await;
    running.active(1).await;
    let hub = fleet.api();
    let deployed =
        |row: &Value| row["subject"]["kind"] == "Deployment" && row["subject"]["name"] == NAME;
    let shown = async {
        while !hub.rows("verdicts").await.is_some_and(|rows| rows.iter().any(deployed)) {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let bound = std::time::Duration::from_secs(120);
    tokio::time::timeout(bound, shown).await.expect("the agent reads its own Deployment");
    fleet.settled(&running).await;
    let missing = hub.list("not-evaluated").await;
    let forbidden: Vec<_> =
        missing.iter().filter(|row| row.to_string().to_lowercase().contains("forbidden")).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
    running.stop().await;
    fleet.stop().await;
}

/// systemd itself reads the units, as if the programs were installed.
#[test]
fn the_units_are_sound_and_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["provost-agent", "provost-aggregator"] {
        let file = format!("{name}.service");
        let unit = std::fs::read_to_string(self::folder().join("systemd").join(&file));
        let unit = unit.expect("a unit");
        let program = format!("ExecStart=/usr/bin/{name} run --config");
        assert!(unit.contains(&program), "{file} starts its program");
        let path = folder.path().join(&file);
        std::fs::write(&path, unit.replace(&format!("/usr/bin/{name}"), "/bin/true")).expect("it");
        let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
            available::say("left out: systemd-analyze is not installed");
            return;
        };
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success() && said.is_empty(), "{file}: {said}");
    }
}
