//! What a compiled set promises: isolation, matching, order, stable errors.

use std::time::Duration;

use provost_engine::{Cluster, CompiledSet, Options};
use provost_model::policy::Checkpoint;
use provost_model::verdict::NotEvaluatedReason;
use provost_model::{Outcome, Verdict};
use serde_json::json;

use crate::cases::{binding, bundle, compile, compile_text, only, pod, policy, review};

const ALWAYS: &str = r#"violation contains {"msg": "m", "path": ["spec"]}"#;
const PRIVILEGED: &str = r#"
violation contains {"msg": "privileged", "path": ["spec", "containers", i, "securityContext", "privileged"]} if {
	some i, container in input.review.object.spec.containers
	container.securityContext.privileged == true
}"#;

fn outcomes(verdicts: &[Verdict]) -> Vec<(&str, &str, Outcome)> {
    verdicts.iter().map(|v| (v.policy.as_str(), v.binding.as_str(), v.outcome)).collect()
}

#[test]
fn a_verdict_has_its_findings_by_place() {
    let set = compile_text(PRIVILEGED);
    assert_eq!(set.diagnostics(), []);
    let containers = json!([{"name": "a"}, {"name": "b", "securityContext": {"privileged": true}}]);
    let verdict = only(set.evaluate(&pod(&json!({"spec": {"containers": containers}}))));
    assert_eq!(verdict.outcome, Outcome::Fail);
    let finding = &verdict.findings[0];
    assert_eq!(finding.path.to_string(), "spec.containers[1].securityContext.privileged");
    // The same container elsewhere in the list is the same finding.
    let containers = json!([{"name": "b", "securityContext": {"privileged": true}}]);
    let moved = only(set.evaluate(&pod(&json!({"spec": {"containers": containers}}))));
    assert_eq!(moved.findings[0].fingerprint, finding.fingerprint);
    assert_ne!(moved.findings[0].path, finding.path);
    assert_eq!(only(set.evaluate(&pod(&json!({"spec": {}})))).outcome, Outcome::Pass);
}

#[test]
fn a_bad_policy_harms_no_other() {
    let broken =
        ["this is no rego", "p := 1", "violation contains x", "violation contains http.send({})"];
    let mut policies: Vec<_> =
        broken.iter().enumerate().map(|(i, text)| policy(&format!("broken-{i}"), text)).collect();
    policies.push(policy("good", ALWAYS));
    let set = compile(&bundle(policies, Vec::new()));
    assert_eq!(outcomes(&set.evaluate(&pod(&json!({})))), [("good", "default", Outcome::Fail)]);
    assert!(set.diagnostics().len() >= broken.len(), "{:?}", set.diagnostics());
    let reasons = set.not_evaluated(Checkpoint::Run);
    assert_eq!(reasons.len(), broken.len());
    assert!(reasons.iter().all(|n| n.reason == NotEvaluatedReason::Broken && !n.detail.is_empty()));
}

#[test]
fn a_forbidden_builtin_is_named_with_its_place() {
    let set = compile_text(
        "\nviolation contains {\"msg\": \"m\", \"path\": []} if {\n\thttp.send({}).status == 1\n}",
    );
    let diagnostic = &set.diagnostics()[0];
    assert_eq!(
        (diagnostic.code.as_str(), diagnostic.line, diagnostic.column),
        ("BUILTIN_FORBIDDEN", 4, 2)
    );
    assert_eq!(diagnostic.file, "cases/case/policy.rego");
    assert!(diagnostic.message.contains("http.send"), "{diagnostic}");
}

