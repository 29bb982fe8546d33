//! Rego idioms, one by one, by the engine and by OPA. What loads must give OPA's answer; what
//! cannot is refused when it loads.
//!
//! A case is a piece of a module that defines `p`; `@` stands for the object.

use provost_engine::{Cluster, policy_input};
use provost_model::Outcome;
use serde_json::{Map, Value, json};

use crate::cases::{bundle, compile, pod, policy};
use crate::oracle::{self, Answer, Question};

/// What comes of `p`, by whom it may be.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Undefined,
    Value(Value),
    /// The module is not taken.
    Refused(String),
    /// It is taken, and evaluation fails.
    Failed(String),
}

#[test]
fn idioms_mean_what_they_mean_in_opa() {
    compare(&text_cases(include_str!("idioms/same.txt")), |ours, theirs| match (ours, theirs) {
        (Said::Failed(_), Said::Failed(_)) => true,
        (ours, theirs) => ours == theirs,
    });
}

#[test]
fn what_cannot_mean_the_same_is_refused() {
    let cases = text_cases(include_str!("idioms/refused.txt"));
    for case in &cases {
        let said = ours(case);
        assert!(matches!(said, Said::Refused(_)), "{case}: {said:?}");
    }
}

/// Every operator and function on every type of value.
#[test]
fn operands_of_every_type() {
    compare(&combinations(), |ours, theirs| match (ours, theirs) {
        // OPA's compiler knows the types of literals and functions, and refuses what never fits.
        (Said::Refused(_), Said::Refused(_)) => true,
        (_, Said::Refused(why)) => why.contains("rego_type_error"),
        (ours, theirs) => ours == theirs,
    });
}

fn object() -> Value {
    json!({"a": [1, 2, 3], "s": "abc", "n": null, "num": 5, "f": 1.5, "t": true, "no": false,
        "e": [], "eo": {}, "es": "", "o": {"k": "v", "l": [{"name": "x", "z": 1}, {"name": "y"}]},
        "containers": [{"name": "a", "image": "x:1", "securityContext": {"privileged": true}},
            {"name": "b", "image": "y", "ports": [{"containerPort": 80}]}]})
}

/// Cases are separated by empty lines; lines that start with `#` are comments.
fn text_cases(text: &str) -> Vec<String> {
    let cases = text.split("\n\n").map(|case| {
        let lines = case.lines().filter(|line| !line.starts_with('#'));
        lines.collect::<Vec<_>>().join("\n").trim().to_owned()
    });
    cases.filter(|case| !case.is_empty()).collect()
}

fn module(case: &str) -> String {
    format!(
        "{}\nviolation contains {{\"msg\": \"m\", \"path\": [], \"patch\": [{{\"op\": \"test\", \"value\": answer}}]}} if answer := p\n",
        case.replace('@', "input.review.object")
    )
}

fn ours(case: &str) -> Said {
    let set = compile(&bundle(vec![policy("case", &module(case))], Vec::new()));
    if let Some(diagnostic) = set.diagnostics().first() {
        return Said::Refused(diagnostic.to_string());
    }
    let verdict = set.evaluate(&pod(&object())).remove(0);
    match verdict.outcome {
        Outcome::Pass => Said::Undefined,
        Outcome::Fail => {
            Said::Value(plain(&verdict.findings[0].patch.as_ref().unwrap()[0]["value"]))
        }
        _ => Said::Failed(verdict.problem.unwrap().message),
    }
}

fn theirs(answer: &Answer) -> Said {
    match answer {
        Answer::Result(found) if found == &json!([]) => Said::Undefined,
        Answer::Result(found) => Said::Value(plain(&found[0]["patch"][0]["value"])),
        Answer::Undefined => Said::Failed("violation is undefined".to_owned()),
        Answer::Error(error) if error.contains("eval_") => Said::Failed(error.clone()),
        Answer::Error(error) => Said::Refused(error.clone()),
    }
}

/// 1 and 1.0 are one number.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), plain(value))).collect()
        }
        other => other.clone(),
    }
}

