//! kill -9, at any moment, while manifests change all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use provost_testkit::available::say;
use provost_testkit::processes::{Fleet, Site, pod};
use provost_testkit::wait::pause;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

/// As many as `make test` has time for; `make soak` sets more.
const ROUNDS: u32 = 20;
const PODS: u32 = 12;
const POLICIES: &[&str] = &["host-network", "memory-limit"];

/// Changes the manifests of a site all the time, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Load {
    fn on(site: &Site, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (asked, manifests) = (Arc::clone(&stop), site.manifests());
        let hidden = manifests.with_file_name("next.yaml");
        let writer = std::thread::spawn(move || {
            let mut dice = StdRng::seed_from_u64(seed);
            while !asked.load(Ordering::SeqCst) {
                let name = format!("pod-{}", dice.random_range(0..PODS));
                std::fs::write(&hidden, pod(&name, dice.random())).unwrap();
                std::fs::rename(&hidden, manifests.join(format!("{name}.yaml"))).unwrap();
                pause(Duration::from_millis(dice.random_range(1..40)));
            }
        });
        Self { stop, writer: Some(writer) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn rounds() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "`make soak` sets it, no configuration does")]
    let set = std::env::var("PROVOST_SOAK_ROUNDS").ok();
    set.and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// A seed that a failing run can be repeated with.
fn dice(test: &str) -> (StdRng, u64) {
    let seed = rand::random();
    say(&format!("{test}: seed {seed}"));
    (StdRng::seed_from_u64(seed), seed)
}

fn a_while(dice: &mut StdRng) {
    pause(Duration::from_millis(dice.random_range(20..700)));
}

/// What must hold after any crash: the hub shows what the manifests say, the evidence verifies from the first
/// record to the last, and what was acknowledged before is in it.
fn whole(fleet: &Fleet, site: &Site, acknowledged: u64) -> Value {
    fleet.exact(site);
    let last = fleet.settled(site);
    assert!(last >= acknowledged, "{acknowledged} was acknowledged, {last} is the last");
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
    let chain = &report["clusters"][0];
    assert!(chain["records"].as_u64().is_some_and(|records| records >= acknowledged), "{chain:#}");
    report
}

/// Nothing was given up on the way.
fn no_gap(fleet: &Fleet, report: &Value) {
    let gaps = &report["clusters"][0]["gaps"];
    assert!(gaps.as_array().is_some_and(Vec::is_empty), "{gaps:#}");
    let status: Value =
        serde_json::from_slice(&fleet.try_provost(&["fleet", "status", "-o", "json"]).stdout)
            .unwrap();
    assert_eq!(status["alarms"].as_array().map(Vec::len), Some(0), "{status:#}");
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
    no_gap(&fleet, &report);
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
    no_gap(&fleet, &report);
}

/// Scenario: both are killed in the same moment, in either order of return. Guarantee: as above.
#[test]
fn both_killed_at_once_come_back_to_exact_numbers() {
    let (mut dice, seed) = dice("both_killed");
    let mut fleet = Fleet::start(POLICIES);
    let mut site = fleet.enrol("edge-1", json!({}));
    let load = Load::on(&site, seed);
    let mut most = 0;
    for _ in 0..rounds() / 2 {
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
    no_gap(&fleet, &report);
}