#[test]
fn what_is_no_set_of_findings_is_an_error_with_a_stable_code() {
    for (text, code) in [
        ("violation contains \"text\"", "EVAL_SHAPE"),
        ("violation contains {\"msg\": \"m\"}", "EVAL_SHAPE"),
        ("violation contains {\"msg\": 1, \"path\": []}", "EVAL_SHAPE"),
        ("violation contains {\"msg\": \"m\", \"path\": {}}", "EVAL_SHAPE"),
        (
            "violation contains {\"msg\": \"m\", \"path\": []} if f(1) == 1\nf(x) := 1 if x > 0\nf(x) := 2 if x > 0",
            "EVAL_FAILED",
        ),
        (
            "violation contains {\"msg\": \"m\", \"path\": []} if count(numbers.range(1, 10000000)) > 1",
            "EVAL_FAILED",
        ),
        // The engine's own function panics on this.
        ("violation contains {\"msg\": \"m\", \"path\": []} if object.union_n([1])", "PASS"),
    ] {
        let set = compile_text(text);
        assert_eq!(set.diagnostics(), [], "{text}");
        let verdict = only(set.evaluate(&pod(&json!({}))));
        match verdict.problem {
            Some(problem) => {
                assert_eq!(
                    (verdict.outcome, problem.code.as_str()),
                    (Outcome::Error, code),
                    "{text}"
                );
            }
            None => assert_eq!(code, "PASS", "{text}: {:?}", verdict.outcome),
        }
    }
}

#[test]
fn no_value_of_the_object_is_in_an_error() {
    let set = compile_text(
        "violation contains {\"msg\": \"m\", \"path\": []} if { some x in [1, 2]; f(input.review.object.spec.x) == x }\nf(_) := 1\nf(y) := 2 if y == \"hunter2\"",
    );
    let verdict = only(set.evaluate(&pod(&json!({"spec": {"x": "hunter2"}}))));
    let problem = verdict.problem.unwrap();
    assert_eq!(problem.code, "EVAL_FAILED");
    assert!(!problem.message.contains("hunter2"), "{}", problem.message);
}

#[test]
fn a_runaway_is_stopped_and_the_next_one_works() {
    let set = compile_text(
        "violation contains {\"msg\": \"m\", \"path\": []} if {\n\tinput.review.object.spec.slow\n\tns := numbers.range(1, 3000)\n\tcount([1 | some a in ns; some b in ns; a == b]) == 1\n}",
    );
    assert_eq!(set.diagnostics(), []);
    let limit = Duration::from_millis(50);
    let slow = pod(&json!({"spec": {"slow": true}}));
    let problem = only(set.evaluate_within(&slow, &|| limit)).problem.unwrap();
    assert_eq!(problem.code, "EVAL_TIMEOUT");
    assert_eq!(only(set.evaluate(&pod(&json!({})))).outcome, Outcome::Pass);
    let none_left = only(set.evaluate_within(&pod(&json!({})), &|| Duration::ZERO));
    assert_eq!(none_left.problem.unwrap().code, "EVAL_TIMEOUT");
}

#[test]
fn every_binding_that_matches_answers_and_the_default_only_where_none_does() {
    let bindings = vec![
        binding(json!({"id": "z-shop", "policy": "a", "match": {"namespaces": ["shop"]}})),
        binding(json!({"id": "b-all", "policy": "a", "action": "warn",
            "match": {"namespaces": ["shop", "bank"], "excludedNamespaces": ["bank"]}})),
        binding(
            json!({"id": "off", "policy": "b", "action": "off", "match": {"namespaces": ["shop"]}}),
        ),
    ];
    let set = compile(&bundle(vec![policy("b", ALWAYS), policy("a", ALWAYS)], bindings));
    let at = |namespace: &str| {
        review(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}}),
        )
    };
    let fail = Outcome::Fail;
    assert_eq!(
        outcomes(&set.evaluate(&at("shop"))),
        [("a", "b-all", fail), ("a", "z-shop", fail)],
        "b is off in shop"
    );
    assert_eq!(
        outcomes(&set.evaluate(&at("bank"))),
        [("a", "b-all", Outcome::Skip), ("b", "default", fail)],
        "to be excluded is to be matched"
    );
    assert_eq!(
        outcomes(&set.evaluate(&at("else"))),
        [("a", "default", fail), ("b", "default", fail)]
    );
    let off: Vec<_> = set.not_evaluated(Checkpoint::Run).iter().map(|n| n.reason).collect();
    assert_eq!(off, [NotEvaluatedReason::Off]);
    for verdict in set.evaluate(&at("shop")) {
        let index = set.index_of(&verdict.policy, &verdict.binding).unwrap();
        assert_eq!(set.policy_set().entries[index].binding, verdict.binding);
    }
}

