//! One policy, one verdict: the engine and OPA answer alike on every example, fixture and document of
//! the corpus. The input that OPA gets is built here, not by the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use provost_bundle::{Bundle, Example, Policy, parameters, source};
use provost_engine::{Cluster, CompiledSet, Object, Options, Review};
use provost_manifests::load;
use provost_model::{
    Binding, BindingId, Checkpoint, Gvk, Match, Outcome, Path as Pointer, Segment,
};
use provost_testkit::available;
use serde_json::{Map, Value, json};

/// What a policy says of an object: message, path and patch of each violation.
type Said = BTreeSet<(String, String, String)>;

/// A question that both were asked, and what the engine said.
struct Question {
    what: String,
    request: Value,
    engine: Said,
}

fn library() -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    source::read_dir(&folder).expect("the library is sound").into_bundle()
}

/// A binding that covers everything, with these parameters.
fn binding(policy: &Policy, parameters: &BTreeMap<String, Value>) -> Binding {
    Binding {
        id: "tested".parse::<BindingId>().expect("an id"),
        policy: policy.meta.id.clone(),
        parameters: parameters.clone(),
        action: None,
        fail_mode: None,
        matches: Match::default(),
        profile: String::new(),
    }
}

/// The library with one policy, bound with these parameters.
fn narrowed(bundle: &Bundle, policy: &Policy, parameters: &BTreeMap<String, Value>) -> Bundle {
    let mut bundle = bundle.clone().narrowed_to(std::slice::from_ref(&policy.meta.id));
    bundle.bindings = vec![binding(policy, parameters)];
    bundle
}

fn modules(bundle: &Bundle, policy: &Policy) -> Map<String, Value> {
    let own = std::iter::once(&policy.module);
    own.chain(policy.imports(&bundle.libraries))
        .map(|m| (m.path.clone(), json!(&*m.text)))
        .collect()
}

fn review(object: &Value) -> Option<Review> {
    let object: Object = serde_json::from_value(object.clone()).ok()?;
    Review::of(object, Checkpoint::Run)
}

/// The one policy of the set on the object; a verdict that is neither pass nor fail is told as such.
fn engine_says(set: &CompiledSet, review: &Review) -> Said {
    let verdicts = set.evaluate(review);
    assert!(verdicts.len() <= 1, "one policy, one binding");
    let Some(verdict) = verdicts.into_iter().next() else { return Said::new() };
    if !matches!(verdict.outcome, Outcome::Pass | Outcome::Fail) {
        return Said::from([(
            format!("{} {:?}", verdict.outcome, verdict.problem),
            String::new(),
            String::new(),
        )]);
    }
    let one = |finding: provost_model::Finding| {
        let patch = finding.patch.map_or_else(String::new, |patch| patch.to_string());
        (finding.message, finding.path.to_pointer(), patch)
    };
    verdict.findings.into_iter().map(one).collect()
}

fn opa_says(answer: &Value) -> Said {
    let Some(violations) = answer["result"].as_array() else {
        return Said::from([(format!("no answer: {answer}"), String::new(), String::new())]);
    };
    let segment = |step: &Value| match step {
        Value::String(key) => Segment::Key(key.clone()),
        step => {
            Segment::Index(u32::try_from(step.as_u64().unwrap_or(u64::MAX)).unwrap_or(u32::MAX))
        }
    };
    let one = |violation: &Value| {
        let path = violation["path"].as_array().map(|path| path.iter().map(segment).collect());
        let patch = violation.get("patch").map_or_else(String::new, Value::to_string);
        let message = violation["msg"].as_str().unwrap_or("no message").to_owned();
        (message, Pointer(path.unwrap_or_default()).to_pointer(), patch)
    };
    violations.iter().map(one).collect()
}

fn input(object: &Value, gvk: &Gvk, parameters: &Map<String, Value>) -> Value {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    json!({
        "review": {
            "object": object,
            "kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
            "name": text("name"),
            "namespace": text("namespace"),
        },
        "parameters": parameters,
        "cluster": {"labels": {}},
    })
}

/// Every policy on every object of its kinds.
fn on_objects(bundle: &Bundle, objects: &[(String, Value)], questions: &mut Vec<Question>) {
    let registries = json!(["registry.example.org", "docker.io/library", "quay.io/argoproj"]);
    for policy in &bundle.policies {
        let mut written = BTreeMap::new();
        if policy.meta.requires.contains(&"allowed".to_owned()) {
            written.insert("allowed".to_owned(), registries.clone());
        }
        let alone = narrowed(bundle, policy, &written);
        let set = CompiledSet::compile(&alone, &Cluster::default(), &Options::default());
        let (modules, parameters) =
            (modules(bundle, policy), parameters::complete(&policy.meta, &written));
        for (name, object) in objects {
            let Some(review) =
                review(object).filter(|review| policy.meta.matches_kind(&review.gvk))
            else {
                continue;
            };
            questions.push(Question {
                what: format!("{} on {name}", policy.meta.id),
                request: json!({
                    "modules": modules, "package": policy.module.package,
                    "input": input(object, &review.gvk, &parameters),
                }),
                engine: engine_says(&set, &review),
            });
        }
    }
}

