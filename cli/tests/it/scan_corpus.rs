//! `provost scan` on the fixtures of this tree and on real manifests, against what was read by eye.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::program::{corpus, provost, root};

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

#[test]
fn fixtures_have_exactly_the_findings_written_down() {
    let fixtures = root().join("testkit/fixtures");
    let expected: BTreeSet<String> = std::fs::read_to_string(fixtures.join("expected.tsv"))
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let said = provost(&fixtures, &["scan", "--no-config", "-o", "jsonl", "."], "");
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let lines = said.lines();
    let found: BTreeSet<String> = lines
        .iter()
        .map(|line| {
            let subject = &line["subject"];
            let namespace =
                Some(text(subject, "namespace")).filter(|namespace| !namespace.is_empty());
            let place = [text(subject, "kind"), namespace.unwrap_or("-"), text(subject, "name")];
            [&[text(line, "file")], &place[..], &[text(line, "policy"), text(line, "path")]]
                .concat()
                .join("\t")
        })
        .collect();
    assert_eq!(found.len(), lines.len());
    let missing: Vec<_> = expected.difference(&found).collect();
    let unexpected: Vec<_> = found.difference(&expected).collect();
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "missing {missing:#?}\nunexpected {unexpected:#?}"
    );
    let fingerprints: BTreeSet<&str> = lines.iter().map(|line| text(line, "fingerprint")).collect();
    assert_eq!(fingerprints.len(), lines.len(), "every finding has a fingerprint of its own");
}

/// Line, column, kind and policy of every finding in ingress-nginx/deploy.yaml, read by eye.
const INGRESS_NGINX: &[(u64, u64, &str, &str)] = &[
    (338, 3, "Service", "recommended-labels"),
    (371, 3, "Service", "recommended-labels"),
    (394, 3, "Deployment", "recommended-labels"),
    // `resources` has requests and no limits.
    (484, 9, "Deployment", "memory-limit"),
    // `readOnlyRootFilesystem: false` stands there.
    (495, 35, "Deployment", "read-only-root-filesystem"),
    (518, 3, "Job", "recommended-labels"),
    // Neither job has resources.
    (539, 9, "Job", "memory-limit"),
    (539, 9, "Job", "memory-request"),
    (572, 3, "Job", "recommended-labels"),
    (593, 9, "Job", "memory-limit"),
    (593, 9, "Job", "memory-request"),
];

#[test]
fn ingress_nginx_has_exactly_the_findings_read_by_eye() {
    let Some(corpus) = corpus() else { return };
    let said = provost(&corpus, &["scan", "--no-config", "-o", "jsonl", "ingress-nginx"], "");
    let lines = said.lines();
    let found: Vec<_> = lines
        .iter()
        .map(|line| {
            let (row, column) = (line["line"].as_u64().unwrap(), line["column"].as_u64().unwrap());
            (row, column, text(&line["subject"], "kind"), text(line, "policy"))
        })
        .collect();
    assert_eq!(found, INGRESS_NGINX);
}

/// By folder of the corpus and policy: how many findings, each read by eye.
const COUNTS: &[(&str, &str, usize)] = &[
    ("argo-cd", "memory-limit", 15),
    ("argo-cd", "memory-request", 15),
    ("argo-cd", "mutable-image-tag", 8),
    ("argo-cd", "recommended-labels", 20),
    ("argo-cd", "wildcard-verbs", 2),
    ("ingress-nginx", "memory-limit", 3),
    ("ingress-nginx", "memory-request", 2),
    ("ingress-nginx", "read-only-root-filesystem", 1),
    ("ingress-nginx", "recommended-labels", 5),
    ("online-boutique", "memory-limit", 1),
    ("online-boutique", "memory-request", 1),
    ("online-boutique", "recommended-labels", 24),
    ("podinfo-kustomize", "drop-capabilities", 13),
    ("podinfo-kustomize", "host-port", 2),
    ("podinfo-kustomize", "privilege-escalation", 14),
    ("podinfo-kustomize", "read-only-root-filesystem", 14),
    ("podinfo-kustomize", "recommended-labels", 22),
    ("podinfo-kustomize", "run-as-non-root", 14),
    ("podinfo-kustomize", "wildcard-verbs", 2),
];

#[test]
fn the_corpus_is_read_whole() {
    let Some(corpus) = corpus() else { return };
    let said = provost(&corpus, &["scan", "--no-config", "-o", "json", "."], "");
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let document = said.document();
    let findings = document["findings"].as_array().unwrap();
    for (folder, policy, expected) in COUNTS {
        let fits = |line: &&Value| {
            text(line, "file").split('/').next() == Some(folder) && text(line, "policy") == *policy
        };
        assert_eq!(findings.iter().filter(fits).count(), *expected, "{folder} {policy}");
    }
    assert_eq!(findings.len(), COUNTS.iter().map(|(.., count)| count).sum::<usize>());
    assert_eq!(document["problems"].as_array().map(Vec::len), Some(0));
    let left: Vec<_> = document["notEvaluated"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| text(left, "reason"))
        .collect();
    assert_eq!(left.iter().filter(|reason| **reason == "kustomization").count(), 7);
    assert_eq!(left.iter().filter(|reason| **reason == "kustomize-config").count(), 3);
    assert_eq!(left.len(), 10);
    let unrendered = |line: &&Value| line.get("unrendered").is_some();
    let bases = |line: &&Value| text(line, "file").starts_with("podinfo-kustomize/bases/");
    assert_eq!(findings.iter().filter(unrendered).count(), findings.iter().filter(bases).count());
    assert!(findings.iter().filter(unrendered).all(|line| bases(&line)));
}
