//! Reading a policy tree.

use provost_bundle::diagnostic::Diagnostic;
use provost_bundle::{Expectation, source};
use provost_model::Code;
use serde_json::json;

use crate::tree::Tree;

#[test]
fn a_tree_becomes_a_bundle() {
    let bundle = Tree::new().read().unwrap().into_bundle();
    let ids: Vec<&str> = bundle.policies.iter().map(|p| p.meta.id.as_str()).collect();
    assert_eq!(ids, ["privileged", "registries"]);

    let privileged = &bundle.policies[0];
    assert_eq!(privileged.folder, "pods/privileged");
    assert_eq!(privileged.module.package, "provost.pods.privileged");
    assert_eq!(privileged.tests.len(), 1);
    let imports: Vec<&str> =
        privileged.imports(&bundle.libraries).iter().map(|m| m.path.as_str()).collect();
    assert_eq!(imports, ["lib/objects.rego", "lib/pods.rego"]);
    assert!(bundle.policies[1].imports(&bundle.libraries).is_empty());

    let [fail, pass] = &privileged.examples[..] else { panic!("{:?}", privileged.examples) };
    let (fail, pass) = if fail.name == "one" { (fail, pass) } else { (pass, fail) };
    assert_eq!((fail.expectation, pass.expectation), (Expectation::Fail, Expectation::Pass));
    assert_eq!(fail.documents.len(), 2);
    assert_eq!(fail.documents[0]["spec"], json!({"hostPID": true}));
    assert_eq!(fail.input.parameters["allowed"], json!(["a"]));
    assert_eq!(fail.input.cluster.as_ref().unwrap().version, "v1.31.0");

    let bindings: Vec<String> =
        bundle.bindings.iter().map(|b| format!("{}/{}", b.policy, b.id)).collect();
    assert_eq!(bindings, ["privileged/edge", "registries/ours"]);
    assert_eq!(bundle.library_tests.len(), 1);
}

#[test]
fn a_tree_on_disk_reads_as_in_memory_and_one_policy_takes_its_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("policies");
    Tree::new().write(&root);
    std::fs::create_dir(root.join(".git")).unwrap();
    std::fs::write(root.join(".git/x.rego"), "package hidden").unwrap();
    let whole = source::read_dir(&root).unwrap().into_bundle();
    assert_eq!(whole, Tree::new().read().unwrap().into_bundle());

    let one = source::read_dir(&root.join("pods/privileged")).unwrap().into_bundle();
    assert_eq!(one.policies, whole.policies[..1]);
    assert!(one.bindings.is_empty());

    let missing = source::read_dir(&root.join("nowhere")).unwrap_err();
    assert_eq!(missing[0].code, Code::NotFound);
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let policy = "pods/privileged/policy.rego";
    let bindings = "bindings/edge.yaml";
    let tree = Tree::new;
    for (name, tree, code, at, says) in [
        (
            "id and folder differ",
            tree().replace(policy, "id: privileged", "id: other"),
            Code::MetadataInvalid,
            "tree/pods/privileged/policy.rego:4:5",
            "folder is privileged",
        ),
        (
            "package and folder differ",
            tree().replace(policy, "package provost.pods.privileged", "package provost.x"),
            Code::MetadataInvalid,
            "tree/pods/privileged/policy.rego:11:1",
            "package provost.pods.privileged",
        ),
        (
            "unknown library",
            tree().replace(policy, "data.provost.lib.pods", "data.provost.lib.prods"),
            Code::CompileFailed,
            "tree/pods/privileged/policy.rego:13:1",
            "provost.lib.prods",
        ),
        (
            "another policy imported",
            tree().replace(policy, "data.provost.lib.pods", "data.provost.images.registries"),
            Code::CompileFailed,
            "tree/pods/privileged/policy.rego:13:1",
            "alone",
        ),
        (
            "bad word in metadata",
            tree().replace(policy, "action: deny", "action: block"),
            Code::MetadataInvalid,
            "tree/pods/privileged/policy.rego:10:13",
            "deny",
        ),
        (
            "no policy.rego",
            tree().without(policy),
            Code::FileMissing,
            "tree/pods/privileged",
            "policy.rego",
        ),
        (
            "stray rego",
            tree().with("pods/privileged/more.rego", "package x"),
            Code::FileUnexpected,
            "tree/pods/privileged/more.rego",
            "lib/*.rego",
        ),
        (
            "library in the wrong package",
            tree().replace("lib/unused.rego", "lib.unused", "lib.used"),
            Code::MetadataInvalid,
            "tree/lib/unused.rego:1:1",
            "provost.lib.unused",
        ),
        (
            "unknown policy bound",
            tree().replace(bindings, "policy: registries", "policy: registry"),
            Code::NotFound,
            "tree/bindings/edge.yaml:9",
            "no policy registry",
        ),
        (
            "unknown parameter",
            tree().replace(bindings, "{allowed: [r", "{alowed: [r"),
            Code::ParameterInvalid,
            "tree/bindings/edge.yaml:9",
            "it has: allowed",
        ),
        (
            "parameter of the wrong type",
            tree().replace(bindings, "[registry.example.org]", "[1]"),
            Code::ParameterInvalid,
            "tree/bindings/edge.yaml:9",
            "allowed[0] must be of type string",
        ),
        (
            "binding named default",
            tree().replace(bindings, "id: ours", "id: default"),
            Code::Conflict,
            "tree/bindings/edge.yaml:9",
            "default",
        ),
        (
            "one binding twice",
            tree().replace(
                bindings,
                "id: ours\npolicy: registries\nparameters: {allowed: [registry.example.org]}",
                "id: edge\npolicy: privileged",
            ),
            Code::Conflict,
            "tree/bindings/edge.yaml:9",
            "another binding named edge",
        ),
        (
            "kind that the policy does not match",
            tree().replace(
                bindings,
                "{namespaces: [shop-*]}",
                "{kinds: [{group: apps, kinds: [Pod]}]}",
            ),
            Code::Invalid,
            "tree/bindings/edge.yaml:9",
            "does not match kind Pod of group",
        ),
        (
            "selector without values",
            tree().replace(
                bindings,
                "{namespaces: [shop-*]}",
                "{clusters: {matchExpressions: [{key: tier, operator: In}]}}",
            ),
            Code::Invalid,
            "tree/bindings/edge.yaml:9",
            "need values",
        ),
        (
            "unknown field of a binding",
            tree().replace(bindings, "action: warn", "acton: warn"),
            Code::Malformed,
            "tree/bindings/edge.yaml:3",
            "acton",
        ),
        (
            "broken YAML",
            tree().with("pods/privileged/examples/pass/two.yaml", "a: [\n"),
            Code::Malformed,
            "tree/pods/privileged/examples/pass/two.yaml:1",
            "",
        ),
        (
            "empty example",
            tree().with("pods/privileged/examples/pass/two.yaml", "# nothing\n"),
            Code::Malformed,
            "tree/pods/privileged/examples/pass/two.yaml",
            "at least one",
        ),
        (
            "input without example",
            tree().with("pods/privileged/examples/pass/three.input.yaml", "parameters: {}\n"),
            Code::FileMissing,
            "tree/pods/privileged/examples/pass/three.input.yaml",
            "three",
        ),
        (
            "unknown field of an input",
            tree().with("pods/privileged/examples/pass/two.input.yaml", "params: {}\n"),
            Code::Malformed,
            "tree/pods/privileged/examples/pass/two.input.yaml:1:1",
            "params",
        ),
        (
            "example of no policy",
            tree().with("pods/gone/examples/pass/a.yaml", "a: 1\n"),
            Code::FileMissing,
            "tree/pods/gone/examples/pass/a.yaml",
            "pods/gone",
        ),
    ] {
        let problems = tree.read().expect_err(name);
        let shown: Vec<String> = problems.iter().map(Diagnostic::to_string).collect();
        assert_eq!(problems.len(), 1, "{name}: {shown:#?}");
        assert_eq!(problems[0].code, code, "{name}: {}", shown[0]);
        assert!(shown[0].starts_with(at), "{name}: {}", shown[0]);
        assert!(shown[0].contains(says), "{name}: {}", shown[0]);
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let problems = Tree::new()
        .replace("pods/privileged/policy.rego", "severity: critical", "severity: bad")
        .replace("images/registries/policy.rego", "severity: high", "severity: worse")
        .with("bindings/x.yaml", "id: x\n")
        .read()
        .unwrap_err();
    let files: Vec<&str> = problems.iter().map(|p| p.file.as_str()).collect();
    assert_eq!(
        files,
        [
            "tree/bindings/x.yaml",
            "tree/images/registries/policy.rego",
            "tree/pods/privileged/policy.rego"
        ]
    );
}

