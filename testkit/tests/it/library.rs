//! The policy library as a whole: what holds for every policy in it.

use std::path::PathBuf;

use provost_bundle::{Bundle, Expectation, source};
use provost_engine::{Cluster, CompiledSet, Object, Options, Review};
use provost_model::policy::{Checkpoint, ControlRef};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

fn library() -> Bundle {
    source::read_dir(&folder()).expect("the library is well-formed").into_bundle()
}

#[test]
fn the_readme_lists_every_policy_as_its_metadata_says() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let rows: Vec<&str> = readme.lines().filter(|line| line.contains("| [`")).collect();
    let bundle = library();
    for policy in &bundle.policies {
        let meta = &policy.meta;
        let start = format!("| {} | [`{}`](", meta.code, meta.id);
        let row = rows.iter().find(|row| row.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("no row {start:?} in policies/README.md"));
        let parameters: Vec<&str> = meta.parameters.keys().map(String::as_str).collect();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(
            cells[3..6],
            [meta.title.as_str(), meta.severity.as_str(), meta.action.as_str()],
            "{row}"
        );
        assert_eq!(sorted(cells[6]), parameters.join(", "), "{row}");
    }
    assert_eq!(rows.len(), bundle.policies.len());
}

fn sorted(list: &str) -> String {
    let mut items: Vec<&str> = list.split(", ").collect();
    items.sort_unstable();
    items.join(", ")
}

/// Guarantees that neither message nor patch carries a value of env, args, command, data or an
/// annotation out of an object: each is replaced by a mark, and no finding may show it.
#[test]
fn no_finding_repeats_a_value_that_may_be_secret() {
    const MARK: &str = "MARKED-3f9c1d7e";
    let mut bundle = library();
    let binding = json!({"id": "list", "policy": "allowed-registries", "parameters": {"allowed": ["none.example"]}});
    bundle.bindings.push(serde_json::from_value(binding).unwrap());
    let set = CompiledSet::compile(&bundle, &Cluster::default(), &Options::default());
    let not_evaluated = set.not_evaluated(Checkpoint::Commit);
    assert!(not_evaluated.is_empty(), "{not_evaluated:?}");
    let (mut marked, mut findings) = (0, 0);
    let examples = bundle.policies.iter().flat_map(|policy| &policy.examples);
    let failing = examples.filter(|example| example.expectation == Expectation::Fail);
    for mut document in failing.flat_map(|example| example.documents.clone()) {
        add_marks(&mut document, MARK);
        marked += document.to_string().matches(MARK).count();
        let object = Object::from_json(document.to_string().as_bytes()).unwrap();
        let review = Review::of(object, Checkpoint::Commit).unwrap();
        for finding in set.evaluate(&review).into_iter().flat_map(|verdict| verdict.findings) {
            findings += 1;
            let shown = format!("{} {:?}", finding.message, finding.patch);
            assert!(!shown.contains(MARK), "{shown}");
        }
    }
    assert!(marked > 1000 && findings > 1000, "{marked} marks, {findings} findings");
}

/// Every container gets env, args and command, every object an annotation and data.
fn add_marks(document: &mut Value, mark: &str) {
    document["metadata"]["annotations"] = json!({ "example.org/note": mark });
    document["data"] = json!({ "key": mark });
    mark_containers(document, mark);
}

fn mark_containers(value: &mut Value, mark: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| mark_containers(item, mark)),
        Value::Object(fields) => {
            if fields.contains_key("image") && fields.contains_key("name") {
                fields.insert("env".to_owned(), json!([{ "name": "TOKEN", "value": mark }]));
                fields.insert("args".to_owned(), json!([mark]));
                fields.insert("command".to_owned(), json!([mark]));
            }
            fields.values_mut().for_each(|field| mark_containers(field, mark));
        }
        _ => {}
    }
}

/// Framework, the versions of it that may be named, and how its ids begin.
const FRAMEWORKS: &[(&str, &[&str], &[&str])] = &[
    ("cis-kubernetes", &["1.9", "1.10", "1.11", "1.12", "2.0"], &["5."]),
    (
        "pod-security-standards",
        &["latest"],
        &["host", "privileged", "allow", "run", "capabilities"],
    ),
    ("nsa-cisa-kubernetes", &["1.2"], &[""]),
    ("mitre-attack", &["16"], &["T1"]),
    ("microsoft-threat-matrix", &["2022"], &["MS-TA90"]),
    ("nist-800-53", &["5"], &["AC-", "CM-", "SA-", "SC-", "SI-", "SR-"]),
    ("pci-dss", &["4.0"], &["1.", "2.", "6.", "7.", "8.", "11."]),
    ("soc2", &["2017"], &["CC6.", "A1."]),
    ("iso-27001", &["2022"], &["A.5.", "A.8."]),
];

#[test]
fn controls_name_a_known_framework_in_a_known_version() {
    for policy in library().policies {
        let meta = &policy.meta;
        assert!(!meta.controls.is_empty(), "{}", meta.id);
        for control in &meta.controls {
            let known = FRAMEWORKS.iter().any(|(framework, versions, starts)| {
                control.framework == *framework
                    && versions.contains(&control.version.as_str())
                    && starts.iter().any(|start| control.id.starts_with(start))
            });
            assert!(known, "{}: {control:?}", meta.id);
            assert!(["", "proposed"].contains(&control.review.as_str()), "{control:?}");
        }
        let mut keys: Vec<_> = meta.controls.iter().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), meta.controls.len(), "{}: a control stands there twice", meta.id);
    }
}

/// Ids of the benchmark move from version to version: who names one names it for all of them.
#[test]
fn cis_controls_stand_for_every_version_of_the_benchmark() {
    for policy in library().policies {
        let mut versions: Vec<&str> = policy
            .meta
            .controls
            .iter()
            .filter(|control| control.framework == "cis-kubernetes")
            .map(|control| control.version.as_str())
            .collect();
        versions.dedup();
        assert!(versions.is_empty() || versions == FRAMEWORKS[0].1, "{}", policy.meta.id);
    }
}

fn key(control: &ControlRef) -> (&str, &str, &str) {
    (&control.framework, &control.version, &control.id)
}
