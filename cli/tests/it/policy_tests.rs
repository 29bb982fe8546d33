//! `provost test`: what it runs, what it says of failures, and how it ends.

use std::fs;
use std::path::Path;

use crate::program::{provost, root};

const POLICY: &str = r#"# METADATA
# title: No host network
# description: It is outside of every NetworkPolicy.
# custom:
#   id: no-host-network
#   severity: high
#   category: security
#   kinds: [{group: "", kinds: [Pod]}]
#   action: deny
#   failMode: open
#   remediation: Remove hostNetwork.
package provost.pods.no_host_network

violation contains {"msg": "uses the network of its node", "path": ["spec", "hostNetwork"]} if {
	input.review.object.spec.hostNetwork == true
}
"#;
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: true}\n";

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join("policies/pods/no-host-network").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn test(folder: &Path, args: &[&str]) -> (i32, String) {
    let said = provost(folder, &[&["test"], args].concat(), "");
    (said.code, format!("{}{}", said.out, said.err))
}

#[test]
fn a_tree_whose_tests_pass() {
    let tests = "package provost.pods.no_host_network_test\n\nimport data.provost.pods.no_host_network as policy\n\ntest_nothing_passes if count(policy.violation) == 0 with input as {}\n";
    let folder = tree(&[
        ("policy.rego", POLICY),
        ("policy_test.rego", tests),
        ("examples/fail/p.yaml", POD),
    ]);
    let (code, text) = test(folder.path(), &["-v"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("no-host-network/test_nothing_passes"), "{text}");
    assert!(text.contains("2 passed, 0 failed"), "{text}");
    let (code, text) = test(folder.path(), &["--run", "fail/p"]);
    assert_eq!((code, text.contains("1 tests: 1 passed")), (0, true), "{text}");
    let (code, text) = test(folder.path(), &["--run", "nothing like it"]);
    assert_eq!((code, text.contains("no test has")), (2, true), "{text}");
}

#[test]
fn failures_say_where_and_what_was_expected() {
    let tests = "package provost.pods.no_host_network_test\n\nimport data.provost.pods.no_host_network as policy\n\ntest_wrong if count(policy.violation) == 1 with input as {}\n";
    let folder = tree(&[
        ("policy.rego", POLICY),
        ("policy_test.rego", tests),
        ("examples/pass/p.yaml", POD),
    ]);
    let (code, text) = test(folder.path(), &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("policy_test.rego:5"), "{text}");
    assert!(text.contains("expected true, got undefined"), "{text}");
    assert!(
        text.contains("expected no violation, got spec.hostNetwork: uses the network"),
        "{text}"
    );
    let said = provost(folder.path(), &["test", "-o", "json"], "");
    let report = said.document();
    assert_eq!((said.code, &report["summary"]["failed"]), (1, &serde_json::json!(2)));
    assert_eq!(report["version"], 1);
}

#[test]
fn what_cannot_be_run_is_no_success() {
    let broken = POLICY.replace("== true", "== time.now_ns()");
    let tests = "package provost.pods.no_host_network_test\n\ntest_nothing if true\n";
    let folder = tree(&[
        ("policy.rego", &broken),
        ("policy_test.rego", tests),
        ("examples/fail/p.yaml", POD),
    ]);
    let (code, text) = test(folder.path(), &[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("1 could not be evaluated"), "told once: {text}");
    assert!(
        text.contains("policy.rego:15") && text.contains("time.now_ns is not allowed"),
        "{text}"
    );
    let (code, text) = test(folder.path(), &["nowhere"]);
    assert_eq!(code, 2, "{text}");
}

#[test]
fn the_library_passes() {
    let (code, text) = test(&root(), &["policies"]);
    assert_eq!(code, 0, "{text}");
}
