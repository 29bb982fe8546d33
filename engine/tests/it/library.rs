//! The library of policies, and every document at hand, by the engine and by OPA: the same
//! findings, with the same message, path and patch.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use provost_bundle::{Bundle, Policy, parameters, source};
use provost_engine::{Cluster, CompiledSet, Object, Options, Review, policy_input};
use provost_model::policy::Checkpoint;
use provost_model::{Binding, Outcome, Verdict};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::oracle::{self, Answer, Question};

/// One comparison: what the engine said, and the question for OPA.
struct Comparison {
    about: String,
    verdict: Verdict,
    question: Question,
}

#[test]
fn examples_and_what_became_of_them() {
    let bundle = library();
    let mut comparisons = Vec::new();
    let mut seed = 1;
    for policy in &bundle.policies {
        for example in &policy.examples {
            let parameters = parameters::complete(&policy.meta, &example.input.parameters);
            let cluster = example.input.cluster.clone().unwrap_or_default();
            let cluster = Cluster {
                id: cluster.id,
                labels: cluster.labels,
                version: Some(cluster.version).filter(|version| !version.is_empty()),
            };
            for document in &example.documents {
                let mut versions = vec![document.clone()];
                versions.extend((0..6).map(|_| damaged(document, &mut seed)));
                for version in versions {
                    let about = format!("{}: {version}", example.path);
                    comparisons.extend(compare(
                        &bundle,
                        policy,
                        about,
                        Object::from(version),
                        (&parameters, &cluster),
                    ));
                }
            }
        }
    }
    assert!(comparisons.len() > 1000, "only {} comparisons", comparisons.len());
    hold(comparisons);
}

#[test]
fn fixtures_and_the_corpus() {
    let root = root();
    let corpus = root.join("../shared/corpus");
    let mut paths = vec![root.join("testkit/fixtures")];
    if corpus.is_dir() {
        paths.push(corpus);
    } else {
        assert!(!in_ci(), "missing in CI: the corpus of real manifests (../shared/corpus)");
        use std::io::Write as _;
        // Past the test runner, which swallows what a passing test prints.
        let _ = writeln!(std::io::stderr(), "left out: the corpus (../shared/corpus)");
    }
    let bundle = library();
    let options = provost_manifests::Options { paths, ..provost_manifests::Options::default() };
    let loaded = provost_manifests::load(&options);
    let mut comparisons = Vec::new();
    for document in loaded.documents.iter().filter(|document| document.resource().is_some()) {
        let object = Object::deserialize(&document.node).unwrap();
        for policy in &bundle.policies {
            let parameters = parameters::complete(&policy.meta, &example_parameters(policy));
            let about = format!("{} in {}:{}", policy.meta.id, document.file, document.at.line);
            let cluster = Cluster::default();
            comparisons.extend(compare(
                &bundle,
                policy,
                about,
                object.clone(),
                (&parameters, &cluster),
            ));
        }
    }
    assert!(comparisons.len() > 100, "only {} comparisons", comparisons.len());
    hold(comparisons);
}

/// The library compiles, whole.
#[test]
fn nothing_of_the_library_is_refused() {
    assert_eq!(provost_engine::check(&library()), []);
}

/// A policy that requires parameters is asked with those of its own first example.
fn example_parameters(policy: &Policy) -> BTreeMap<String, Value> {
    if policy.meta.requires.is_empty() {
        return BTreeMap::new();
    }
    policy.examples.first().map(|example| example.input.parameters.clone()).unwrap_or_default()
}

/// None where the policy does not match the object.
fn compare(
    bundle: &Bundle,
    policy: &Policy,
    about: String,
    object: Object,
    (parameters, cluster): (&Map<String, Value>, &Cluster),
) -> Option<Comparison> {
    let review = Review::of(object, Checkpoint::Run)?;
    if !policy.meta.matches_kind(&review.gvk) {
        return None;
    }
    let binding =
        json!({"id": "it", "policy": policy.meta.id, "parameters": parameters, "action": "deny"});
    let set = sets(bundle, policy, serde_json::from_value(binding).unwrap(), cluster);
    let mut verdicts = set.evaluate(&review);
    assert_eq!(verdicts.len(), 1, "{about}: {:?}", set.diagnostics());
    let mut modules: Vec<(String, String)> = policy
        .imports(&bundle.libraries)
        .into_iter()
        .map(|module| (module.path.clone(), module.text.to_string()))
        .collect();
    modules.push((policy.module.path.clone(), policy.module.text.to_string()));
    Some(Comparison {
        about,
        verdict: verdicts.remove(0),
        question: Question {
            modules,
            package: policy.module.package.clone(),
            input: policy_input(&review, parameters, cluster),
            set: policy.meta.id.to_string(),
        },
    })
}

