//! `provost scan`: output formats, exit codes, settings, bad input of each kind.

use serde_json::json;
use tempfile::tempdir;

use crate::program::{provost, write};

/// Privileged, and nothing else to complain about.
const PRIVILEGED: &str = r"apiVersion: v1
kind: Pod
metadata:
  name: web
  labels:
    app.kubernetes.io/name: web
    app.kubernetes.io/version: '1'
    app.kubernetes.io/part-of: shop
    app.kubernetes.io/managed-by: hand
spec:
  securityContext: {runAsNonRoot: yes}
  containers:
  - name: web
    image: web:1.0
    resources: {limits: {memory: 64Mi}, requests: {memory: 64Mi}}
    securityContext:
      privileged: on  # too much
      allowPrivilegeEscalation: off
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
";

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";

fn clean() -> String {
    PRIVILEGED.replace("privileged: on ", "privileged: off ")
}

#[test]
fn a_finding_for_people() {
    let folder = tempdir().unwrap();
    write(folder.path(), "deploy/web.yaml", PRIVILEGED);
    let said = provost(folder.path(), &["scan", "--namespace", "shop", "."], "");
    let expected = "\
deploy/web.yaml

  critical No privileged container privileged-container \u{b7} A04
    deploy/web.yaml:17:19 Pod shop/web
      17 \u{2502}       privileged: on  # too much
         \u{2502}                   ^^ container \"web\" runs privileged: set securityContext.privileged to false
         \u{2502} spec.containers[0].securityContext.privileged
      fix: Set securityContext.privileged to false or remove it, and add the one capability or device that
           is needed. A node agent that cannot do without is named in exempt_images, or excluded with its
           namespace by a binding.

1 document in 1 file: 1 evaluated with 17 policies, 0 of kinds that no policy matches, 0 not evaluated
policy allowed-registries was not evaluated, INACTIVE: set the parameter allowed in a binding
1 finding: 1 critical
";
    assert_eq!(said.out, expected);
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let colored = provost(folder.path(), &["--color", "always", "scan", "."], "");
    assert!(colored.out.contains("\u{1b}[31mcritical"), "{}", colored.out);
}

#[test]
fn a_manifest_cannot_steer_the_terminal() {
    let folder = tempdir().unwrap();
    write(
        folder.path(),
        "a.yaml",
        PRIVILEGED.replace("- name: web", "- name: \"w\\e[31mb\\u202e\""),
    );
    let said = provost(folder.path(), &["--color", "never", "scan", "a.yaml"], "");
    assert!(said.out.contains("w\\u{1b}[31mb\\u{202e}"), "{}", said.out);
    assert!(!said.out.contains('\u{1b}'), "{}", said.out);
}

#[test]
fn a_finding_for_programs() {
    let folder = tempdir().unwrap();
    write(folder.path(), "web.yaml", PRIVILEGED);
    let args = ["scan", "-o", "jsonl", "--namespace", "shop", "web.yaml"];
    let lines = provost(folder.path(), &args, "").lines();
    assert_eq!(lines.len(), 1);
    let mut line = lines[0].clone();
    let fix = line["fix"].take();
    assert!(fix.as_str().unwrap().starts_with("Set securityContext.privileged to false"));
    let fingerprint = line["fingerprint"].take();
    assert_eq!(fingerprint.as_str().map(str::len), Some(32));
    assert_eq!(
        line,
        json!({
            "file": "web.yaml", "line": 17, "column": 19,
            "policy": "privileged-container", "code": "A04", "severity": "critical",
            "message": "container \"web\" runs privileged: set securityContext.privileged to false",
            "fix": null, "fingerprint": null,
            "subject": {"type": "kubernetes", "group": "", "kind": "Pod", "namespace": "shop", "name": "web"},
            "binding": "default", "outcome": "fail",
            "path": "/spec/containers/0/securityContext/privileged",
            "patch": [{"op": "replace", "path": "/spec/containers/0/securityContext/privileged", "value": false}],
        })
    );
    let elsewhere = provost(folder.path(), &["scan", "-o", "jsonl", "web.yaml"], "").lines();
    assert_ne!(elsewhere[0]["fingerprint"], fingerprint, "the namespace is part of the subject");
}

