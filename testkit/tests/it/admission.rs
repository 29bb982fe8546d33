//! One policy, one verdict: what admission says on a real API server is what `scan` says of the
//! file. Every document goes through the webhook as a dry run; the two lists of violations must be
//! equal, line for line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::{ApiResource, Discovery, Scope};
use kube::{Api, Client};
use provost_agent::admission::{self, Admission, Certificate, Endpoint, Registration};
use provost_engine::{Cluster, CompiledSet, Evaluator, Limits, Object, Options, Review};
use provost_manifests::{Class, Document, Options as LoadOptions, load};
use provost_model::policy::{Action, Checkpoint};
use provost_runtime::clock::System;
use provost_runtime::metrics::Registry;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;
use provost_runtime::tls::install_crypto_provider;
use provost_testkit::available;
use provost_testkit::controlplane::{ControlPlane, client};
use provost_testkit::marked::Run;
use serde::Deserialize as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(60);
/// More lines than this are summed up in a refusal, and could not be compared.
const MOST_LINES: usize = 20;

/// The library with every policy denying, so that a refusal names every violation.
fn library() -> CompiledSet {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut bundle =
        provost_bundle::source::read_dir(&policies).expect("the library").into_bundle();
    for policy in &mut bundle.policies {
        policy.meta.action = Action::Deny;
    }
    CompiledSet::compile(&bundle, &Cluster::default(), &Options::default())
}

struct Webhook {
    set: Arc<CompiledSet>,
    shutdown: Shutdown,
    kube: Client,
    run: Run,
    /// Of the registration.
    name: String,
    _sets: watch::Sender<Arc<CompiledSet>>,
    _folder: tempfile::TempDir,
}

impl Webhook {
    async fn start(kube: Client) -> Self {
        install_crypto_provider();
        let set = Arc::new(library());
        let (keep, sets) = watch::channel(Arc::clone(&set));
        // On a busy machine a policy that ran out of time would have no verdict to compare.
        let mut limits = Limits::default();
        limits.admission.time_limit = LIMIT;
        let evaluator = Evaluator::start(&sets, limits).expect("two lanes");
        let clock = System::shared();
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = Certificate::load_or_create(folder.path(), &[]).expect("a certificate");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let admission = Admission::new(evaluator, sets, None, Arc::clone(&clock), &Registry::new());
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        admission::serve(admission, listener, &certificate, clock, &tasks).expect("it serves");
        let registration = Registration {
            endpoint: Endpoint::Url(format!("https://{address}{}", admission::PATH)),
            ca_pem: certificate.ca_pem().to_owned(),
            excluded_namespaces: vec!["provost-system".to_owned()],
        };
        let run = Run::new(kube.clone()).await.expect("a run");
        let name = format!("provost-test-{}", run.id);
        let mut document = registration.document(&set);
        // Nothing but the objects of this test: others may use the cluster too.
        document["metadata"]["name"] = json!(name);
        document["webhooks"][0]["objectSelector"] = run.selector();
        run.mark(&mut document);
        let document = serde_json::from_value(document).expect("a registration");
        let api: Api<ValidatingWebhookConfiguration> = Api::all(kube.clone());
        api.create(&PostParams::default(), &document).await.expect("registered");
        let webhook = Self { set, shutdown, kube, run, name, _sets: keep, _folder: folder };
        webhook.until_asked().await;
        webhook
    }

    /// Nobody is asked at an address where nobody answers any more.
    async fn stop(self, plane: &ControlPlane) {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.kube.clone());
        api.delete(&self.name, &DeleteParams::default()).await.expect("unregistered");
        self.shutdown.trigger();
        if plane.is_shared() {
            self.run.remove().await.expect("removed");
        }
    }

    /// The API server takes a moment to ask a webhook that was just registered.
    async fn until_asked(&self) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": "default"},
            "spec": {"containers": [{"name": "a", "image": "x", "securityContext": {"privileged": true}}]},
        });
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let asked = async {
            while self.dry_run(&resource, "default", &pod).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, asked).await.expect("the webhook is asked");
    }

    async fn dry_run(
        &self,
        resource: &ApiResource,
        namespace: &str,
        object: &serde_json::Value,
    ) -> Result<(), kube::Error> {
        let api: Api<DynamicObject> = match namespace {
            "" => Api::all_with(self.kube.clone(), resource),
            namespace => Api::namespaced_with(self.kube.clone(), namespace, resource),
        };
        let mut object = object.clone();
        self.run.mark(&mut object);
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        api.create(&parameters, &object).await.map(drop)
    }

    /// As a refusal names them.
    fn expected(&self, document: &Document, namespace: &str) -> BTreeSet<String> {
        let object = Object::deserialize(&document.node).expect("an object");
        let mut review = Review::of(object, Checkpoint::Commit).expect("a type");
        namespace.clone_into(&mut review.namespace);
        let verdicts = self.set.evaluate(&review);
        let lines = verdicts.iter().flat_map(|verdict| {
            let code = self.set.meta(&verdict.policy).expect("its policy").code.clone();
            let policy = verdict.policy.clone();
            verdict.findings.iter().map(move |finding| {
                format!("[{code} {policy}] {}: {}", finding.path, finding.message)
            })
        });
        lines.collect()
    }
}

