//! Clocks that are wrong, on either side, and that somebody sets while the daemons run.

use std::time::Duration;

use provost_runtime::clock::Shifted;
use provost_testkit::fault_proxy::Fault;
use provost_testkit::processes::{Fleet, HEARTBEAT_MS, LIMIT, Site, pod};
use provost_testkit::wait::until;
use serde_json::{Value, json};

use crate::inside::{InsideAgent, InsideHub};
use crate::load::{POLICIES, no_gap, whole, whole_after_first};

const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 10 * 365 * 24 * HOUR_MS;

/// The site's row at the hub. Whatever the clocks say, no age in it is negative.
fn row(fleet: &Fleet, site: &Site) -> Value {
    let clusters = fleet.get("/api/v1/clusters");
    let rows = clusters["items"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == site.name.as_str()).unwrap().clone();
    let detail = fleet.get(&format!("/api/v1/clusters/{}", row["id"].as_str().unwrap()));
    no_negative_age(&detail);
    row
}

#[track_caller]
fn no_negative_age(value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_age = name.to_ascii_lowercase().contains("age") && value.is_number();
                assert!(!is_age || value.as_f64() >= Some(0.0), "{name}: {value}");
                no_negative_age(value);
            }
        }
        Value::Array(values) => values.iter().for_each(no_negative_age),
        _ => {}
    }
}

fn fresh(fleet: &Fleet, site: &Site, expected: bool) {
    until("the hub sees how fresh it is", LIMIT, || {
        let row = row(fleet, site);
        if row["fresh"] == expected { Ok(()) } else { Err(row.to_string()) }
    });
}

/// Scenario: agents whose clocks are one hour and ten years off, both ways, enrol, report, and are set the other way while
/// they run and reconnect. Guarantee: all connect and report every time, the hub is exact, the offset is shown, and the
/// evidence verifies.
#[test]
fn agents_with_wrong_clocks_join_and_report() {
    let fleet = Fleet::start(POLICIES);
    for (name, offset_ms) in [
        ("hour-ahead", HOUR_MS),
        ("hour-behind", -HOUR_MS),
        ("decade-ahead", TEN_YEARS_MS),
        ("decade-behind", -TEN_YEARS_MS),
    ] {
        let site = fleet.prepare(name, json!({}));
        let clock = Shifted::by(offset_ms);
        let agent = InsideAgent::start(&site, clock.clone());
        site.write("web.yaml", &pod("web", true));
        until("the first findings are in", LIMIT, || {
            let status = fleet.status(&site);
            if status["link"]["connected"] == true { Ok(()) } else { Err(status.to_string()) }
        });
        whole_after_first(&fleet, &site);
        fresh(&fleet, &site, true);
        let shown = row(&fleet, &site)["clockOffsetMs"].as_i64().unwrap();
        assert!((shown + offset_ms).abs() < HOUR_MS / 2, "{name}: {shown}");
        clock.set_wall_offset_ms(-offset_ms);
        site.write("api.yaml", &pod("api", true));
        site.link.break_connections();
        whole_after_first(&fleet, &site);
        until("the offset is another one", LIMIT, || {
            let shown = row(&fleet, &site)["clockOffsetMs"].as_i64().unwrap();
            if (shown - offset_ms).abs() < HOUR_MS / 2 { Ok(()) } else { Err(shown.to_string()) }
        });
        fresh(&fleet, &site, true);
        drop(agent);
    }
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
}

/// Scenario: the hub's clock is one hour ahead and behind, at its start and set while it runs. Guarantee: agents report to
/// it all the same, and who is stale is decided by the monotonic clock alone.
#[test]
fn a_hub_that_is_an_hour_off_serves_on() {
    let mut fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    fleet.hub.stop();
    let clock = Shifted::by(HOUR_MS);
    let hub = InsideHub::start(&mut fleet, clock.clone(), &[&site]);
    for (name, offset_ms) in [("ahead", HOUR_MS), ("behind", -HOUR_MS), ("right", 0)] {
        clock.set_wall_offset_ms(offset_ms);
        site.write(&format!("{name}.yaml"), &pod(name, true));
        site.link.break_connections();
        whole_after_first(&fleet, &site);
        fresh(&fleet, &site, true);
    }
    // The wall clock makes nobody stale; silence by the monotonic clock does.
    site.link.set(Fault::Cut);
    clock.skip(Duration::from_millis(HEARTBEAT_MS * 4));
    fresh(&fleet, &site, false);
    clock.set_wall_offset_ms(-TEN_YEARS_MS);
    fresh(&fleet, &site, false);
    clock.set_wall_offset_ms(0);
    site.link.set(Fault::None);
    fresh(&fleet, &site, true);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
    drop(hub);
}

/// Scenario: the hub starts ten years ahead, so that every certificate has expired for years by its clock; then its clock
/// is right again. Guarantee: agents wait for a person meanwhile and decide on, and afterwards come back by themselves: what
/// a wrong clock once told does not keep them from the hub.
#[test]
fn a_hub_that_was_ten_years_ahead_gets_its_agents_back() {
    let mut fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    fleet.hub.stop();
    let hub = InsideHub::start(&mut fleet, Shifted::by(TEN_YEARS_MS), &[&site]);
    until("the agent waits for a person", LIMIT, || {
        let status = fleet.status(&site);
        let problem = status["link"]["problem"].as_str().unwrap_or_default();
        if problem.contains("provost fleet approve") { Ok(()) } else { Err(status.to_string()) }
    });
    site.write("api.yaml", &pod("api", true));
    until("the agent decides on", LIMIT, || {
        let last = fleet.status(&site)["spool"]["lastSeq"].as_u64().unwrap_or(0);
        if last > before { Ok(()) } else { Err(last.to_string()) }
    });
    drop(hub);
    fleet.start_hub(&[&site]);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
    let log = site.agent.log();
    assert!(log.contains("its last word on the time is forgotten"), "{log}");
}