fn compare(cases: &[String], fits: impl Fn(&Said, &Said) -> bool) {
    let input = policy_input(&pod(&object()), &Map::new(), &Cluster::default());
    let question = |case: &String| Question {
        modules: vec![("policy.rego".to_owned(), format!("package case\n{}", module(case)))],
        package: "case".to_owned(),
        input: input.clone(),
        set: case.clone(),
    };
    let ours: Vec<Said> = cases.iter().map(|case| ours(case)).collect();
    let Some(answers) = oracle::ask(&cases.iter().map(question).collect::<Vec<_>>()) else {
        return;
    };
    let mut differ = Vec::new();
    for ((case, ours), answer) in cases.iter().zip(ours).zip(answers) {
        let theirs = theirs(&answer);
        if !fits(&ours, &theirs) {
            differ.push(format!("{case}\n  engine: {ours:?}\n  OPA:    {theirs:?}"));
        }
    }
    println!("{} idioms compared with OPA", cases.len());
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

const TWO: &[&str] = &[
    "startswith",
    "split",
    "trim",
    "concat",
    "array.concat",
    "object.union",
    "regex.match",
    "indexof",
    "strings.count",
    "regex.split",
];
const FORMS: &[&str] = &[
    "p := [x | some x in %]",
    "p := [k | some k, _ in %]",
    "p := [x | x := %[_]]",
    "p if some x in %",
    "p if { some x in %; x == 2 }",
    "p if every x in % { x }",
    "p if 1 in %",
    "p if \"k\", \"v\" in %",
    "p := %.k",
    "p := %[0]",
    "p := [%]",
    "p := {\"a\": %}",
    "p := {%: 1}",
    "p if %",
    "p if not %",
    "p if not %.k",
    "p if not %.k.z == 1",
    "p if not f(%)\nf(x) if x",
    "p := f(%)\nf(x) := x",
    "p := f(%)\nf(5) := 1\nf(\"abc\") := 2",
    "p contains %",
    "p := sprintf(\"%v\", [%])",
    "p := numbers.range(%, 3)",
    "p := [path | walk(%, [path, _])]",
    "p := x if { x := % } else := \"else\"",
    "p := substring(%, 0, 1)",
    "p := replace(%, \"a\", \"b\")",
    "p := array.slice(%, 0, 1)",
    "q[k] := v if { k := %; v := 1 }\np := q",
    "p := 0 - %",
    "p if { x := %; not x }",
    "p if { not x; x := % }",
    "q contains %\np if not 1 in q",
    "p if count(%) > 0",
    "p := [v | v := %; not v == 1]",
];
const QUANTITIES: &[&str] = &[
    "100m",
    "1",
    "1Gi",
    "1.5Gi",
    "1e3",
    "500Mi",
    "0.5",
    "1k",
    "1K",
    "2Ki",
    "1E",
    "1e",
    "",
    "abc",
    "1 Gi",
    "100M",
    "-5m",
    "1_000",
    "0x10",
    "Gi",
    "1gi",
    "1KI",
    "+1",
    ".5",
    "1P",
    "1Ti",
    "1u",
    "1n",
    "1b",
    "1MB",
    "1mib",
    "1mi",
    "1.2.3",
    "1e3Mi",
    "1e3m",
    "0.1m",
    "1.0000000001",
    "-1.5",
    "2.5k",
    "--1",
    "1Ei",
    "1e-3",
    "1e+3",
];
const RIGHT: &[&str] = &["@.num", "@.s", "@.n", "{1}", "@.missing"];
const OPERATORS: &[&str] = &["+", "-", "*", "/", "%", "|", "&", "==", "!="];
const ONE: &[&str] = &[
    "count",
    "sum",
    "max",
    "sort",
    "lower",
    "upper",
    "abs",
    "ceil",
    "floor",
    "round",
    "type_name",
    "is_string",
    "to_number",
    "object.keys",
    "array.reverse",
    "trim_space",
    "product",
    "units.parse",
    "units.parse_bytes",
    "regex.is_valid",
];

const VALUES: &[&str] =
    &["@.a", "@.s", "@.n", "@.o", "@.num", "@.t", "@.f", "@.missing", "{1}", "@.es"];

fn combinations() -> Vec<String> {
    let mut cases = Vec::new();
    for left in VALUES {
        for right in RIGHT {
            // Objects and sets have no order in common.
            let ordered: &[&str] =
                if (*left, *right) == ("@.o", "{1}") { &[] } else { &["<", ">="] };
            for operator in ordered {
                cases.push(format!("p := {left} {operator} {right}"));
            }
            for operator in OPERATORS {
                cases.push(format!("p := {left} {operator} {right}"));
            }
            for function in TWO {
                cases.push(format!("p := {function}({left}, {right})"));
            }
            cases.push(format!("p := object.get({left}, {right}, 9)"));
            cases.push(format!("p := object.get({left}, [\"k\", {right}], 9)"));
            cases.push(format!("p := {left}[{right}]"));
            cases.push(format!("p if not {left} == {right}"));
            cases.push(format!("p if not {right} in {left}"));
            cases.push(format!("p if not {left}[{right}]"));
            cases.push(format!("p if not {left} + 1 > {right}"));
        }
        for function in ONE {
            cases.push(format!("p := {function}({left})"));
            cases.push(format!("p if not {function}({left})"));
            cases.push(format!("p if not {function}({left}) == 0"));
        }
        for form in FORMS {
            // `%v` is sprintf's own.
            cases.push(form.replace("%v", "\u{0}").replace('%', left).replace('\u{0}', "%v"));
        }
    }
    for quantity in QUANTITIES {
        cases.push(format!("p := units.parse(\"{quantity}\")"));
        cases.push(format!("p := units.parse_bytes(\"{quantity}\")"));
    }
    cases
}