#[test]
fn one_document_tells_everything() {
    let folder = tempdir().unwrap();
    write(folder.path(), "a.yaml", format!("{PRIVILEGED}---\n{CONFIG_MAP}---\nvalues: 1\n"));
    write(folder.path(), "bad.yaml", "a: [\n");
    let said = provost(folder.path(), &["scan", "-o", "json", "."], "");
    let document = said.document();
    assert_eq!(document["version"], 1);
    assert_eq!(document["findings"].as_array().unwrap().len(), 1);
    assert_eq!(document["problems"][0]["file"], "bad.yaml");
    assert_eq!(document["problems"][0]["code"], "syntax");
    assert_eq!(
        document["notEvaluated"],
        json!([{"file": "a.yaml", "line": 26, "reason": "no-kind"}])
    );
    assert_eq!(document["policiesNotEvaluated"][0]["policy"], "allowed-registries");
    let counts = &document["counts"];
    assert_eq!(counts["files"], 2);
    assert_eq!(counts["documents"], 3);
    assert_eq!(counts["evaluated"], 1);
    assert_eq!(counts["noPolicyMatches"], json!({"ConfigMap": 1}));
    assert_eq!(counts["bySeverity"], json!({"critical": 1}));
    let outcomes: Vec<_> =
        document["verdicts"].as_array().unwrap().iter().map(|v| v["outcome"].clone()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "fail").count(), 1);
    assert!(outcomes.iter().filter(|outcome| **outcome == "pass").count() > 10, "{outcomes:?}");
    assert_eq!(said.code, 3, "what could not be read wins over violations");
    assert!(said.err.contains("error: bad.yaml:"), "{}", said.err);
}

#[test]
fn exit_codes() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write(root, "privileged.yaml", PRIVILEGED);
    write(root, "clean.yaml", clean());
    write(root, "unlabelled.yaml", clean().replace("app.kubernetes.io/part-of", "part-of"));
    write(root, "config.yaml", CONFIG_MAP);
    write(root, "list.json", r#"{"apiVersion":"v1","kind":"List","items":[]}"#);
    for (args, code) in [
        (&["clean.yaml"][..], 0),
        (&["config.yaml"], 0),
        (&["list.json"], 0),
        (&["privileged.yaml"], 1),
        (&["privileged.yaml", "--fail-on", "critical"], 1),
        (&["unlabelled.yaml"], 1),
        (&["unlabelled.yaml", "--fail-on", "medium"], 0),
        (&["privileged.yaml", "--policy-id", "host-pid"], 0),
        (&["privileged.yaml", "--policy-id", "a04,host-pid"], 1),
        (&["privileged.yaml", "--exclude", "priv*"], 0),
        (&["."], 1),
        (&[".", "--exclude", "./privileged.yaml", "--exclude", "unlabelled.yaml"], 0),
        (&["."; 2], 1),
        (&[], 2),
        (&["--fail-on", "hihg", "."], 2),
        (&["--policy-id", "nothing", "."], 2),
        (&["--policy", "missing", "."], 2),
        (&["--policy", "clean.yaml", "."], 2),
        (&["--exclude", "a[", "."], 2),
        (&["--exclude", "", "."], 2),
        (&["--exclude", "./", "."], 2),
        (&["--namespace", "Not A Namespace", "."], 2),
        (&["--config", "missing.yaml", "."], 2),
        (&["missing.yaml"], 3),
        (&["missing.yaml", "privileged.yaml"], 3),
    ] {
        let said = provost(root, &[&["scan"], args].concat(), "");
        assert_eq!(said.code, code, "{args:?}\n{}\n{}", said.out, said.err);
        let holds_nothing = args.contains(&"priv*") || args.contains(&"list.json");
        assert_eq!(said.err.is_empty(), code < 2 && !holds_nothing, "{args:?}: {}", said.err);
    }
}

#[test]
fn bad_input_of_each_kind_is_listed_and_the_rest_goes_on() {
    for (name, content, expected) in [
        ("bad.yaml", b"kind: [\n".to_vec(), "bad.yaml:1:7: unclosed bracket"),
        ("dup.yaml", b"a: 1\na: 2\n".to_vec(), "dup.yaml:2:1: the key `a` stands twice"),
        ("latin1.yaml", b"a: \xe9\n".to_vec(), "latin1.yaml:1:4: is not UTF-8"),
        (
            "noname.yaml",
            b"apiVersion: v1\nkind: Pod\nmetadata: {}\n".to_vec(),
            "noname.yaml:3:1: Pod has no `metadata.name`",
        ),
        (
            "bool.yaml",
            b"apiVersion: v1\nkind: Pod\nmetadata: {name: no}\n".to_vec(),
            "bool.yaml:3:18: `metadata.name` is a boolean",
        ),
        ("bad.json", b"{\"a\": 1,}".to_vec(), "bad.json:1:9: expected a key"),
        (
            "deep.yaml",
            [b"[".repeat(5_000), b"]".repeat(5_000)].concat(),
            "nested deeper than 128 levels",
        ),
        (
            "bomb.yaml",
            bomb().into_bytes(),
            "anchors and aliases of the document expand to more than",
        ),
    ] {
        let folder = tempdir().unwrap();
        write(folder.path(), name, content);
        write(folder.path(), "zz.yaml", PRIVILEGED);
        let said = provost(folder.path(), &["scan", "-o", "jsonl", "."], "");
        assert_eq!(said.code, 3, "{name}");
        assert_eq!(said.lines().len(), 1, "{name}: the other file is still checked");
        assert!(said.err.contains(expected) && said.err.contains("help: "), "{name}: {}", said.err);
    }
}

