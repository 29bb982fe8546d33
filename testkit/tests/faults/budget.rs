//! More happens while the link is down than the agent's disk budget can hold.

use std::fmt::Write as _;

use provost_testkit::available::say;
use provost_testkit::fault_proxy::Fault;
use provost_testkit::processes::{Fleet, LIMIT, Site, pod};
use provost_testkit::wait::until;
use rand::distr::{Alphanumeric, SampleString as _};
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::load::{alarms, dice, whole_after_first};
use crate::policies::add;

/// The least that an agent takes.
const BUDGET_BYTES: u64 = 32 * 1024 * 1024;
/// Of so many the agent seals what a round brings at once, for its size.
const PODS: u32 = 110;
const NOTES: u32 = 3;
/// As long as a patch may be, with what base64 adds.
const NOTE_LENGTH: usize = 2900;
/// A round brings some megabytes: so many are far beyond the budget.
const MOST_ROUNDS: u32 = 40;

/// Policies that propose what a pod's annotations say, each in a way that compresses none of the others.
const ECHOES: &[(&str, &str)] = &[
    ("echo", "note"),
    ("echo-backwards", "strings.reverse(note)"),
    ("echo-encoded", "base64.encode(note)"),
    ("echo-encoded-backwards", "base64.encode(strings.reverse(note))"),
];

/// A pod of these annotations; it breaks `host-network` or does not.
fn noted(name: &str, host_network: bool, dice: &mut StdRng) -> String {
    let mut notes = String::new();
    for number in 0..NOTES {
        let note = Alphanumeric.sample_string(dice, NOTE_LENGTH);
        write!(notes, "n{number}: '{note}', ").unwrap();
    }
    let named = format!("{{annotations: {{{notes}}}, name: {name},");
    pod(name, host_network).replace(&format!("{{name: {name},"), &named)
}

/// Records that are neither acknowledged nor held.
fn shed(status: &Value) -> u64 {
    let number = |key: &str| status["spool"][key].as_u64().unwrap_or(0);
    (number("lastSeq") - number("ackedSeq")).saturating_sub(number("unacknowledged"))
}

/// Changes every pod again and again until something was shed; the status then.
fn overflow(fleet: &Fleet, site: &Site, dice: &mut StdRng) -> Value {
    for round in 0..MOST_ROUNDS {
        let before = last_seq(&fleet.status(site));
        for number in 0..PODS {
            let name = format!("pod-{number}");
            site.write(&format!("{name}.yaml"), &noted(&name, (number + round) % 2 == 0, dice));
        }
        let status = until("the round is recorded", LIMIT, || {
            let status = fleet.status(site);
            assert!(status["spool"]["bytes"].as_u64() <= Some(BUDGET_BYTES), "{status}");
            if last_seq(&status) > before { Ok(status) } else { Err(status.to_string()) }
        });
        if shed(&status) > 0 {
            say(&format!("budget: shed in round {round}: {}", status["spool"]));
            return status;
        }
    }
    panic!("the budget was never reached: {}", fleet.status(site));
}

fn last_seq(status: &Value) -> u64 {
    status["spool"]["lastSeq"].as_u64().unwrap_or(0)
}

/// Scenario: the link is cut while manifests change, for longer than the spool's budget can bear. Guarantee: the
/// agent stays within its budget, decides on, and says what waits; when the link returns, the hub holds what was
/// shed as declared gaps with counts, and none that is not declared; the chain verifies with every record either in
/// it or in a gap; the roll-up is what the manifests say now.
#[test]
fn what_a_long_cut_sheds_is_declared_and_the_hub_exact_again() {
    let (mut dice, _) = dice("budget");
    let fleet = Fleet::start(&["host-network"]);
    for (id, echo) in ECHOES {
        let text = format!(
            "violation contains {{\"msg\": \"m\", \"path\": [\"metadata\", \"annotations\", key], \"patch\": patch}} if {{\n\t\
             some key, note in input.review.object.metadata.annotations\n\t\
             patch := [{{\"op\": \"add\", \"path\": \"/spec\", \"value\": {echo}}}]\n}}"
        );
        add(&fleet, id, &text);
    }
    fleet.publish(2);
    let site = fleet.enrol("edge-1", json!({"spool": {"max_bytes": BUDGET_BYTES}}));
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    site.link.set(Fault::Cut);
    let status = overflow(&fleet, &site, &mut dice);
    let said = until("the agent says that its snapshot waits", LIMIT, || {
        let status = fleet.status(&site);
        let parts = status["parts"].as_array().cloned().unwrap_or_default();
        let waits =
            parts.iter().find(|part| part["name"] == "snapshot" && part["healthy"] == false);
        waits.map(|part| part["detail"].to_string()).ok_or_else(|| status.to_string())
    });
    assert!(said.contains("snapshot waits"), "{said}");
    // It decides on: another change gets its number, and admission would answer by the same policies.
    site.write("api.yaml", &pod("api", true));
    until("the agent decides on", LIMIT, || {
        let now = fleet.status(&site);
        if last_seq(&now) > last_seq(&status) { Ok(()) } else { Err(now.to_string()) }
    });
    assert_eq!(fleet.shown(&site).len(), 1, "the hub heard nothing of it");

    site.link.set(Fault::None);
    // Megabytes go over first, which takes its time in a build that is not optimised.
    fleet.settled(&site);
    fleet.exact(&site);
    let last = fleet.settled(&site);
    assert!(last > before, "{before} {last}");
    declared(&fleet, &site, last);
}

/// Everything up to `last` is in the evidence or in a declared gap, and the hub shows those gaps.
fn declared(fleet: &Fleet, site: &Site, last: u64) {
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
    let cluster = &report["clusters"][0];
    let elided = cluster["elided"].as_u64().unwrap();
    assert!(elided > 0, "{report:#}");
    assert_eq!(cluster["records"].as_u64().unwrap() + elided, last, "{report:#}");
    let gaps = fleet.get("/api/v1/gaps?limit=500");
    assert!(gaps["next"].is_null(), "{gaps}");
    let gaps = gaps["items"].as_array().unwrap();
    let mut shown = 0;
    for gap in gaps {
        assert_eq!((&gap["declared"], &gap["reason"]), (&json!(true), &json!("cap")), "{gap}");
        assert!(gap["counts"].as_array().is_some_and(|counts| !counts.is_empty()), "{gap}");
        shown += gap["toSeq"].as_u64().unwrap() - gap["fromSeq"].as_u64().unwrap() + 1;
    }
    assert_eq!(shown, elided, "{gaps:?}");
    assert_eq!(fleet.get("/api/v1/fleet")["undeclaredGaps"], 0);
    assert_eq!(alarms(fleet, site), Vec::<String>::new());
    let healthy = until("the agent's spool is well again", LIMIT, || {
        let status = fleet.status(site);
        let parts = status["parts"].as_array().cloned().unwrap_or_default();
        let snapshot = parts.iter().find(|part| part["name"] == "snapshot").cloned();
        snapshot.filter(|part| part["healthy"] == true).ok_or_else(|| status.to_string())
    });
    assert_eq!(healthy["detail"], "");
}