#[test]
fn parameters_are_complete_and_checked() {
    let mut with = policy(
        "case",
        "violation contains {\"msg\": concat(\",\", input.parameters.names), \"path\": []} if input.parameters.unset == null",
    );
    with.meta.parameters = serde_json::from_value(json!({
        "names": {"type": "array", "items": {"type": "string"}, "default": ["d"]},
        "unset": {"type": "string"},
    }))
    .unwrap();
    let bindings = vec![
        binding(
            json!({"id": "good", "policy": "case", "parameters": {"names": ["x", "y"]}, "match": {"namespaces": ["shop"]}}),
        ),
        binding(
            json!({"id": "wrong", "policy": "case", "parameters": {"names": [5]}, "match": {"namespaces": ["shop"]}}),
        ),
    ];
    let set = compile(&bundle(vec![with], bindings));
    let verdicts = set.evaluate(&pod(&json!({})));
    assert_eq!(outcomes(&verdicts), [("case", "good", Outcome::Fail)]);
    assert_eq!(verdicts[0].findings[0].message, "x,y");
    assert_eq!(set.diagnostics()[0].code.as_str(), "PARAMETER_INVALID");
    let mut elsewhere = pod(&json!({}));
    elsewhere.namespace = "else".to_owned();
    assert_eq!(set.evaluate(&elsewhere)[0].findings[0].message, "d");
}

#[test]
fn a_policy_that_needs_admission_is_not_asked_elsewhere() {
    let mut only_deploy = policy("case", ALWAYS);
    only_deploy.meta.checkpoints = vec![Checkpoint::Deploy];
    let set = compile(&bundle(vec![only_deploy], Vec::new()));
    assert_eq!(set.evaluate(&pod(&json!({}))), []);
    assert_eq!(set.not_evaluated(Checkpoint::Run)[0].reason, NotEvaluatedReason::Checkpoint);
    assert_eq!((set.kinds(Checkpoint::Run).len(), set.kinds(Checkpoint::Deploy).len()), (0, 1));
    let mut deploy = pod(&json!({}));
    deploy.checkpoint = Checkpoint::Deploy;
    assert_eq!(only(set.evaluate(&deploy)).outcome, Outcome::Fail);
}

#[test]
fn the_inventory_is_there_for_those_who_refer_to_it() {
    let text = "violation contains {\"msg\": \"m\", \"path\": []} if data.inventory.x == 1";
    let bundle = bundle(vec![policy("case", text)], Vec::new());
    let options = Options { inventory: Some(json!({"x": 1}).into()), ..Options::default() };
    let set = CompiledSet::compile(&bundle, &Cluster::default(), &options);
    assert_eq!(only(set.evaluate(&pod(&json!({})))).outcome, Outcome::Fail);
    assert_eq!(only(compile(&bundle).evaluate(&pod(&json!({})))).outcome, Outcome::Pass);
}

#[test]
fn rules_that_need_themselves_are_refused() {
    for text in [
        "violation contains f(1)\nf(x) := f(x)",
        "violation contains p\np := q\nq := p",
        "violation contains f(1)\nf(x) := data.provost.cases.case.g(x)\ng(x) := f(x)",
        "violation contains data.provost.cases[input.x]",
    ] {
        let set = compile_text(text);
        let told = set.diagnostics().iter().any(|d| d.message.contains("needs itself"));
        assert!(told, "{text}: {:?}", set.diagnostics());
    }
    // A local name that a rule has as well is no need.
    let text = "violation contains {\"msg\": path, \"path\": []} if path := name\nname := path if { path := \"x\" }\npath := name";
    assert_eq!(compile_text(text).diagnostics(), []);
}
