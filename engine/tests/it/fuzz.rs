//! Whatever the policy's text and whatever the object: an answer, no panic, in bounded time.

use proptest::prelude::*;
use provost_engine::{MAX_DEPTH, Object, Review};
use provost_model::Outcome;
use provost_model::policy::Checkpoint;
use serde_json::{Value, json};

use crate::cases::{bundle, compile, compile_text, pod, policy};

/// Pieces that policies are made of, and some that they are not.
const PIECES: &[&str] = &[
    "violation contains {\"msg\": m, \"path\": [i]} if { ",
    "violation",
    "contains",
    " if ",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ":=",
    "=",
    "==",
    "!=",
    " + ",
    " - ",
    "*",
    "/",
    "%",
    "|",
    "&",
    ",",
    ";",
    "\n",
    " ",
    "\t",
    "not ",
    "some x in ",
    "every x in xs ",
    "x",
    "y",
    "_",
    "f(x)",
    "f(x) := x\n",
    "p",
    "p := 1\n",
    "p contains x if ",
    "else := 2",
    "default p := 3\n",
    "input.review.object",
    ".spec",
    "[_]",
    "[i]",
    "\"a\"",
    "`r`",
    "\"",
    "`",
    "1",
    "-1",
    "1e400",
    "null",
    "true",
    "set()",
    "{1}",
    "[1, 2]",
    "{\"a\": x}",
    "sprintf(\"%d%s\", [x, 1])",
    "regex.match(\"(\", x)",
    "object.get(x, [\"a\"], 1)",
    "numbers.range(0, 100)",
    "walk(x, [p, v])",
    "count(x)",
    "with input as {}",
    "import data.provost.lib.x\n",
    "data.provost",
    "# c\n",
    "\u{e9}",
    "\u{0}",
    "\r\n",
    "as ",
    "package q\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_text_compiles_or_is_refused(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        let text = pieces.concat();
        let set = compile(&bundle(vec![policy("case", &text), policy("other", "violation contains {\"msg\": \"m\", \"path\": []}")], Vec::new()));
        let verdicts = set.evaluate(&pod(&json!({"spec": {"a": [1, {"b": null}]}})));
        let other = verdicts.last().unwrap();
        prop_assert_eq!((other.policy.as_str(), other.outcome), ("other", Outcome::Fail));
    }

    #[test]
    fn any_bytes_are_refused_or_compile(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let set = compile_text(&String::from_utf8_lossy(&bytes));
        let answered = set.evaluate(&pod(&json!({}))).len() == 1;
        prop_assert_eq!(answered, set.diagnostics().is_empty());
    }

    #[test]
    fn any_object_has_an_answer(spec in json_value()) {
        let set = compile_text(HUNGRY);
        prop_assert_eq!(set.diagnostics(), []);
        let verdict = set.evaluate(&pod(&json!({"spec": spec}))).remove(0);
        prop_assert!(matches!(verdict.outcome, Outcome::Pass | Outcome::Fail), "{:?}", verdict.problem);
    }
}

/// Looks at everything, in many ways.
const HUNGRY: &str = r#"
spec := input.review.object.spec

violation contains {"msg": sprintf("%v %s", [path, type_name(value)]), "path": ["spec"]} if {
	walk(spec, [path, value])
	not startswith(value, "x")
	not value + 1 > 3
	not "a" in value
	not value.a.b == value[0]
}

violation contains {"msg": lower(text), "path": ["spec"]} if {
	some key, value in spec
	text := concat("", [sprintf("%v", [key]), object.get(value, "name", "none")])
	regex.match(object.get(value, "pattern", "^.*$"), text)
}

violation contains {"msg": "numbers", "path": ["spec"]} if {
	total := sum([number | walk(spec, [_, number]); is_number(number)])
	total > count(spec)
	every item in spec { item != null }
}
"#;

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let keys = prop_oneof![
            Just("a".to_owned()),
            Just("name".to_owned()),
            Just("pattern".to_owned()),
            ".{0,4}"
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

/// As deep as an object may be, through every function that goes down into one.
#[test]
fn depth_exhausts_no_stack() {
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"a": [inner]}));
    let text = HUNGRY.to_owned()
        + "violation contains {\"msg\": \"deep\", \"path\": [], \"patch\": [{\"op\": \"x\", \"value\": spec}]} if json.patch(spec, [{\"op\": \"test\", \"path\": \"/a\", \"value\": spec.a}]) == object.union(spec, spec)";
    let set = compile_text(&text);
    assert_eq!(set.diagnostics(), []);
    let review = pod(&json!({"spec": nested(MAX_DEPTH / 2 - 1)}));
    assert_eq!(set.evaluate(&review).len(), 1);
    let text = serde_json::to_string(&json!({"spec": nested(MAX_DEPTH)})).unwrap();
    assert!(Object::from_json(text.as_bytes()).is_err());
}

#[test]
fn deep_policies_are_refused() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{", "}"), ("f(", ")"), ("[x | x := ", "]"), ("not ", "")]
    {
        for depth in [10, 200, 20_000] {
            let text = format!(
                "f(x) := x\np := {}1{}\nviolation contains {{\"msg\": \"m\", \"path\": []}} if p",
                open.repeat(depth),
                close.repeat(depth)
            );
            let set = compile_text(&text);
            assert!(depth < 100 || !set.diagnostics().is_empty(), "{open} {depth}");
        }
    }
    for chain in ["1 + ", "1 +\n", "1 in ", "1 in\n", "- ", "1 ==\n", "input.a &\n"] {
        let rest = "1\nviolation contains {\"msg\": \"m\", \"path\": []} if p";
        let text = format!("p := {}{rest}", chain.repeat(20_000));
        assert!(!compile_text(&text).diagnostics().is_empty(), "{chain:?}");
    }
    for reference in [".a", "[0]"] {
        let text = format!("p := input{}\n", reference.repeat(2_000));
        let _ = compile_text(&text);
    }
}

#[test]
fn large_objects_are_evaluated() {
    let containers: Vec<Value> =
        (0..2000).map(|i| json!({"name": format!("c{i}"), "image": "x".repeat(1000)})).collect();
    let text = "violation contains {\"msg\": container.name, \"path\": [\"spec\", \"containers\", i]} if some i, container in input.review.object.spec.containers";
    let verdict =
        compile_text(text).evaluate(&pod(&json!({"spec": {"containers": containers}}))).remove(0);
    assert_eq!(verdict.findings.len(), 2000, "{:?}", verdict.problem);
}

#[test]
fn a_review_needs_a_kind() {
    for object in [
        json!(null),
        json!([]),
        json!({}),
        json!({"kind": "Pod"}),
        json!({"apiVersion": 1, "kind": "Pod"}),
    ] {
        assert_eq!(Review::of(Object::from(object), Checkpoint::Run), None);
    }
}