/// The lines of a refusal by our webhook; none where something else refused.
fn refused(error: &kube::Error) -> Option<BTreeSet<String>> {
    let kube::Error::Api(status) = error else { return None };
    let (_, reasons) = status.message.split_once("refused by policy:\n")?;
    Some(reasons.lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect())
}

#[derive(Debug, Default)]
struct Tally {
    compared: usize,
    violations: usize,
    not_served: BTreeSet<String>,
    /// By the API server itself: subject and its words.
    refused: BTreeMap<String, String>,
    differ: Vec<String>,
}

async fn compare(
    webhook: &Webhook,
    discovery: &Discovery,
    root: &Path,
    space: &str,
    tally: &mut Tally,
) {
    let options = LoadOptions {
        paths: vec![root.to_owned()],
        namespace: Some(space.to_owned()),
        ..LoadOptions::default()
    };
    let loaded = load(&options);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let namespaces = loaded.documents.iter().filter_map(|document| match &document.class {
        Class::Resource(resource) => {
            Some(resource.namespace.clone()).filter(|name| !name.is_empty())
        }
        Class::NotEvaluated { .. } => None,
    });
    for namespace in namespaces {
        webhook.run.namespace(&namespace).await.expect("a namespace");
    }
    for document in &loaded.documents {
        let Class::Resource(resource) = &document.class else { continue };
        // Made above, so that the objects in it have a place.
        if resource.gvk.kind == "Namespace" {
            continue;
        }
        let subject = format!("{} {}/{}", resource.gvk.kind, resource.namespace, resource.name);
        let gvk = kube::core::GroupVersionKind::gvk(
            &resource.gvk.group,
            &resource.gvk.version,
            &resource.gvk.kind,
        );
        let Some((served, capabilities)) = discovery.resolve_gvk(&gvk) else {
            tally.not_served.insert(subject);
            continue;
        };
        let namespaced = capabilities.scope == Scope::Namespaced;
        let namespace = if namespaced { resource.namespace.as_str() } else { "" };
        let object = serde_json::Value::deserialize(&document.node).expect("JSON");
        let expected = webhook.expected(document, namespace);
        assert!(expected.len() <= MOST_LINES, "{subject} has too many violations to compare");
        let found = match webhook.dry_run(&served, namespace, &object).await {
            Ok(()) => BTreeSet::new(),
            Err(error) => match refused(&error) {
                Some(lines) => lines,
                None => {
                    tally.refused.insert(subject, error.to_string());
                    continue;
                }
            },
        };
        tally.compared += 1;
        tally.violations += found.len();
        if found != expected {
            tally.differ.push(format!("{subject}\n  admission: {found:?}\n  scan: {expected:?}"));
        }
    }
}

