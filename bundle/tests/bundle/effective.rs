//! Which bindings are in force where, and what people are told of it.

use std::collections::BTreeMap;

use provost_bundle::explain::{Standing, explain};
use provost_bundle::plan::{Change, plan};
use provost_bundle::{Bundle, State, effective};
use provost_model::verdict::NotEvaluatedReason;
use provost_model::{Action, Labels};
use serde_json::json;

use crate::tree::Tree;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn bundle(bindings: &str) -> Bundle {
    Tree::new().with("bindings/edge.yaml", bindings).read().unwrap().into_bundle()
}

/// `policy/binding`, with `?` where it is a fallback and `-` where it gives no verdict.
fn shown(bundle: &Bundle, labels: &Labels) -> Vec<String> {
    let mark = |b: &provost_bundle::InForce| {
        let fallback = if b.fallback { "?" } else { "" };
        let silent = if b.state == State::Active { "" } else { "-" };
        format!("{}/{}{fallback}{silent}", b.policy, b.binding)
    };
    effective(bundle, labels).bindings.iter().map(mark).collect()
}

#[test]
fn a_binding_is_in_force_where_its_selector_fits() {
    let bundle = Tree::new().read().unwrap().into_bundle();
    assert_eq!(
        shown(&bundle, &labels(&[("tier", "edge")])),
        ["privileged/edge", "registries/default?-", "registries/ours",],
        "edge matches every subject of its policy, so that its default is never reached"
    );
    assert_eq!(
        shown(&bundle, &Labels::new()),
        ["privileged/default?", "registries/default?-", "registries/ours"]
    );
}

#[test]
fn a_fallback_stays_where_the_other_bindings_leave_subjects_over() {
    for matches in
        ["namespaces: [a]", "kinds: [{group: '', kinds: [Pod]}]", "labels: {matchLabels: {a: b}}"]
    {
        let bundle = bundle(&format!("id: some\npolicy: privileged\nmatch: {{{matches}}}\n"));
        let shown = shown(&bundle, &Labels::new());
        assert_eq!(shown[..2], ["privileged/default?", "privileged/some"], "{matches}");
    }
    let excluding = bundle("id: some\npolicy: privileged\nmatch: {excludedNamespaces: [a]}\n");
    assert_eq!(shown(&excluding, &Labels::new())[0], "privileged/some");
}

#[test]
fn an_off_binding_gives_no_verdict_and_keeps_the_fallback_out() {
    let bundle = bundle("id: none\npolicy: privileged\naction: off\n");
    let effective = effective(&bundle, &Labels::new());
    let not: Vec<_> = effective
        .not_evaluated()
        .into_iter()
        .map(|n| (n.policy.to_string(), n.binding.to_string(), n.reason))
        .collect();
    assert_eq!(
        not,
        [
            ("privileged".to_owned(), "none".to_owned(), NotEvaluatedReason::Off),
            ("registries".to_owned(), "default".to_owned(), NotEvaluatedReason::Inactive),
        ]
    );
    assert!(effective.policy_set().entries.is_empty());
}

#[test]
fn required_parameters_that_are_null_or_empty_make_a_binding_inactive() {
    for (value, active) in [("null", false), ("[]", false), ("[a]", true)] {
        let bundle =
            bundle(&format!("id: x\npolicy: registries\nparameters: {{allowed: {value}}}\n"));
        let effective = effective(&bundle, &Labels::new());
        let binding = effective.bindings.iter().find(|b| b.binding.as_str() == "x").unwrap();
        assert_eq!(binding.state == State::Active, active, "{value}");
        if !active {
            assert_eq!(binding.state, State::Inactive { missing: vec!["allowed".to_owned()] });
        }
    }
}

#[test]
fn the_policy_set_is_sorted_and_says_what_the_binding_says() {
    let bundle = Tree::new().read().unwrap().into_bundle();
    let effective = effective(&bundle, &labels(&[("tier", "edge")]));
    let entries = effective.policy_set().entries;
    let ids: Vec<String> = entries.iter().map(|e| format!("{}/{}", e.policy, e.binding)).collect();
    assert_eq!(ids, ["privileged/edge", "registries/ours"]);
    assert_eq!((entries[0].action, entries[0].code.as_str()), (Action::Warn, "A04"));
    assert_eq!(entries[0].origin, bundle.origin);
    let edge = &effective.bindings[0];
    assert_eq!(json!(edge.parameters), json!({"allowed": []}), "complete, with defaults");
    assert_eq!(edge.revision, entries[0].revision);
}