fn bomb() -> String {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, of) in "bcdefgh".chars().zip("abcdefg".chars()) {
        text.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(", ")));
    }
    text
}

#[test]
fn standard_input_is_a_file_too() {
    let folder = tempdir().unwrap();
    let said = provost(folder.path(), &["scan", "-o", "jsonl", "-"], &format!("---\n{PRIVILEGED}"));
    assert_eq!(
        (said.code, said.lines()[0]["file"].as_str(), said.lines()[0]["line"].as_u64()),
        (1, Some("-"), Some(18))
    );
    let said = provost(folder.path(), &["scan", "-"], "");
    assert_eq!(said.code, 0);
    assert!(said.err.contains("nothing was checked"), "{}", said.err);
}

#[test]
fn what_is_no_object_is_listed_and_leaves_the_exit_code_alone() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write(root, "kustomization.yaml", "resources: [web.yaml]\npatches: [{path: patch.yaml}]\n");
    write(root, "web.yaml", clean());
    write(
        root,
        "patch.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {hostPID: true}\n",
    );
    write(root, "chart/Chart.yaml", "apiVersion: v2\nname: c\n");
    write(root, "chart/templates/d.yaml", "kind: {{ .Values.kind }}\n");
    let said = provost(root, &["scan", "."], "");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for line in [
        "  chart/Chart.yaml:1 no apiVersion and kind\n",
        "  chart/templates/d.yaml:1 template\n",
        "  kustomization.yaml:1 kustomization\n",
        "  patch.yaml:1 patch\n",
        "1 document unrendered",
    ] {
        assert!(said.out.contains(line), "{line}{}", said.out);
    }
}

#[test]
fn settings_are_found_upwards_and_flags_win() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write(root, "team/web.yaml", PRIVILEGED);
    write(root, "team/vendor/web.yaml", PRIVILEGED);
    write(root, "elsewhere/x.yaml", CONFIG_MAP);
    write(
        root,
        ".provost.yaml",
        "exclude: [team/vendor]\nnamespace: shop\npolicyIds: [privileged-container]\n",
    );
    let team = root.join("team");
    let said = provost(&team, &["scan", "-o", "jsonl", "."], "");
    assert_eq!(said.lines().len(), 1, "{}", said.out);
    assert_eq!(said.lines()[0]["subject"]["namespace"], "shop");
    let said = provost(
        &root.join("elsewhere"),
        &["scan", "../team", "--namespace", "own", "-o", "jsonl"],
        "",
    );
    assert_eq!(said.lines().len(), 1, "patterns count from the file: {}", said.out);
    assert_eq!(said.lines()[0]["subject"]["namespace"], "own");
    let said = provost(&team, &["scan", "--no-config", "-o", "jsonl", "."], "");
    assert_eq!(said.lines().len(), 2);

    write(root, "team/.provost.yaml", "failOn: critical\nnamspace: a\n");
    let said = provost(&team, &["scan", "."], "");
    assert_eq!(said.code, 2);
    assert!(said.err.contains(".provost.yaml:2:1: unknown key `namspace`"), "{}", said.err);
}

const OWN_POLICY: &str = r#"# METADATA
# title: Pods are called web
# description: A test.
# custom:
#   id: called-web
#   severity: medium
#   category: standards
#   kinds: [{group: "", kinds: [Pod]}]
#   action: deny
#   failMode: open
#   remediation: Call it web.
package provost.own.called_web

violation contains {"msg": "not web", "path": ["metadata", "name"]} if {
	input.review.object.metadata.name != "web"
}
"#;