/// Guarantees: for each document that the API server takes, admission names exactly the violations
/// that a scan of the file names; objects that are refused for other reasons and kinds that are not
/// served are listed.
#[tokio::test]
async fn admission_says_of_every_document_what_scan_says() {
    let Some(plane) = ControlPlane::start().expect("a control plane") else { return };
    let kube = client(&plane).await.expect("a client");
    let webhook = Webhook::start(kube.clone()).await;
    let discovery = Discovery::new(kube).run().await.expect("discovery");
    let mut roots: Vec<PathBuf> = vec![available::fixtures()];
    if let Some(corpus) = available::corpus() {
        let folders = std::fs::read_dir(corpus)
            .expect("the corpus")
            .map(|entry| entry.expect("a folder").path());
        roots.extend(folders);
    }
    roots.sort();
    for root in roots {
        let space = format!("from-{}", root.file_name().expect("a name").to_string_lossy());
        let mut tally = Tally::default();
        compare(&webhook, &discovery, &root, &space, &mut tally).await;
        available::say(&format!(
            "{}: {} documents compared, {} violations; not served: {:?}; refused by the API server: {:#?}",
            root.display(),
            tally.compared,
            tally.violations,
            tally.not_served,
            tally.refused,
        ));
        assert!(tally.differ.is_empty(), "{}", tally.differ.join("\n"));
        assert!(tally.compared > 5 && tally.violations > 0, "{tally:?}");
        // Other people's clusters refuse for reasons of their own.
        assert!(plane.is_shared() || tally.refused.is_empty(), "{:#?}", tally.refused);
    }
    webhook.stop(&plane).await;
}

/// A pod that violates nothing.
fn sound_pod() -> serde_json::Value {
    let labels = ["name", "version", "part-of", "managed-by"]
        .map(|name| (format!("app.kubernetes.io/{name}"), json!("debugged")));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "debugged", "namespace": "default",
            "labels": serde_json::Map::from_iter(labels)},
        "spec": {"containers": [{"name": "a", "image": "registry.example.org/a:1",
            "resources": {"requests": {"memory": "1Mi"}, "limits": {"memory": "1Mi"}},
            "securityContext": sound_context()}]},
    })
}

fn sound_context() -> serde_json::Value {
    json!({"runAsNonRoot": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}})
}

/// Guarantees: a debug container that comes into a running pod is judged as any other, by the name of
/// its field; an object that is on its way out can lose its finalizers, whatever it violates, and one
/// that stays cannot be changed.
#[tokio::test]
async fn a_debug_container_is_judged_and_what_goes_away_is_not() {
    let Some(plane) = ControlPlane::start().expect("a control plane") else { return };
    let kube = client(&plane).await.expect("a client");
    let webhook = Webhook::start(kube.clone()).await;
    let mut pod = sound_pod();
    webhook.run.mark(&mut pod);
    let pods: Api<Pod> = Api::namespaced(kube.clone(), "default");
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("a sound pod is let in");
    let debug = |context: serde_json::Value| {
        let container = json!({"name": "debug", "image": "busybox:1", "securityContext": context});
        Patch::Strategic(json!({"spec": {"ephemeralContainers": [container]}}))
    };
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let sound = debug(sound_context());
    pods.patch_ephemeral_containers("debugged", &dry, &sound).await.expect("a sound one");
    let mut context = sound_context();
    context["allowPrivilegeEscalation"] = json!(true);
    let error = pods.patch_ephemeral_containers("debugged", &dry, &debug(context)).await;
    let lines = refused(&error.expect_err("it violates policy")).expect("our words");
    let field = "[R02 privilege-escalation] spec.ephemeralContainers[0].securityContext.";
    assert!(lines.len() == 1 && lines.iter().all(|line| line.starts_with(field)), "{lines:?}");

    // Not marked yet, so that nobody is asked about them.
    let services: Api<Service> = Api::namespaced(kube, "default");
    let named = |what: &str| format!("{what}-{}", webhook.run.id);
    for what in ["leaving", "staying"] {
        let service = json!({
            "metadata": {"name": named(what), "finalizers": ["example.org/hold"]},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]},
        });
        let service = serde_json::from_value(service).expect("a service");
        services.create(&PostParams::default(), &service).await.expect("created");
    }
    services.delete(&named("leaving"), &DeleteParams::default()).await.expect("begun");
    let mut marked = json!({"metadata": {"finalizers": null}});
    webhook.run.mark(&mut marked);
    let (always, marked) = (PatchParams::default(), Patch::Merge(marked));
    let error = services.patch(&named("staying"), &always, &marked).await.expect_err("it violates");
    assert!(refused(&error).is_some(), "{error}");
    services.patch(&named("leaving"), &always, &marked).await.expect("let go");
    let gone = services.get_opt(&named("leaving")).await.expect("an answer");
    assert!(gone.is_none(), "its last finalizer is gone");

    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    services.patch(&named("staying"), &always, &free).await.expect("nobody is asked");
    services.delete(&named("staying"), &DeleteParams::default()).await.expect("deleted");
    webhook.stop(&plane).await;
}