#[test]
fn a_tree_without_a_policy_is_a_mistake() {
    let problems = source::from_files("tree", &std::collections::BTreeMap::new()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "tree: NOT_FOUND: there is no policy in it (a policy stands in <area>/<policy>/policy.rego)"
    );
}

#[test]
fn an_alias_bomb_is_told_and_not_unfolded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = level - 1;
        let all = vec![format!("*a{before}"); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{all}]\n"));
    }
    let metadata: String = bomb.lines().map(|line| format!("# {line}\n")).collect();
    for (path, text) in [
        ("pods/privileged/examples/pass/two.yaml", bomb.clone()),
        ("bindings/edge.yaml", bomb.clone()),
        ("pods/privileged/examples/fail/one.input.yaml", bomb.clone()),
        ("pods/privileged/policy.rego", format!("# METADATA\n{metadata}package x\n")),
    ] {
        let problems = Tree::new().with(path, &text).read().expect_err(path);
        assert!(problems.iter().any(|problem| problem.file.ends_with(path)), "{problems:?}");
    }
}

#[test]
fn no_complaint_carries_what_moves_a_cursor() {
    let field = Tree::new().with("bindings/edge.yaml", "\"\\e[2J\": 1\n");
    let name = Tree::new().with("pods/privileged/\u{1b}[2J.rego", "");
    for tree in [field, name] {
        let shown = tree.read().unwrap_err()[0].to_string();
        assert!(!shown.contains('\u{1b}') && shown.contains("[2J"), "{shown:?}");
    }
}

#[test]
fn line_ends_of_another_system_are_read() {
    let policy = "pods/privileged/policy.rego";
    let text = crate::tree::PRIVILEGED.replace('\n', "\r\n");
    let bundle = Tree::new().with(policy, &text).read().unwrap().into_bundle();
    assert_eq!(bundle.policies[0].module.package, "provost.pods.privileged");
    assert_eq!(bundle.policies[0].meta.title, "No privileged container");
}
