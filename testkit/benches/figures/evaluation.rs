//! Evaluation of one policy on one object: the engine and OPA in turns, on the same policies and objects.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use provost_bundle::{Bundle, Policy, parameters};
use provost_engine::{Cluster, CompiledSet, Object, Options, Review};
use provost_manifests::load;
use provost_model::{Binding, BindingId, Checkpoint, Match};
use provost_testkit::available;
use serde_json::{Map, Value, json};

use crate::records::library;
use crate::timing::{median, median_us};

const ROUNDS: u32 = 50;

/// Microseconds of one policy on one object.
#[derive(Default)]
struct Times {
    engine: Vec<f64>,
    prepared: Vec<f64>,
    unprepared: Vec<f64>,
    opa_parse: Vec<f64>,
}

pub fn run() -> anyhow::Result<()> {
    let bundle = library()?;
    let objects = objects()?;
    println!("\nevaluation of one policy on one object, microseconds, median over objects");
    let mut oracle = match available::from_environment("PROVOST_ORACLE", "OPA beside the engine") {
        Some(program) => Some(Oracle::start(&program)?),
        None => None,
    };
    let mut all = Times::default();
    println!(
        "  {:28} {:>8} {:>8} {:>10} {:>12}",
        "policy", "objects", "engine", "OPA", "unprepared"
    );
    for policy in &bundle.policies {
        let times = one(&bundle, policy, &objects, oracle.as_mut())?;
        row(policy.meta.id.as_str(), &times);
        all.engine.extend(times.engine);
        all.prepared.extend(times.prepared);
        all.unprepared.extend(times.unprepared);
        all.opa_parse.extend(times.opa_parse);
    }
    row("all", &all);
    let text: Vec<Vec<u8>> = objects.iter().map(serde_json::to_vec).collect::<Result<_, _>>()?;
    let parses = text
        .iter()
        .map(|json| median_us(ROUNDS, || serde_json::from_slice::<Object>(json).map(drop).is_ok()));
    let (engine, opa) = (median(parses.collect()), median(all.opa_parse));
    println!("  reading an object from JSON: engine {engine:.1}, OPA {opa:.1}");
    let set = CompiledSet::compile(&bundle, &Cluster::default(), &Options::default());
    let reviews = objects.iter().filter_map(review);
    let whole: Vec<f64> =
        reviews.map(|review| median_us(ROUNDS, || set.evaluate(&review).len())).collect();
    println!("  all policies on one object: engine {:.1}", median(whole));
    let compile =
        median_us(3, || CompiledSet::compile(&bundle, &Cluster::default(), &Options::default()));
    println!("  compiling the library: engine {:.1} ms", compile / 1e3);
    let tests = median_us(1, || provost_engine::selftest::run(&bundle).len());
    println!("  the library's own tests: engine {:.1} ms", tests / 1e3);
    Ok(())
}

fn row(name: &str, times: &Times) {
    let each = |times: &[f64]| format!("{:.1}", median(times.to_vec()));
    println!(
        "  {name:28} {:8} {:>8} {:>10} {:>12}",
        times.engine.len(),
        each(&times.engine),
        each(&times.prepared),
        each(&times.unprepared)
    );
}

/// Object by object, one after the other, so that both see the same machine.
fn one(
    bundle: &Bundle,
    policy: &Policy,
    objects: &[Value],
    mut oracle: Option<&mut Oracle>,
) -> anyhow::Result<Times> {
    let mut written = BTreeMap::new();
    if policy.meta.requires.contains(&"allowed".to_owned()) {
        written.insert("allowed".to_owned(), json!(["registry.example.org", "quay.io/argoproj"]));
    }
    let mut alone = bundle.clone().narrowed_to(std::slice::from_ref(&policy.meta.id));
    alone.bindings = vec![Binding {
        id: "measured".parse::<BindingId>()?,
        policy: policy.meta.id.clone(),
        parameters: written.clone(),
        action: None,
        fail_mode: None,
        matches: Match::default(),
        profile: String::new(),
    }];
    let set = CompiledSet::compile(&alone, &Cluster::default(), &Options::default());
    let own = std::iter::once(&policy.module).chain(policy.imports(&bundle.libraries));
    let modules: Map<String, Value> =
        own.map(|module| (module.path.clone(), json!(&*module.text))).collect();
    let parameters = parameters::complete(&policy.meta, &written);
    let mut times = Times::default();
    for object in objects {
        let Some(review) = review(object).filter(|r| policy.meta.matches_kind(&r.gvk)) else {
            continue;
        };
        times.engine.push(median_us(ROUNDS, || set.evaluate(&review).len()));
        let Some(oracle) = oracle.as_mut() else { continue };
        let answer = oracle.ask(&json!({
            "modules": modules, "package": policy.module.package, "rounds": ROUNDS * 7,
            "input": input(object, &review, &parameters),
        }))?;
        let each = |name: &str| Some(answer[name].as_f64()? / 1e3 / f64::from(ROUNDS * 7));
        times.prepared.push(each("preparedNs").context("OPA's time")?);
        times.unprepared.push(each("unpreparedNs").context("OPA's time")?);
        times.opa_parse.push(each("parseNs").context("OPA's time")?);
    }
    Ok(times)
}

fn review(object: &Value) -> Option<Review> {
    let object: Object = serde_json::from_value(object.clone()).ok()?;
    Review::of(object, Checkpoint::Run)
}

fn input(object: &Value, review: &Review, parameters: &Map<String, Value>) -> Value {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let gvk = &review.gvk;
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

fn objects() -> anyhow::Result<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let paths = vec![folder];
    let loaded = load(&provost_manifests::Options { paths, ..Default::default() });
    let resources = loaded.documents.iter().filter(|document| document.resource().is_some());
    Ok(resources.map(|document| serde_json::to_value(&document.node)).collect::<Result<_, _>>()?)
}

/// `oracle bench`, asked one by one.
struct Oracle {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg("bench")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().context("stdin is a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        Ok(Self { child, requests, answers })
    }

    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        ensure!(answer["error"].is_null(), "OPA: {}", answer["error"]);
        Ok(answer)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