#[test]
fn own_policies_take_the_place_of_the_library() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write(root, "policies/own/called-web/policy.rego", OWN_POLICY);
    write(
        root,
        "pods.yaml",
        format!("{PRIVILEGED}---\n{}", PRIVILEGED.replace("name: web\n", "name: db\n")),
    );
    let said = provost(root, &["scan", "--policy", "policies", "-o", "jsonl", "pods.yaml"], "");
    let found: Vec<_> =
        said.lines().iter().map(|line| (line["policy"].clone(), line["line"].clone())).collect();
    assert_eq!(found, [(json!("called-web"), json!(25))], "{}", said.err);

    write(root, "twin/own/called-web/policy.rego", OWN_POLICY);
    let said =
        provost(root, &["scan", "--policy", "policies", "--policy", "twin", "pods.yaml"], "");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("called-web stands in policies and in twin"), "{}", said.err);

    let broken = OWN_POLICY.replace("!= \"web\"", "!= undefined_thing(");
    write(root, "broken/own/called-web/policy.rego", broken);
    let said = provost(root, &["scan", "--policy", "broken", "pods.yaml"], "");
    assert_eq!(said.code, 3, "a policy that does not compile is not evaluated: {}", said.err);
    assert!(said.err.contains("called-web/policy.rego:"), "{}", said.err);

    let shape = OWN_POLICY
        .replace("{\"msg\": \"not web\", \"path\": [\"metadata\", \"name\"]}", "\"not web\"");
    write(root, "shape/own/called-web/policy.rego", shape);
    let said = provost(root, &["scan", "--policy", "shape", "pods.yaml"], "");
    assert_eq!(said.code, 3, "an outcome error is listed: {}", said.err);
    assert!(
        said.err.contains("policy called-web could not be evaluated on Pod db"),
        "{}",
        said.err
    );
}

/// Guarantee: what is wrong with a policy of a tree is told, and costs that policy alone.
#[test]
fn a_bad_policy_stops_no_other() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write(root, "policies/own/called-web/policy.rego", OWN_POLICY);
    let another = |slug: &str| {
        OWN_POLICY.replace("called-web", slug).replace("called_web", &slug.replace('-', "_"))
    };
    let library =
        another("no-library").replace("violation", "import data.provost.lib.gone\n\nviolation");
    for (slug, text) in [
        ("no-library", library),
        ("no-metadata", another("no-metadata").replace("severity: medium", "severity: red")),
        ("no-rego", another("no-rego").replace("!= \"web\"", "!= (")),
    ] {
        write(root, &format!("policies/own/{slug}/policy.rego"), text);
        let binding = format!("id: everywhere\npolicy: {slug}\n");
        write(root, &format!("policies/bindings/{slug}.yaml"), binding);
    }
    write(root, "pod.yaml", PRIVILEGED.replace("name: web\n", "name: db\n"));
    let said = provost(root, &["scan", "--policy", "policies", "-o", "jsonl", "pod.yaml"], "");
    assert_eq!(said.code, 3, "{}", said.err);
    let found: Vec<_> = said.lines().iter().map(|line| line["policy"].clone()).collect();
    assert_eq!(found, [json!("called-web")], "{}", said.err);
    for slug in ["no-library", "no-metadata", "no-rego"] {
        assert!(said.err.contains(&format!("policies/own/{slug}/policy.rego:")), "{}", said.err);
    }
    let args = ["scan", "--policy", "policies", "--policy-id", "no-metadata", "pod.yaml"];
    let said = provost(root, &args, "");
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("unknown variant `red`"), "{}", said.err);

    write(root, "policies/lib/odd.rego", "package elsewhere\n");
    let said = provost(root, &["scan", "--policy", "policies", "pod.yaml"], "");
    assert_eq!((said.code, said.out.as_str()), (3, ""), "what all share must be whole");
}

#[test]
fn a_built_bundle_is_used_whole_or_not_at_all() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write(root, "policies/own/called-web/policy.rego", OWN_POLICY);
    write(root, "pod.yaml", PRIVILEGED.replace("name: web\n", "name: db\n"));
    let args = ["bundle", "build", "policies", "--out", "bundle", "--version", "1", "--skip-tests"];
    let built = provost(root, &args, "");
    assert_eq!(built.code, 0, "{}{}", built.out, built.err);
    let scan = ["scan", "--policy", "bundle", "-o", "jsonl", "pod.yaml"];
    let said = provost(root, &scan, "");
    assert_eq!((said.code, said.lines().len()), (1, 1), "{}", said.err);
    assert_eq!(said.lines()[0]["policy"], "called-web");

    let blob =
        std::fs::read_dir(root.join("bundle/blobs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let said = provost(root, &scan, "");
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("bundle is no usable bundle"), "{}", said.err);

    write(root, "policies/own/called-web/policy.rego", OWN_POLICY.replace("medium", "middling"));
    let said = provost(root, &["scan", "--policy", "policies", "pod.yaml"], "");
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("policies/own/called-web/policy.rego:6:15: "), "{}", said.err);
}

#[test]
fn two_documents_of_one_key_are_both_evaluated() {
    let folder = tempdir().unwrap();
    write(folder.path(), "twice.yaml", format!("{PRIVILEGED}---\n{PRIVILEGED}"));
    let lines = provost(folder.path(), &["scan", "-o", "jsonl", "twice.yaml"], "").lines();
    let places: Vec<_> = lines.iter().map(|line| line["line"].as_u64()).collect();
    assert_eq!(places, [Some(17), Some(38)]);
    assert_eq!(
        lines[0]["fingerprint"], lines[1]["fingerprint"],
        "neither file nor line is part of it"
    );
}
