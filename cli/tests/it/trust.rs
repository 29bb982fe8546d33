//! Keys, root and bundle, from the first key to a bundle that verifies, and every wrong turn.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::program::{Said, provost, write};

const POLICY: &str = r#"# METADATA
# title: No host network
# custom:
#   id: no-host-network
#   severity: high
#   category: security
#   kinds: [{group: "", kinds: [Pod]}]
#   action: deny
package provost.pods.no_host_network

violation contains {"msg": "host network", "path": ["spec", "hostNetwork"]} if {
	input.review.object.spec.hostNetwork == true
}
"#;

const FAILING: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: true}\n";
const BINDING: &str = "id: edge\npolicy: no-host-network\naction: warn\nmatch: {clusters: {matchLabels: {tier: edge}}}\n";

/// A folder with a policy tree and the keys of a small fleet.
pub fn fleet() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "policies/pods/no-host-network/policy.rego", POLICY);
    write(path, "policies/pods/no-host-network/examples/fail/pod.yaml", FAILING);
    write(path, "policies/bindings/edge.yaml", BINDING);
    for name in ["root", "policy", "director"] {
        good(path, &["keys", "generate", "--out", &format!("{name}.key.json"), "--name", name]);
    }
    folder
}

pub fn good(folder: &Path, args: &[&str]) -> Said {
    let said = provost(folder, args, "");
    assert_eq!(said.code, 0, "provost {}\n{}{}", args.join(" "), said.out, said.err);
    said
}

fn bad(folder: &Path, args: &[&str], code: i32, says: &str) {
    let said = provost(folder, args, "");
    let text = format!("{}{}", said.out, said.err);
    assert_eq!(said.code, code, "provost {}\n{text}", args.join(" "));
    assert!(text.contains(says), "provost {}\n{text}", args.join(" "));
}

pub fn signed_root(folder: &Path) {
    good(folder, &["root", "init", "--key", "root.pub.json", "--policy-key", "policy.pub.json"]);
    good(folder, &["root", "add-key", "--role", "director", "--public", "director.pub.json"]);
    good(folder, &["root", "sign", "--key", "root.key.json"]);
}

pub fn signed_bundle(folder: &Path) {
    good(folder, &["bundle", "build", "policies", "--out", "b", "--version", "1"]);
    good(folder, &["bundle", "sign", "b", "--key", "policy.key.json", "--root", "root.json"]);
}

fn verification(folder: &Path, args: &[&str]) -> (i32, Value) {
    let mut all = vec!["bundle", "verify", "b", "-o", "json"];
    all.extend(args);
    let said = provost(folder, &all, "");
    (said.code, said.document())
}

#[test]
fn from_the_first_key_to_a_bundle_that_verifies() {
    let folder = fleet();
    let path = folder.path();
    signed_root(path);
    signed_bundle(path);
    let (code, document) = verification(path, &[]);
    assert_eq!((code, &document["valid"]), (0, &Value::Bool(true)), "{document}");

    let inspected = good(path, &["bundle", "inspect", "b", "-o", "json"]).document();
    assert_eq!(inspected["policies"][0]["id"], "no-host-network");
    assert_eq!(inspected["bindings"][0]["id"], "edge");
    assert_eq!(inspected["manifest"]["channel"], "stable");
    let names: Vec<String> = inspected["manifest"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.iter().all(|n| n.ends_with(".rego") || n.ends_with(".json")), "{names:?}");
}

