//! Secrets in manifests, tokens and settings, looked for in everything that leaves a process or stays of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::fleet::{Fleet, files, get, until};
use super::receiver::Receiver;

/// What stands on disk because it has to, each in a file of mode 0600: what people wrote there, and the hub's first
/// admin token.
const OWN_FILES: &[&str] = &["token", "hub/admin.token", "hub.yaml", "edge.yaml", "lost.yaml"];

/// Allows every registry where no binding says which.
const SILENT: &str = "allowed-registries";

/// Every policy of the library: what one of them says of an object is said everywhere.
fn library() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let modules = files(&folder).into_iter().filter(|path| path.ends_with("policy.rego"));
    let names = modules.filter_map(|path| Some(path.parent()?.file_name()?.to_owned()));
    names.map(|name| name.into_string().unwrap()).collect()
}

/// Scenario: 50 secrets in manifests of every kind that the library looks at, in tokens, a proxy and settings; daemons
/// that log whatever they can, for people and as JSON.
/// Guarantee: none of them, plain, in base64 or in hex, is in a log, in metrics, in what is exported by OTLP, in the
/// spool, in a record that travelled, or in the hub's store.
#[test]
fn no_secret_is_anywhere_but_where_people_put_it() {
    let receiver = Receiver::start();
    let mut secrets = Secrets::default();
    let log = json!({
        "format": "human",
        "filter": "debug,provost_agent=trace,provost_aggregator=trace,provost_runtime=trace,provost_engine=trace,provost_proto=trace",
        "otlp_endpoint": format!("http://{}", receiver.address),
        "otlp_interval_ms": 300,
        "otlp_trace_ratio": 1.0,
        "otlp_headers": format!("x-token={}", secrets.plant("the export's header")),
    });
    let policies = library();
    assert!(policies.len() > 10, "{policies:?}");
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let mut fleet = Fleet::start(&log, &policies);
    for (name, text) in manifests(&mut secrets) {
        fleet.write(&name, &text);
    }
    let token_file = fleet.token();
    know_tokens(&mut secrets, &fleet, &token_file);
    let mut agent = fleet.agent("edge", &log, &json!({"token_file": token_file}));
    // One whose proxy is not there, so that it talks about it.
    let (user, password) = (secrets.plant("the proxy's user"), secrets.plant("its password"));
    let proxy = format!("http://{user}:{password}@127.0.0.1:9");
    let more = json!({"token_file": token_file, "proxy": proxy});
    let mut json_log = log;
    json_log["format"] = json!("json");
    let mut lost = fleet.agent("lost", &json_log, &more);
    let metrics = fleet.settled("edge", &agent, 5);
    until("the lost one talks of its proxy", || {
        let log = lost.log();
        if log.contains("no session with the hub") { Ok(()) } else { Err(log) }
    });
    // Callers who show a token that is none, too.
    let stranger = secrets.plant("a stranger's token");
    let headers = format!("Authorization: Bearer {stranger}\r\nCookie: session={stranger}\r\n");
    get(fleet.hub_address("api"), &format!("/api/v1/findings?q={stranger}"), &headers).unwrap();
    let findings = fleet.shows("canary-web");
    for policy in policies.iter().filter(|policy| **policy != SILENT) {
        assert!(findings.contains(&format!("\"{policy}\"")), "{policy} finds nothing");
    }
    let shown = ["status", "--cluster", "edge", "-o", "json"];
    let shown = fleet.try_provost(&[&["fleet"], &shown[..]].concat()).stdout;
    let verdicts = fleet.get("/api/v1/verdicts?limit=500").to_string();
    assert!(secrets.0.len() >= 50, "{} secrets", secrets.0.len());

    let travelled = fleet.records().concat();
    assert!(String::from_utf8_lossy(&travelled).contains("canary-web"), "records were read");
    let mut texts = BTreeMap::from([
        ("the agent's metrics".to_owned(), metrics.into_bytes()),
        ("the hub's metrics".to_owned(), fleet.hub_metrics().into_bytes()),
        ("the findings".to_owned(), findings.into_bytes()),
        ("the verdicts".to_owned(), verdicts.into_bytes()),
        ("what is shown of the cluster".to_owned(), shown),
        ("what travelled".to_owned(), travelled),
    ]);
    for daemon in [&mut agent, &mut lost, &mut fleet.hub] {
        assert!(daemon.stop().status.success());
    }
    let exported = receiver.look(|arrived| {
        assert!(arrived.spans.len() > 10 && arrived.logs.len() > 10 && arrived.metrics.len() > 10);
        format!(
            "{:?} {:?} {:?} {:?}",
            arrived.spans, arrived.logs, arrived.metrics, arrived.resources
        )
    });
    texts.insert("what was exported".to_owned(), exported.into_bytes());
    texts.extend(left_behind(&fleet));
    let found = secrets.found_in(&texts);
    assert!(found.is_empty(), "{found}");
}

