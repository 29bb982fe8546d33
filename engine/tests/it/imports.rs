//! What stands behind an import: only what is named is evaluated, and a local name of the same text is not it.
//! Held to OPA, case by case.

use provost_bundle::Module;
use provost_engine::{Cluster, policy_input};
use provost_model::Outcome;
use serde_json::{Map, Value, json};

use crate::cases::{bundle, compile, pod, policy};
use crate::oracle::{self, Answer, Question};

/// Whoever evaluates `broken` fails: it has two values.
const LIBRARY: &str = r#"package provost.lib.things
good := ["a", "b"]
again := good
nested := {"k": {"l": 1}, "good": 2}
called(x) := concat("-", [x, good[0]])
broken := 1
broken := count(good)
"#;

/// Each defines `p`.
const CASES: &[&str] = &[
    "p := things.good[0]",
    "p := things.again",
    "p := things.nested.k[\"l\"]",
    "p := things[\"good\"]",
    "p if { some k; things.nested[k].l == 1 }",
    "p := [x | some x in things.good]",
    "p := things.called(\"x\")",
    "p := {\"good\": things.good, \"n\": count(things.good)}",
    "p if not things.missing",
    "p if { not things.good == [\"x\", \"y\"]; not things.nested.k.l == 2 }",
    "p := things.good # things.broken",
    "p := \"things.good\"",
    "q := 7\np := [q, things.good]",
    "p := object.get(things.nested, [\"k\", \"l\"], things.good)",
    "p := x.good if x := {\"good\": things.good}",
    // Names that are not the import.
    "p := [t | some other in [{\"good\": 7}]; t := other.good]",
    "f(things) := things.good\np := f({\"good\": 5})",
    "p if { every things in [{\"good\": 1}] { things.good == 1 } }",
    "p if { things := {\"good\": 3}; things.good == 3 }",
    "p := input.things.good",
];

fn text(case: &str) -> String {
    let report = "violation contains {\"msg\": \"m\", \"path\": [], \"patch\": [{\"op\": \"test\", \"value\": answer}]} if answer := p";
    format!("import data.provost.lib.things\n{case}\n{report}\n")
}

#[derive(Debug, PartialEq)]
enum Said {
    Undefined,
    Value(Value),
    Refused,
    Failed,
}

fn ours(case: &str) -> Said {
    let mut policy = policy("case", &text(case));
    policy.module.imports = vec!["provost.lib.things".to_owned()];
    let library = Module {
        path: "lib/things.rego".to_owned(),
        package: "provost.lib.things".to_owned(),
        text: LIBRARY.into(),
        imports: Vec::new(),
    };
    let bundle =
        provost_bundle::Bundle { libraries: vec![library], ..bundle(vec![policy], Vec::new()) };
    let set = compile(&bundle);
    if !set.diagnostics().is_empty() {
        return Said::Refused;
    }
    let verdict = set.evaluate(&pod(&json!({}))).remove(0);
    match verdict.outcome {
        Outcome::Pass => Said::Undefined,
        Outcome::Fail => {
            Said::Value(verdict.findings[0].patch.as_ref().unwrap()[0]["value"].clone())
        }
        _ => Said::Failed,
    }
}

fn theirs(answer: &Answer) -> Said {
    match answer {
        Answer::Result(found) if found == &json!([]) => Said::Undefined,
        Answer::Result(found) => Said::Value(found[0]["patch"][0]["value"].clone()),
        Answer::Undefined | Answer::Error(_) => Said::Failed,
    }
}

#[test]
fn an_import_gives_what_is_named() {
    let said: Vec<Said> = CASES.iter().map(|case| ours(case)).collect();
    assert_eq!(said[0], Said::Value(json!("a")), "what is broken beside it is not evaluated");
    assert_eq!(ours("p := things.broken"), Said::Failed);
    assert_eq!(ours("p if { some things in [{\"good\": 7}]; things.good == 7 }"), Said::Refused);
    let input = policy_input(&pod(&json!({})), &Map::new(), &Cluster::default());
    let question = |case: &&str| Question {
        modules: vec![
            ("policy.rego".to_owned(), format!("package case\n{}", text(case))),
            ("lib/things.rego".to_owned(), LIBRARY.to_owned()),
        ],
        package: "case".to_owned(),
        input: input.clone(),
        set: (*case).to_owned(),
    };
    let Some(answers) = oracle::ask(&CASES.iter().map(question).collect::<Vec<_>>()) else {
        return;
    };
    for ((case, ours), answer) in CASES.iter().zip(said).zip(answers) {
        assert_eq!(ours, theirs(&answer), "{case}: OPA says {answer:?}");
    }
}