/// The policy alone with one binding; compiled once for each binding and cluster.
fn sets(bundle: &Bundle, policy: &Policy, binding: Binding, cluster: &Cluster) -> Rc<CompiledSet> {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Rc<CompiledSet>>> = RefCell::new(HashMap::new());
    }
    let key = serde_json::to_string(&(&binding, cluster)).unwrap();
    let compile = || {
        let alone =
            Bundle { policies: vec![policy.clone()], bindings: vec![binding], ..bundle.clone() };
        Rc::new(CompiledSet::compile(&alone, cluster, &Options::default()))
    };
    KNOWN.with_borrow_mut(|known| Rc::clone(known.entry(key).or_insert_with(compile)))
}

fn hold(comparisons: Vec<Comparison>) {
    let (questions, said): (Vec<Question>, Vec<(String, Verdict)>) =
        comparisons.into_iter().map(|c| (c.question, (c.about, c.verdict))).unzip();
    let Some(answers) = oracle::ask(&questions) else { return };
    let mut differ = Vec::new();
    for ((about, verdict), answer) in said.iter().zip(answers) {
        let ours = match verdict.outcome {
            Outcome::Pass | Outcome::Fail => Some(entries(verdict)),
            _ => None,
        };
        let theirs = match answer {
            Answer::Result(Value::Array(mut found)) => {
                found.sort_by_key(Value::to_string);
                Some(found)
            }
            _ => None,
        };
        if ours != theirs {
            differ.push(format!("{about}\n  engine: {verdict:?}\n  OPA: {theirs:?}"));
        }
    }
    println!("{} comparisons with OPA", said.len());
    assert!(
        differ.is_empty(),
        "{} differ:\n{}",
        differ.len(),
        differ[..differ.len().min(5)].join("\n")
    );
}

/// The findings in the form of the rule's own entries.
fn entries(verdict: &Verdict) -> Vec<Value> {
    let entry = |finding: &provost_model::Finding| {
        let path: Vec<Value> = finding
            .path
            .0
            .iter()
            .map(|segment| match segment {
                provost_model::Segment::Key(key) => json!(key),
                provost_model::Segment::Index(index) => json!(index),
            })
            .collect();
        let mut entry = json!({"msg": finding.message, "path": path});
        if let Some(patch) = &finding.patch {
            entry["patch"] = patch.clone();
        }
        entry.sort_all_objects();
        entry
    };
    let mut entries: Vec<Value> = verdict.findings.iter().map(entry).collect();
    entries.sort_by_key(Value::to_string);
    entries
}

/// The document with one value somewhere in it replaced by one of another type. What it is
/// stays.
fn damaged(document: &Value, seed: &mut u64) -> Value {
    let mut damaged = document.clone();
    replace_somewhere(&mut damaged, seed, 0);
    for field in ["apiVersion", "kind"] {
        damaged[field] = document[field].clone();
    }
    damaged
}

fn replace_somewhere(value: &mut Value, seed: &mut u64, depth: usize) {
    let inner: Vec<&mut Value> = match value {
        Value::Object(fields) => fields.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    };
    let stay = depth > 0 && random(seed, 4) == 0;
    if !inner.is_empty() && !stay {
        let at = random(seed, inner.len());
        if let Some(inner) = inner.into_iter().nth(at) {
            return replace_somewhere(inner, seed, depth + 1);
        }
    }
    let others = [
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("*"),
        json!("x/y:z@w"),
        json!([]),
        json!([null, "a", {"name": 1}, {"name": "a"}]),
        json!({}),
        json!({"name": ["x"], "securityContext": 5}),
    ];
    *value = others[random(seed, others.len())].clone();
}

/// Below `below`; the same each time.
fn random(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap() % below
}

fn library() -> Bundle {
    source::read_dir(&root().join("policies")).unwrap().into_bundle()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn in_ci() -> bool {
    oracle::setting("CI").as_deref() == Some("true")
}