fn know_tokens(secrets: &mut Secrets, fleet: &Fleet, token_file: &Path) {
    let token = fs::read_to_string(token_file).unwrap();
    let parsed: provost_proto::token::Token = token.trim().parse().unwrap();
    secrets.know("the enrolment token", &token);
    secrets.know("the secret of the enrolment token", &parsed.secret);
    let admin = fs::read_to_string(fleet.path("hub/admin.token")).unwrap();
    secrets.know("the admin's token", &admin);
    let made = fleet.provost(&["fleet", "api-token", "create", "watcher", "--role", "viewer"]);
    secrets.know("a token of the API", &made);
}

/// Every file of the fleet but manifests, what people wrote, and keys.
fn left_behind(fleet: &Fleet) -> BTreeMap<String, Vec<u8>> {
    let own: Vec<PathBuf> = OWN_FILES.iter().map(|name| fleet.path(name)).collect();
    let is_own = |path: &Path| {
        let is_key = path.to_string_lossy().ends_with(".key.json");
        own.iter().any(|own| own == path) || path.starts_with(fleet.manifests()) || is_key
    };
    let mut texts = BTreeMap::new();
    for path in files(&fleet.path("")).into_iter().filter(|path| !is_own(path)) {
        let bytes = fs::read(&path).unwrap();
        texts.insert(format!("{} inflated", path.display()), inflated(&bytes, NESTED));
        texts.insert(path.display().to_string(), bytes);
    }
    let is_record = |(name, text): (&String, &Vec<u8>)| {
        name.contains("/edge/spool/") && String::from_utf8_lossy(text).contains("canary-web")
    };
    assert!(texts.iter().any(is_record), "no record is seen in the spool: {:?}", texts.keys());
    assert!(texts.keys().any(|name| name.ends_with("hub/hub.db")));
    texts
}

/// Compressed packs in compressed pages, and one more.
const NESTED: u32 = 3;
const LARGEST: u64 = 16 * 1024 * 1024;
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Whatever stands compressed in a file, wherever it begins.
fn inflated(bytes: &[u8], nested: u32) -> Vec<u8> {
    let mut all = Vec::new();
    let starts = bytes.windows(ZSTD_MAGIC.len()).enumerate();
    for (start, _) in starts.filter(|(_, window)| *window == ZSTD_MAGIC) {
        let mut inner = Vec::new();
        if let Ok(decoder) = zstd::stream::read::Decoder::with_buffer(&bytes[start..]) {
            // What follows the frame is no frame: what came before that counts.
            let _ = decoder.single_frame().take(LARGEST).read_to_end(&mut inner);
        }
        if nested > 0 {
            let within = inflated(&inner, nested - 1);
            all.extend(within);
        }
        all.extend(inner);
    }
    all
}

/// By what it is: the forms in which it could be seen.
#[derive(Default)]
struct Secrets(BTreeMap<String, Vec<String>>);

impl Secrets {
    /// A new one.
    fn plant(&mut self, what: &str) -> String {
        let random: [u8; 9] = rand::random();
        let text = format!("canary{}", hex(&random));
        self.know(what, &text);
        text
    }

    /// Which are in what text, a line each.
    fn found_in(&self, texts: &BTreeMap<String, Vec<u8>>) -> String {
        let mut found = String::new();
        for (place, text) in texts {
            let text = String::from_utf8_lossy(text);
            for (what, shapes) in &self.0 {
                if shapes.iter().any(|shape| text.contains(shape)) {
                    let _ = writeln!(found, "{what} is in {place}");
                }
            }
        }
        found
    }