#[test]
fn private_keys_are_for_their_owner_and_stay_secret() {
    let folder = fleet();
    let path = folder.path();
    let mode = fs::metadata(path.join("root.key.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(path.join("root.key.json")).unwrap();
    bad(path, &["keys", "generate", "--out", "root.key.json"], 2, "never overwritten");
    assert_eq!(fs::read(path.join("root.key.json")).unwrap(), before);

    let key: Value = serde_json::from_slice(&before).unwrap();
    let seed = key["seed"].as_str().unwrap();
    for args in
        [&["keys", "show", "root.key.json"][..], &["keys", "show", "root.key.json", "-o", "json"]]
    {
        let said = good(path, args);
        assert!(said.out.contains(key["public"].as_str().unwrap()));
        assert!(!said.out.contains(seed) && !said.err.contains(seed));
    }
}

#[test]
fn a_root_rotates_and_its_history_stays() {
    let folder = fleet();
    let path = folder.path();
    signed_root(path);
    signed_bundle(path);
    good(path, &["keys", "generate", "--out", "bob.key.json"]);
    let added =
        ["root", "add-key", "--role", "root", "--public", "bob.pub.json", "--threshold", "2"];
    good(path, &added);
    bad(path, &["root", "show"], 1, "0 of 1 of version 1");
    bad(path, &["bundle", "verify", "b"], 3, "cannot be trusted");
    good(path, &["root", "sign", "--key", "root.key.json"]);
    bad(path, &["root", "show"], 1, "1 of 2 of its own root keys, 1 of 1 of version 1");
    good(path, &["root", "sign", "--key", "bob.key.json"]);
    let shown = good(path, &["root", "show", "-o", "json"]).document();
    assert_eq!((&shown["rootVersion"], &shown["versions"]), (&2.into(), &2.into()));
    assert_eq!(verification(path, &[]).0, 0);

    // Without the old root the new one still stands on its own; a forged old one is found.
    let one = fs::read_to_string(path.join("root.1.json")).unwrap();
    write(path, "root.1.json", one.replace("\"sig\":\"", "\"sig\":\"AAAA"));
    assert_ne!(verification_code(path), 0);
}

fn verification_code(folder: &Path) -> i32 {
    provost(folder, &["bundle", "verify", "b"], "").code
}

#[test]
fn a_draft_is_changed_in_place_and_a_wrong_key_is_told() {
    let folder = fleet();
    let path = folder.path();
    bad(path, &["root", "show"], 2, "provost root init");
    good(path, &["root", "init", "--key", "root.pub.json", "--threshold", "1"]);
    bad(path, &["root", "init", "--key", "root.pub.json"], 2, "exists");
    good(path, &["root", "add-key", "--role", "policy", "--public", "policy.pub.json"]);
    assert!(!path.join("root.1.json").exists(), "a draft has no history");
    bad(path, &["root", "sign", "--key", "policy.key.json"], 2, "does not hold the root role");
    bad(path, &["root", "sign", "--key", "root.pub.json"], 2, "private key");
    bad(
        path,
        &["root", "add-key", "--role", "director", "--public", "policy.pub.json"],
        2,
        "lies on the hub",
    );
    bad(
        path,
        &["root", "add-key", "--role", "boss", "--public", "policy.pub.json"],
        2,
        "unknown role",
    );
    good(path, &["root", "remove-key", "--role", "policy", "--public", "policy.pub.json"]);
    bad(
        path,
        &["root", "remove-key", "--role", "policy", "--public", "policy.pub.json"],
        2,
        "does not hold",
    );
}

#[test]
fn a_bundle_is_refused_for_what_is_wrong_with_it() {
    let folder = fleet();
    let path = folder.path();
    signed_root(path);
    let refused = |args: &[&str], expected: &str| {
        let (code, document) = verification(path, args);
        assert_eq!(code, 1, "{document}");
        assert_eq!(document["refusal"]["code"], expected, "{document}");
        assert!(document["refusal"]["help"].is_string(), "it does not say what to do: {document}");
    };
    good(
        path,
        &["bundle", "build", "policies", "--out", "b", "--version", "1", "--scope", "tier=edge"],
    );
    refused(&[], "UNSIGNED");
    good(path, &["bundle", "sign", "b", "--key", "root.key.json"]);
    refused(&[], "THRESHOLD_NOT_MET");
    bad(
        path,
        &["bundle", "sign", "b", "--key", "root.key.json", "--root", "root.json"],
        2,
        "no policy role",
    );
    good(path, &["bundle", "sign", "b", "--key", "policy.key.json"]);
    assert_eq!(verification(path, &["--label", "tier=edge"]).0, 0);
    refused(&["--label", "tier=cloud"], "OUT_OF_SCOPE");
    refused(&["--at", "2090-01-01T00:00:00Z"], "EXPIRED");

    let envelope = fs::read_to_string(path.join("b/bundle.dsse.json")).unwrap();
    write(path, "b/bundle.dsse.json", envelope.replacen('{', "{\"x\":1,", 1));
    refused(&[], "MALFORMED");
    write(path, "b/bundle.dsse.json", &envelope);

    let blobs: Vec<_> =
        fs::read_dir(path.join("b/blobs")).unwrap().map(|e| e.unwrap().path()).collect();
    let text = fs::read(&blobs[0]).unwrap();
    let mut altered = text.clone();
    altered[0] ^= 1;
    fs::write(&blobs[0], &altered).unwrap();
    refused(&[], "DIGEST_MISMATCH");
    bad(path, &["bundle", "sign", "b", "--key", "policy.key.json"], 3, "build it again");
    fs::remove_file(&blobs[0]).unwrap();
    refused(&[], "FILE_MISSING");
    fs::write(&blobs[0], &text).unwrap();
    write(path, "b/blobs/stray", "x");
    refused(&[], "FILE_UNEXPECTED");
}

#[test]
fn a_tree_with_a_mistake_is_not_built_and_every_mistake_has_its_place() {
    let folder = fleet();
    let path = folder.path();
    let build = ["bundle", "build", "policies", "--out", "b", "--version", "1"];
    let policy = "policies/pods/no-host-network/policy.rego";
    write(path, policy, POLICY.replace("severity: high", "severity: hihg"));
    bad(path, &build, 3, "policies/pods/no-host-network/policy.rego:5:15: METADATA_INVALID");
    write(path, policy, POLICY.replace("== true", "== false"));
    bad(path, &build, 1, "examples/fail/pod.yaml");
    assert!(!path.join("b").exists());
    good(path, &[&build[..], &["--skip-tests"]].concat());
    bad(path, &["bundle", "build", "nowhere", "--out", "b", "--version", "1"], 2, "no folder");
    bad(
        path,
        &["bundle", "build", "policies", "--out", "policies", "--version", "1", "--skip-tests"],
        3,
        "not empty",
    );
    bad(path, &["bundle", "inspect", "policies"], 2, "provost bundle build");
}

#[test]
fn a_build_is_reproducible_to_the_byte() {
    let folder = fleet();
    let path = folder.path();
    for out in ["one", "two"] {
        good(
            path,
            &[
                "bundle",
                "build",
                "policies",
                "--out",
                out,
                "--version",
                "1",
                "--created",
                "2026-11-22T05:00:00Z",
            ],
        );
    }
    let read = |out: &str| fs::read(path.join(out).join("bundle.dsse.json")).unwrap();
    assert_eq!(read("one"), read("two"));
}

#[test]
fn explain_tells_what_a_cluster_would_run() {
    let folder = fleet();
    let path = folder.path();
    let standing = |args: &[&str]| -> Vec<(String, String)> {
        let mut all = vec!["bundle", "explain", "policies", "-o", "json"];
        all.extend(args);
        let document = good(path, &all).document();
        let bindings = document["policies"][0]["bindings"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        bindings.iter().map(|b| (text(&b["binding"]), text(&b["standing"]))).collect()
    };
    let is = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(standing(&[]), [is("default", "fallback"), is("edge", "not-selected")]);
    assert_eq!(
        standing(&["--label", "tier=edge"]),
        [is("default", "superseded"), is("edge", "active")]
    );
    bad(path, &["bundle", "explain", "policies", "--policy-id", "other"], 2, "no policy other");
    bad(path, &["bundle", "explain", "policies", "--label", "tier"], 2, "key=value");
}

/// `text` with a mark in place of each time, which no test can know.
fn without_times(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let body = word.trim_end_matches([',', '\n']);
        let is_time = body.len() == 20 && body.ends_with('Z') && body.as_bytes()[10] == b'T';
        words.push(if is_time { word.replace(body, "TIME") } else { word.to_owned() });
    }
    words.join(" ")
}

/// Keys from fixed seeds and a fixed date: every byte that people see is the same each time.
#[test]
fn what_people_see_is_golden() {
    let folder = fleet();
    let path = folder.path();
    for (seed, name) in [(1, "root"), (2, "policy"), (3, "director")] {
        let key = provost_trust::KeyPair::from_seed(&[seed; 32]).unwrap();
        let private = provost_trust::key_file::private_json(&key, name).unwrap();
        write(path, &format!("{name}.key.json"), &*private);
        let public = provost_trust::key_file::public_json(key.public(), name).unwrap();
        write(path, &format!("{name}.pub.json"), public);
    }
    signed_root(path);
    let shown = good(path, &["root", "show"]).out;
    let shown: String =
        shown.lines().filter(|l| !l.starts_with("digest")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!("root_show", without_times(&shown));

    let build = ["bundle", "build", "policies", "--out", "b", "--version", "1"];
    let created = ["--created", "2026-11-22T05:00:00Z", "--expires-in", "36500d"];
    insta::assert_snapshot!("bundle_build", good(path, &[&build[..], &created].concat()).out);
    let sign = ["bundle", "sign", "b", "--key", "policy.key.json"];
    insta::assert_snapshot!("bundle_sign", good(path, &sign).out);
    insta::assert_snapshot!("bundle_inspect", good(path, &["bundle", "inspect", "b"]).out);
    insta::assert_snapshot!(
        "bundle_verify",
        without_times(&good(path, &["bundle", "verify", "b"]).out)
    );
    let explain = ["bundle", "explain", "b", "--label", "tier=edge"];
    insta::assert_snapshot!("bundle_explain", good(path, &explain).out);
}
