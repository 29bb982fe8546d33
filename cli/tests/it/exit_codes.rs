//! One rule for 2 and 3: what is wrong with the line itself is a wrong call (2), what is wrong with the world
//! leaves it undone (3).

use std::path::Path;

use serde_json::json;

use crate::fleet::hub;
use crate::program::{Said, provost, write};
use crate::trust;

fn ends(folder: &Path, line: &str, code: i32, says: &str) {
    let arguments: Vec<&str> = line.split(' ').collect();
    let said = provost(folder, &arguments, "");
    assert_eq!(said.code, code, "provost {line}\n{}{}", said.out, said.err);
    assert!(said.err.contains(says), "provost {line}\n{}", said.err);
}

#[test]
fn files_that_do_not_exist_or_do_not_belong_are_a_wrong_call() {
    let folder = trust::fleet();
    let path = folder.path();
    trust::signed_root(path);
    trust::signed_bundle(path);
    write(path, "token", "secret\n");
    let away = "fleet clusters --server http://127.0.0.1:1";
    for (line, says) in [
        ("test nowhere", "does not exist"),
        ("test token", "is no folder"),
        ("bundle build nowhere --out c --version 1", "no folder"),
        ("scan --policy nowhere .", "does not exist"),
        ("bundle sign b --key root.pub.json", "a private key is needed"),
        ("bundle sign b --key token", "key file"),
        ("bundle sign b --key nowhere.json", "does not exist"),
        ("bundle sign b --key policy.key.json --root nowhere.json", "does not exist"),
        ("bundle sign b --key policy.key.json --root token", "is no root"),
        ("bundle sign b --key root.key.json --root root.json", "no policy role"),
        ("root sign --key root.pub.json", "a private key is needed"),
        ("keys show token", "key file"),
        ("keys show nowhere.json", "neither a file"),
        ("verify-reports --from nowhere --roots root.json", "no finished export"),
        (&format!("{away} --token-file nowhere"), "does not exist"),
        (&format!("{away} --token-file token --ca nowhere"), "does not exist"),
    ] {
        ends(path, line, 2, says);
    }
    ends(path, &format!("{away} --token-file token"), 3, "cannot be reached");
    ends(path, &format!("{away} --token-file ."), 3, "cannot read");
    ends(path, "scan nowhere.yaml", 3, "no such file");
    write(path, "policies/pods/no-host-network/policy.rego", "package");
    ends(path, "test policies", 3, "");
    ends(path, "bundle build policies --out c --version 1", 3, "mistake");
}

fn ask(line: &str, answers: Vec<(u16, serde_json::Value)>) -> Said {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "token", "secret\n");
    let (url, asked) = hub(answers.into_iter().map(|(s, body)| (s, body.to_string())).collect());
    let line = format!("{line} --server {url} --token-file token");
    let said = provost(folder.path(), &line.split(' ').collect::<Vec<_>>(), "");
    asked.join().unwrap();
    said
}

#[test]
fn what_the_hub_refuses_as_such_is_a_wrong_call() {
    let refused = |status: u16, code: &str| {
        vec![(status, json!({"status": status, "code": code, "detail": "not so"}))]
    };
    let findings = "fleet findings --severity nope";
    assert_eq!(ask(findings, refused(400, "INVALID")).code, 2);
    assert_eq!(ask(findings, refused(401, "UNAUTHENTICATED")).code, 3);
    assert_eq!(ask(findings, refused(403, "FORBIDDEN")).code, 3);
    assert_eq!(ask(findings, refused(503, "UNAVAILABLE")).code, 3);

    let taken = ask("fleet api-token create ci", refused(409, "CONFLICT"));
    assert_eq!(taken.code, 2);
    assert!(taken.err.contains("choose another name"), "{}", taken.err);
}

#[test]
fn no_finding_of_a_cluster_that_does_not_exist_is_no_good_news() {
    let clusters = || (200, json!({"items": [{"id": "0a", "name": "store-14"}]}));
    let none = || (200, json!({"items": [], "total": 0}));
    for format in ["pretty", "json", "jsonl"] {
        let said = ask(&format!("fleet findings --cluster store-1 -o {format}"), vec![clusters()]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{format}");
        assert!(said.err.contains("no cluster store-1"), "{}", said.err);
    }
    let good = ask("fleet findings --cluster store-14 -o json", vec![clusters(), none()]);
    assert_eq!(good.code, 0, "{}", good.err);
    let pattern = ask("fleet findings --cluster store-* -o json", vec![none()]);
    assert_eq!(pattern.code, 0, "{}", pattern.err);
}

#[test]
fn signing_without_a_root_says_that_nobody_asked_for_the_role() {
    let folder = trust::fleet();
    let path = folder.path();
    trust::signed_root(path);
    trust::signed_bundle(path);
    let said = provost(path, &["bundle", "sign", "b", "--key", "root.key.json"], "");
    assert_eq!(said.code, 0);
    assert!(said.err.contains("warning") && said.err.contains("--root"), "{}", said.err);
    let asked = ["bundle", "sign", "b", "--key", "policy.key.json", "--root", "root.json"];
    assert_eq!(provost(path, &asked, "").err, "");
}