    fn know(&mut self, what: &str, text: &str) {
        let text = text.trim();
        let hex = hex(text.as_bytes());
        let mut shapes = vec![text.to_owned(), hex.to_uppercase(), hex];
        // Within longer text base64 begins at any of three places; what its neighbours decide is left out.
        for lead in 0..3 {
            let mut padded = vec![b'.'; lead];
            padded.extend_from_slice(text.as_bytes());
            let encoded = BASE64.encode(&padded);
            let whole = padded.len() / 3 * 4;
            let from = if lead == 0 { 0 } else { 4 };
            shapes.push(encoded[from..whole].to_owned());
        }
        assert!(self.0.insert(what.to_owned(), shapes).is_none(), "{what} twice");
    }
}

fn manifests(secrets: &mut Secrets) -> Vec<(String, String)> {
    let mut plant = |what: &str, number: usize| secrets.plant(&format!("{what} {number}"));
    let mut secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: canary-secret, namespace: shop}\ntype: Opaque\ndata:\n".to_owned();
    for number in 0..10 {
        let _ =
            writeln!(secret, "  k{number}: {}", BASE64.encode(plant("data of a Secret", number)));
    }
    secret.push_str("stringData:\n");
    for number in 0..8 {
        let _ = writeln!(secret, "  s{number}: {}", plant("stringData of a Secret", number));
    }
    let mut map =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: canary-map, namespace: shop}\ndata:\n"
            .to_owned();
    for number in 0..5 {
        let _ = writeln!(map, "  c{number}: {}", plant("data of a ConfigMap", number));
    }
    let last = format!(
        "{{\\\"stringData\\\":{{\\\"p\\\":\\\"{}\\\"}},\\\"env\\\":\\\"{}\\\"}}",
        plant("last-applied", 0),
        plant("last-applied", 1)
    );
    let mut annotations = format!("kubectl.kubernetes.io/last-applied-configuration: \"{last}\"");
    for number in 0..4 {
        let _ = write!(annotations, ", example.com/a{number}: {}", plant("annotation", number));
    }
    let mut workload = |kind: &str, name: &str, version: &str| {
        let env: Vec<_> = (0..5)
            .map(|number| {
                let value = plant(&format!("env of {kind}"), number);
                format!("{{name: PASSWORD{number}, value: {value}}}")
            })
            .collect();
        let args: Vec<_> =
            (0..3).map(|n| format!("--token={}", plant(&format!("args of {kind}"), n))).collect();
        let command = plant(&format!("command of {kind}"), 0);
        let spec = format!(
            "{{hostNetwork: true, hostPID: true, hostIPC: true, volumes: [{{name: v, hostPath: {{path: /v}}}}], containers: [{{name: a, image: 'registry.example/a:latest', ports: [{{containerPort: 80, hostPort: 80}}], securityContext: {{privileged: true, allowPrivilegeEscalation: true}}, command: [run, {command}], args: [{}], env: [{}]}}]}}",
            args.join(", "),
            env.join(", ")
        );
        let spec = match kind {
            "Pod" => spec,
            _ => format!(
                "{{selector: {{matchLabels: {{app: a}}}}, template: {{metadata: {{labels: {{app: a}}}}, spec: {spec}}}}}"
            ),
        };
        format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: shop\n  annotations: {{{annotations}}}\nspec: {spec}\n"
        )
    };
    let pod = workload("Pod", "canary-web", "v1");
    let deployment = workload("Deployment", "canary-api", "apps/v1");
    // Files that cannot be read whole are talked about, too.
    let broken = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: broken}}\nstringData: {{a: {}\n",
        plant("a broken file", 0)
    );
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: shop}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two, namespace: shop}\n";
    let named = |name: &str, text: String| (format!("{name}.yaml"), text);
    vec![
        named("secret", secret),
        named("map", map),
        named("pod", pod),
        named("deployment", deployment),
        named("service", service(&annotations)),
        named("role", roles(&annotations)),
        named("broken", broken),
        named("twice", twice.to_owned()),
    ]
}

fn service(annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: canary-port, namespace: shop, annotations: {{{annotations}}}}}\nspec: {{type: NodePort, ports: [{{port: 80, nodePort: 30080}}]}}\n"
    )
}

/// A role that allows much, and who has all.
fn roles(annotations: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: canary-role, annotations: {{{annotations}}}}}\nrules: [{{apiGroups: [''], resources: [pods], verbs: ['*']}}]\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: canary-binding, annotations: {{{annotations}}}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}\nsubjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: ada}}]\n"
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
