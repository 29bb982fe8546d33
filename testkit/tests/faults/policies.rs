//! Policies that loop, fail, or answer what is no answer, beside good ones.
//!
//! Where the engine itself is the subject (time limits, panics, shapes), `engine/tests` has the cases; here they
//! pass the hub's gate, reach a real agent, and must harm nobody else.

use provost_testkit::processes::{Fleet, LIMIT, Site, pod};
use provost_testkit::wait::until;
use serde_json::{Value, json};

/// Never ends within any limit.
const LOOPS: &str = "violation contains {\"msg\": \"m\", \"path\": []} if {\n\tns := numbers.range(1, 9000)\n\t\
     count([1 | some a in ns; some b in ns; a == b]) == 1\n}";
/// Fails on the one pod that asks for it.
const FAILS_ON_ONE: &str = "violation contains {\"msg\": \"m\", \"path\": []} if {\n\t\
     some x in [1, 2]\n\tpick(input.review.object.metadata.name, x) == 1\n}\n\n\
     pick(\"odd\", x) := x\n\npick(\"odd\", x) := x + 1\n\npick(name, _) := 0 if name != \"odd\"";
const WRONG_SHAPE: &str = "violation contains \"not an object\"";
/// A built-in that panics in the engine when its argument is empty.
const PANICS: &str = "violation contains {\"msg\": \"m\", \"path\": []} if {\n\t\
     empty := substring(input.review.object.metadata.name, 0, 0)\n\t\
     strings.count(input.review.object.metadata.name, empty) > 100\n}";

/// Puts a policy for Pods into the tree.
pub fn add(fleet: &Fleet, id: &str, text: &str) {
    let folder = fleet.path("policies/cases").join(id);
    std::fs::create_dir_all(&folder).unwrap();
    let package = id.replace('-', "_");
    let text = format!(
        "# METADATA\n# title: {id}\n# description: A case.\n# custom:\n#   id: {id}\n#   severity: low\n\
         #   category: security\n#   kinds: [{{group: \"\", kinds: [Pod]}}]\n#   action: audit\n\
         #   failMode: open\n#   remediation: None.\npackage provost.cases.{package}\n\n{text}\n"
    );
    std::fs::write(folder.join("policy.rego"), text).unwrap();
}

/// (policy, object) -> outcome and code, of everything that the hub holds of this site.
fn verdict(fleet: &Fleet, site: &Site, policy: &str, object: &str) -> Option<(String, String)> {
    let query = format!("/api/v1/verdicts?cluster={}&policy={policy}&limit=100", site.name);
    let rows = fleet.get(&query);
    let rows = rows["items"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["subject"]["name"] == object)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some((text(&row["outcome"]), text(&row["reasonCode"])))
}

/// Scenario: a bundle with a policy that loops, one that panics in a built-in, one that returns what is no
/// finding, and one that fails on a single object. Guarantee: each is an error of its own with its code, on the
/// objects it failed on and nowhere else; every other verdict arrives.
#[test]
fn a_bad_policy_costs_nobody_else_a_verdict() {
    let fleet = Fleet::start(&["host-network"]);
    for (id, text) in [
        ("loops", LOOPS),
        ("fails-on-one", FAILS_ON_ONE),
        ("wrong-shape", WRONG_SHAPE),
        ("panics", PANICS),
    ] {
        add(&fleet, id, text);
    }
    fleet.publish(2);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("odd.yaml", &pod("odd", true));
    site.write("even.yaml", &pod("even", true));
    let told = |policy: &str, object: &str, outcome: &str, code: &str| {
        until(&format!("{policy} says {outcome} of {object}"), LIMIT, || {
            match verdict(&fleet, &site, policy, object) {
                Some(found) if found == (outcome.to_owned(), code.to_owned()) => Ok(()),
                other => Err(format!("{other:?}\n{}", site.agent.last_words())),
            }
        });
    };
    for object in ["odd", "even"] {
        told("host-network", object, "fail", "");
        told("loops", object, "error", "EVAL_TIMEOUT");
        told("wrong-shape", object, "error", "EVAL_SHAPE");
    }
    told("fails-on-one", "odd", "error", "EVAL_FAILED");
    told("fails-on-one", "even", "pass", "");
    // Refused, contained or answered: whatever the engine makes of it, the agent lives.
    assert!(verdict(&fleet, &site, "panics", "odd").is_some(), "the panic has a verdict");
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
}
