//! Manifests that change all the time, and what must hold of a fleet afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use provost_testkit::available::say;
use provost_testkit::processes::{Fleet, Site, pod};
use provost_testkit::wait::pause;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

const PODS: u32 = 12;
/// Of so many changes one is a removal.
const REMOVED_OF: u32 = 5;
pub const POLICIES: &[&str] = &["host-network", "memory-limit"];

/// Writes and removes manifests of a site all the time, until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Load {
    pub fn on(site: &Site, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (asked, manifests) = (Arc::clone(&stop), site.manifests());
        let hidden = manifests.with_file_name("next.yaml");
        let writer = std::thread::spawn(move || {
            let mut dice = StdRng::seed_from_u64(seed);
            while !asked.load(Ordering::SeqCst) {
                let name = format!("pod-{}", dice.random_range(0..PODS));
                let path = manifests.join(format!("{name}.yaml"));
                if dice.random_ratio(1, REMOVED_OF) {
                    // It may not be there.
                    let _ = std::fs::remove_file(path);
                } else {
                    std::fs::write(&hidden, pod(&name, dice.random())).unwrap();
                    std::fs::rename(&hidden, path).unwrap();
                }
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

/// A seed that a failing run can be repeated with.
pub fn dice(test: &str) -> (StdRng, u64) {
    let seed = rand::random();
    say(&format!("{test}: seed {seed}"));
    (StdRng::seed_from_u64(seed), seed)
}

/// What must hold after any crash: the hub shows what the manifests say, finding by finding and in its numbers, the evidence verifies from the first
/// record to the last, and what was acknowledged before is in it.
pub fn whole(fleet: &Fleet, site: &Site, acknowledged: u64) -> Value {
    fleet.exact(site);
    let rollup = fleet.get("/api/v1/fleet");
    assert_eq!(rollup["openFindings"], fleet.shown(site).len(), "{rollup}");
    let last = fleet.settled(site);
    assert!(last >= acknowledged, "{acknowledged} was acknowledged, {last} is the last");
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
    let records = report["clusters"][0]["records"].as_u64();
    let elided = report["clusters"][0]["elided"].as_u64();
    assert_eq!(records.zip(elided).map(|(records, elided)| records + elided), Some(last));
    report
}

/// Nothing was given up on the way, and nothing else is wrong.
pub fn no_gap(fleet: &Fleet, site: &Site, report: &Value) {
    assert_eq!(report["clusters"][0]["elided"], 0, "{report:#}");
    assert_eq!(alarms(fleet, site), Vec::<String>::new());
}

/// Codes of the alarms that stand.
pub fn alarms(fleet: &Fleet, site: &Site) -> Vec<String> {
    let alarms = fleet.alarms(site);
    let standing = alarms.iter().filter(|alarm| alarm.get("resolved").is_none());
    standing.map(|alarm| alarm["code"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the first findings are in; the last record's number.
pub fn whole_after_first(fleet: &Fleet, site: &Site) -> u64 {
    fleet.exact(site);
    fleet.settled(site)
}

/// What the hub's API says of the site's cluster.
pub fn detail(fleet: &Fleet, site: &Site) -> Value {
    let clusters = fleet.get("/api/v1/clusters");
    let rows = clusters["items"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == site.name.as_str()).unwrap();
    fleet.get(&format!("/api/v1/clusters/{}", row["id"].as_str().unwrap()))
}