/// Every policy on its own examples, with what stands beside them.
fn on_examples(bundle: &Bundle, questions: &mut Vec<Question>) {
    for policy in &bundle.policies {
        for example in &policy.examples {
            on_example(bundle, policy, example, questions);
        }
    }
}

fn on_example(bundle: &Bundle, policy: &Policy, example: &Example, questions: &mut Vec<Question>) {
    let beside = &example.input;
    let alone = narrowed(bundle, policy, &beside.parameters);
    let object =
        |value: &Option<Value>| value.clone().and_then(|value| serde_json::from_value(value).ok());
    let cluster = beside.cluster.clone().unwrap_or_default();
    let version = Some(cluster.version.clone()).filter(|version| !version.is_empty());
    let of_engine = Cluster { id: cluster.id, labels: cluster.labels, version };
    let options = Options { inventory: object(&beside.inventory), ..Options::default() };
    let set = CompiledSet::compile(&alone, &of_engine, &options);
    let parameters = parameters::complete(&policy.meta, &beside.parameters);
    for (place, document) in example.documents.iter().enumerate() {
        let Some(mut review) = review(document) else { continue };
        let mut input = input(document, &review.gvk, &parameters);
        input["cluster"] = serde_json::to_value(&of_engine).expect("a cluster is JSON");
        for (key, value) in [
            ("namespaceObject", beside.namespace_object.clone()),
            ("oldObject", beside.old_object.clone()),
            ("userInfo", beside.user_info.clone()),
            ("operation", beside.operation.clone().map(Value::from)),
        ] {
            if let Some(value) = value {
                input["review"][key] = value;
            }
        }
        review.namespace_object = object(&beside.namespace_object);
        review.old_object = object(&beside.old_object);
        review.user_info = object(&beside.user_info);
        review.operation.clone_from(&beside.operation);
        let inventory = beside.inventory.clone().unwrap_or_else(|| json!({}));
        questions.push(Question {
            what: format!("{} document {place}", example.path),
            request: json!({
                "modules": modules(bundle, policy), "package": policy.module.package,
                "input": input, "data": {"inventory": inventory},
            }),
            engine: engine_says(&set, &review),
        });
    }
}

fn objects(paths: &[PathBuf]) -> Vec<(String, Value)> {
    let loaded = load(&provost_manifests::Options { paths: paths.to_vec(), ..Default::default() });
    let resources = loaded.documents.iter().filter(|document| document.resource().is_some());
    resources
        .map(|document| {
            let name = format!("{}:{}", document.file, document.at);
            (name, serde_json::to_value(&document.node).expect("a manifest is JSON"))
        })
        .collect()
}

fn ask(oracle: &Path, questions: &[Question]) -> Vec<Value> {
    let mut requests = tempfile::tempfile().expect("a temporary file");
    for (id, question) in questions.iter().enumerate() {
        let mut request = question.request.clone();
        request["id"] = json!(id);
        writeln!(requests, "{request}").expect("a temporary file can be written");
    }
    requests.rewind().expect("a file has a start");
    let mut child = Command::new(oracle)
        .arg("eval")
        .stdin(Stdio::from(requests))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let answers = BufReader::new(child.stdout.take().expect("stdout is a pipe"))
        .lines()
        .map(|line| serde_json::from_str(&line.expect("the oracle writes text")).expect("and JSON"))
        .collect();
    assert!(child.wait().expect("the oracle ends").success());
    answers
}

#[test]
fn the_engine_and_opa_say_the_same() {
    let Some(oracle) = available::from_environment("PROVOST_ORACLE", "OPA as a second opinion")
    else {
        return;
    };
    let mut paths = vec![available::fixtures()];
    paths.extend(available::corpus());
    let bundle = library();
    let mut questions = Vec::new();
    on_examples(&bundle, &mut questions);
    let of_examples = questions.len();
    on_objects(&bundle, &objects(&paths), &mut questions);
    assert!(
        of_examples > 100 && questions.len() > of_examples + 200,
        "{} {of_examples}",
        questions.len()
    );
    let answers = ask(&oracle, &questions);
    assert_eq!(answers.len(), questions.len());
    let mut violations = 0;
    let mut differences = Vec::new();
    for (question, answer) in questions.iter().zip(&answers) {
        let opa = opa_says(answer);
        violations += opa.len();
        if opa != question.engine {
            differences
                .push(format!("{}\n  OPA {opa:?}\n  engine {:?}", question.what, question.engine));
        }
    }
    println!(
        "{} questions, {violations} violations, {} differences",
        questions.len(),
        differences.len()
    );
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(violations > 300, "{violations}: too few to mean anything");
}
