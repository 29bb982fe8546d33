//! kill -9, at any moment, while manifests come, change and go all the time.

use std::time::Duration;

use provost_testkit::fault_proxy::Fault;
use provost_testkit::processes::{Fleet, LIMIT, Site, pod};
use provost_testkit::wait::{pause, until};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;

use crate::load::{Load, POLICIES, dice, no_gap, whole, whole_after_first};

/// As many as `make test` has time for; `make soak` sets more.
const ROUNDS: u32 = 20;

fn rounds() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "`make soak` sets it, no configuration does")]
    let set = std::env::var("PROVOST_SOAK_ROUNDS").ok();
    set.and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

fn a_while(dice: &mut StdRng) {
    pause(Duration::from_millis(dice.random_range(20..700)));
}

fn acknowledged(fleet: &Fleet, site: &Site) -> u64 {
    fleet.status(site)["spool"]["ackedSeq"].as_u64().unwrap_or(0)
}

/// Scenario: the agent is killed again and again while manifests change. Guarantee: every
/// acknowledged record is in the hub exactly once, without a gap, and the roll-up is exact.
#[test]
fn a_killed_agent_loses_nothing_and_tells_nothing_twice() {
    let (mut dice, seed) = dice("a_killed_agent");
    let fleet = Fleet::start(POLICIES);
    let mut site = fleet.enrol("edge-1", json!({}));
    let load = Load::on(&site, seed);
    let mut most = 0;
    for _ in 0..rounds() {
        a_while(&mut dice);
        most = most.max(acknowledged(&fleet, &site));
        site.agent.kill();
        site.agent.start();
    }
    drop(load);
    let report = whole(&fleet, &site, most);
    no_gap(&fleet, &site, &report);
}

/// Scenario: the hub is killed again and again while it takes in what agents send. Guarantee: as for
/// the agent; what was acknowledged before a crash is there after it.
#[test]
fn a_killed_hub_loses_nothing_that_it_acknowledged() {
    let (mut dice, seed) = dice("a_killed_hub");
    let mut fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    let load = Load::on(&site, seed);
    let mut most = 0;
    for _ in 0..rounds() {
        a_while(&mut dice);
        most = most.max(acknowledged(&fleet, &site));
        fleet.hub.kill();
        fleet.start_hub(&[&site]);
    }
    drop(load);
    let report = whole(&fleet, &site, most);
    no_gap(&fleet, &site, &report);
}

/// Scenario: both are killed in the same moment, in either order of return. Guarantee: as above.
#[test]
fn both_killed_at_once_come_back_to_exact_numbers() {
    let (mut dice, seed) = dice("both_killed");
    let mut fleet = Fleet::start(POLICIES);
    let mut site = fleet.enrol("edge-1", json!({}));
    let load = Load::on(&site, seed);
    let mut most = 0;
    for _ in 0..rounds() {
        a_while(&mut dice);
        most = most.max(acknowledged(&fleet, &site));
        fleet.hub.kill();
        site.agent.kill();
        if dice.random() {
            site.agent.start();
            fleet.start_hub(&[&site]);
        } else {
            fleet.start_hub(&[&site]);
            site.agent.start();
        }
    }
    drop(load);
    let report = whole(&fleet, &site, most);
    no_gap(&fleet, &site, &report);
}

/// Scenario: the spool's folder is gone when the agent comes back, with what the hub had not heard. Guarantee:
/// the chain goes on and verifies, the loss is declared, and the roll-up is exact.
#[test]
fn a_spool_that_is_gone_is_declared() {
    let fleet = Fleet::start(POLICIES);
    let mut site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    site.link.set(Fault::Cut);
    site.write("api.yaml", &pod("api", true));
    until("the agent recorded it", LIMIT, || {
        let last = fleet.status(&site)["spool"]["lastSeq"].as_u64().unwrap_or(0);
        if last > before { Ok(()) } else { Err(last.to_string()) }
    });
    site.agent.kill();
    std::fs::remove_dir_all(site.data().join("spool")).unwrap();
    site.write("job.yaml", &pod("job", true));
    site.link.set(Fault::None);
    site.agent.start();
    let report = whole(&fleet, &site, before);
    assert!(report["clusters"][0]["elided"].as_u64() > Some(0), "{report:#}");
}

/// Scenario: the hub's database is put back to an older copy, while agents went on. Guarantee: the agents
/// are asked for what is missing and still have it: nothing is lost, the roll-up is exact, and an alarm and an audit row
/// tell of it, the alarm until everything is back.
#[test]
fn a_hub_put_back_to_an_older_copy_is_noticed() {
    let mut fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    whole_after_first(&fleet, &site);
    fleet.hub.stop();
    std::fs::copy(fleet.path("hub/hub.db"), fleet.path("older.db")).unwrap();
    fleet.start_hub(&[&site]);
    site.write("api.yaml", &pod("api", true));
    site.write("web.yaml", &pod("web", false));
    let last = whole_after_first(&fleet, &site);
    fleet.hub.kill();
    for name in ["hub.db-wal", "hub.db-shm"] {
        let _ = std::fs::remove_file(fleet.path("hub").join(name));
    }
    std::fs::copy(fleet.path("older.db"), fleet.path("hub/hub.db")).unwrap();
    fleet.start_hub(&[&site]);
    site.write("job.yaml", &pod("job", true));
    fleet.exact(&site);
    let stored = fleet.settled(&site);
    assert!(stored > last);
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
    assert_eq!(report["clusters"][0]["elided"], 0, "the agent had kept the tail: {report:#}");
    let alarms = fleet.alarms(&site);
    let behind = alarms.iter().find(|alarm| alarm["code"] == "HUB_BEHIND");
    let behind = behind.unwrap_or_else(|| panic!("no alarm: {alarms:?}"));
    assert!(behind.get("resolved").is_some(), "everything is back: {behind}");
    let audit = fleet.get("/api/v1/audit?limit=50");
    let rows = audit["items"].as_array();
    let rows = rows.unwrap_or_else(|| panic!("{audit}")).iter();
    assert_eq!(rows.filter(|row| row["action"] == "hub.behind").count(), 1, "{audit}");
}
