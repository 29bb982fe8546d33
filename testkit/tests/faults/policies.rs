//! Policies that loop, fail, want too much, or answer what is no answer, beside good ones.
//!
//! Where the engine itself is the subject (limits, panics, shapes), `engine/tests` has the cases; here they
//! pass the hub's gate, reach a real agent, and must harm nobody else.

use provost_model::limits::{MAX_FINDINGS_PER_VERDICT, MAX_MESSAGE_BYTES};
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
/// Built-ins on whose arguments the engine's own functions panic.
const PANICS: &str = "violation contains {\"msg\": \"m\", \"path\": []} if {\n\t\
     empty := substring(input.review.object.metadata.name, 0, 0)\n\t\
     strings.count(input.review.object.metadata.name, empty) > 100\n}\n\n\
     violation contains {\"msg\": \"m\", \"path\": []} if not object.subset([\"a\"], [])";
/// As `PANICS`: a width that is a number to Unicode and no digit.
const PANICS_IN_SPRINTF: &str = "violation contains {\"msg\": \"m\", \"path\": []} if {\n\t\
     input.review.object.metadata.name == \"odd\"\n\t\
     sprintf(\"%\u{b2}d\", [1]) == \"1\"\n}";
/// Asks for a list that is longer than the engine makes one.
const TOO_WIDE: &str = "violation contains {\"msg\": \"m\", \"path\": []} if {\n\t\
     input.review.object.metadata.name == \"odd\"\n\t\
     count(numbers.range(1, 10000000)) == 1\n}";
/// Finds a hundred things and says much of each.
const TOO_MUCH: &str = "violation contains {\"msg\": msg, \"path\": [\"metadata\", \"name\"], \"patch\": patch} if {\n\t\
     text := concat(\"\", [\"long\" | some _ in numbers.range(1, 1500)])\n\t\
     some n in numbers.range(1, 100)\n\t\
     msg := sprintf(\"%d %s\", [n, text])\n\t\
     patch := [{\"op\": \"replace\", \"path\": \"/metadata/name\", \"value\": text}]\n}";

/// Puts a policy for Pods into the tree.
pub fn add(fleet: &Fleet, id: &str, text: &str) {
    add_for("Pod", fleet, id, text);
}

/// Puts a policy for objects of this kind into the tree.
pub fn add_for(kind: &str, fleet: &Fleet, id: &str, text: &str) {
    let folder = fleet.path("policies/cases").join(id);
    std::fs::create_dir_all(&folder).unwrap();
    let package = id.replace('-', "_");
    let text = format!(
        "# METADATA\n# title: {id}\n# description: A case.\n# custom:\n#   id: {id}\n#   severity: low\n\
         #   category: security\n#   kinds: [{{group: \"\", kinds: [{kind}]}}]\n#   action: audit\n\
         #   failMode: open\n#   remediation: None.\npackage provost.cases.{package}\n\n{text}\n"
    );
    std::fs::write(folder.join("policy.rego"), text).unwrap();
}

/// The hub's gate lets no version in that has this policy, and names it; then it is taken out again.
fn refused(fleet: &Fleet, id: &str, text: &str) {
    add(fleet, id, text);
    let build = ["bundle", "build", "policies", "--out", "v2", "--version", "2", "--skip-tests"];
    fleet.provost(&build);
    fleet.provost(&["bundle", "sign", "v2", "--key", "policy.key.json"]);
    let published = fleet.try_provost(&["bundle", "publish", "v2", "--root", "root.json"]);
    let error = String::from_utf8_lossy(&published.stderr);
    assert!(!published.status.success() && error.contains(id), "{error}");
    std::fs::remove_dir_all(fleet.path("policies/cases").join(id)).unwrap();
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

/// Scenario: a bundle with a policy that loops, one that calls built-ins that panic in the engine, one that
/// returns what is no finding, one that fails on a single object, and some that want more than the engine gives. Guarantee: each is an error
/// of its own with its code, on the objects it failed on and nowhere else; what would panic is answered, or refused when
/// it is published; what is too much is cut to its limit; every other verdict arrives.
#[test]
fn a_bad_policy_costs_nobody_else_a_verdict() {
    let fleet = Fleet::start(&["host-network"]);
    for (id, text) in [
        ("loops", LOOPS),
        ("fails-on-one", FAILS_ON_ONE),
        ("wrong-shape", WRONG_SHAPE),
        ("panics", PANICS),
        ("too-wide", TOO_WIDE),
        ("too-much", TOO_MUCH),
    ] {
        add(&fleet, id, text);
    }
    refused(&fleet, "panics-in-sprintf", PANICS_IN_SPRINTF);
    fleet.publish(3);
    let mut site = fleet.enrol("edge-1", json!({}));
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
        told("too-much", object, "fail", "");
        told("panics", object, "pass", "");
    }
    for (policy, code) in [("fails-on-one", "EVAL_FAILED"), ("too-wide", "EVAL_FAILED")] {
        told(policy, "odd", "error", code);
        told(policy, "even", "pass", "");
    }
    let query = format!("/api/v1/findings?cluster={}&policy=too-much&limit=100", site.name);
    let found = fleet.get(&query);
    let rows = found["items"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * MAX_FINDINGS_PER_VERDICT, "{found}");
    for row in rows {
        let message = row["message"].as_str().unwrap();
        assert!(message.len() <= MAX_MESSAGE_BYTES && message.contains("long"), "{row}");
        assert!(row["patch"].is_null(), "{row}");
    }
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
    assert!(site.agent.runs(), "{}", site.agent.last_words());
    assert!(!site.agent.log().contains("panicked"), "{}", site.agent.log());
}