#[test]
fn a_revision_follows_rules_libraries_and_parameters_and_nothing_else() {
    let revisions = |tree: &Tree| -> BTreeMap<String, String> {
        let bundle = tree.read().unwrap().into_bundle();
        let effective = effective(&bundle, &labels(&[("tier", "edge")]));
        let entries = effective.policy_set().entries;
        entries.iter().map(|e| (e.policy.to_string(), e.revision.to_string())).collect()
    };
    let base = revisions(&Tree::new());
    let changed = |tree: Tree| -> Vec<String> {
        let now = revisions(&tree);
        base.keys().filter(|policy| base[*policy] != now[*policy]).cloned().collect()
    };
    let policy = "pods/privileged/policy.rego";
    let bindings = "bindings/edge.yaml";
    assert_eq!(
        changed(Tree::new().replace(policy, "\"privileged\", \"path\"", "\"p\", \"path\"")),
        ["privileged"]
    );
    assert_eq!(
        changed(Tree::new().replace("lib/objects.rego", "spec :=", "spec  :=")),
        ["privileged"]
    );
    assert_eq!(
        changed(Tree::new().replace(bindings, "[registry.example.org]", "[x]")),
        ["registries"]
    );
    assert!(changed(Tree::new().replace("lib/unused.rego", "x := 1", "x := 2")).is_empty());
    assert!(changed(Tree::new().replace(bindings, "action: warn", "action: deny")).is_empty());
}

/// It stands in every record's policy set: a change here makes every verdict look new.
#[test]
fn revisions_are_golden() {
    let bundle = Tree::new().read().unwrap().into_bundle();
    let entries = effective(&bundle, &Labels::new()).policy_set().entries;
    let lines: Vec<String> =
        entries.iter().map(|e| format!("{}/{} {}", e.policy, e.binding, e.revision)).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn explain_tells_of_every_binding() {
    let bundle = Tree::new().read().unwrap().into_bundle();
    let standings = |labels: &Labels| -> Vec<(String, Standing)> {
        explain(&bundle, labels)
            .into_iter()
            .flat_map(|p| {
                let policy = p.policy;
                p.bindings.into_iter().map(move |b| (format!("{policy}/{}", b.binding), b.standing))
            })
            .collect()
    };
    let at = |binding: &str, standing| (binding.to_owned(), standing);
    assert_eq!(
        standings(&labels(&[("tier", "edge")])),
        [
            at("privileged/default", Standing::Superseded),
            at("privileged/edge", Standing::Active),
            at("registries/default", Standing::Inactive),
            at("registries/ours", Standing::Active),
        ]
    );
    assert_eq!(
        standings(&Labels::new())[..2],
        [
            at("privileged/default", Standing::Fallback),
            at("privileged/edge", Standing::NotSelected)
        ]
    );
}

#[test]
fn a_plan_shows_each_change_once() {
    let old = Tree::new().read().unwrap().into_bundle();
    assert!(plan(Some(&old), &old).is_empty());
    assert_eq!(plan(None, &old).policies.len(), 2);

    let new = Tree::new()
        .replace("pods/privileged/policy.rego", "action: deny", "action: audit")
        .replace("pods/privileged/policy.rego", "default: []", "default: [a]")
        .replace("lib/objects.rego", "object.spec", "object.other")
        .without("images/registries/policy.rego")
        .with(
            "bindings/edge.yaml",
            "id: edge\npolicy: privileged\naction: deny\n---\nid: new\npolicy: privileged\n",
        )
        .read()
        .unwrap()
        .into_bundle();
    let plan = plan(Some(&old), &new);
    insta::assert_json_snapshot!(plan);
    assert_eq!(plan.policies[1].change, Change::Removed);
}

#[test]
fn comments_alone_are_no_change() {
    let old = Tree::new().read().unwrap().into_bundle();
    let new = Tree::new()
        .replace("lib/objects.rego", "\n\nspec", "\n\n# The spec.\nspec")
        .read()
        .unwrap()
        .into_bundle();
    assert!(plan(Some(&old), &new).is_empty());
}
