//! Links that break in every way that links do. Whatever happens, the agent decides on, tries again by itself at a bounded
//! rate and at hardly any cost, and the hub is exact afterwards without a gap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use provost_testkit::fault_proxy::{Fault, FaultProxy};
use provost_testkit::processes::{Daemon, Fleet, LIMIT, Site, pod};
use provost_testkit::wait::{now, pause, until};
use serde_json::{Value, json};

use crate::load::{Load, POLICIES, dice, no_gap, whole, whole_after_first};
use crate::peers::{Client, post};

/// How long a fault is looked at.
const WINDOW: Duration = Duration::from_secs(6);
/// `reconnect` of these agents: with full jitter, delays between attempts are uniform under the cap.
const CAP_MS: u64 = 2000;
/// With delays of a second in the mean, sixty a minute; room for luck, and for the first ones that come sooner.
const ATTEMPTS_PER_MINUTE: f64 = 120.0;
const FIRST_ATTEMPTS: f64 = 10.0;
/// Of one core, in a build that is not optimised, beside a directory that is read twice a second.
const MOST_CPU: f64 = 0.35;
/// Of a link that flaps: delays that grow over many attempts, so that starting over is seen.
const FLAP_FIRST_MS: u64 = 100;
const FLAP_CAP_MS: u64 = 6000;
/// In a window, whose length eight delays of the longest kind reach.
const FLAP_ATTEMPTS: u64 = 14;
/// Ticks of a second in `/proc/PID/stat`, on every Linux that runs tests.
const TICKS: f64 = 100.0;

fn settings() -> Value {
    json!({"reconnect": {"first_ms": 500, "cap_ms": CAP_MS}})
}

/// Attempts and processor time of an agent from now on.
struct Cost {
    begun: Instant,
    accepted: u64,
    cpu: f64,
}

impl Cost {
    fn of(site: &Site) -> Self {
        Self { begun: now(), accepted: site.link.accepted(), cpu: cpu_seconds(&site.agent) }
    }

    /// Both stayed within their bounds.
    #[track_caller]
    fn is_bounded(&self, site: &Site) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let attempts = (site.link.accepted() - self.accepted) as f64;
        let most = FIRST_ATTEMPTS + ATTEMPTS_PER_MINUTE * seconds / 60.0;
        assert!(attempts <= most, "{attempts} connections in {seconds} s");
        let cpu = cpu_seconds(&site.agent) - self.cpu;
        assert!(cpu <= seconds * MOST_CPU, "{cpu} s of processor time in {seconds} s");
    }
}

fn cpu_seconds(daemon: &Daemon) -> f64 {
    let id = daemon.id().expect("it runs");
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // After the name, which may hold anything: state is the first, utime the twelfth, stime the next.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let times = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
    times.sum::<f64>() / TICKS
}

/// Waits until the agent recorded something after `before`: it decides on.
fn decides(fleet: &Fleet, site: &Site, before: u64) {
    until("the agent decides on", LIMIT, || {
        let last = fleet.status(site)["spool"]["lastSeq"].as_u64().unwrap_or(0);
        if last > before { Ok(()) } else { Err(last.to_string()) }
    });
}

/// Waits until the agent says that it has no session; what it says of it.
fn parted(fleet: &Fleet, site: &Site) -> String {
    until("the session is over", LIMIT, || {
        let link = &fleet.status(site)["link"];
        let problem = link["problem"].as_str().unwrap_or_default();
        if link["connected"] == false && !problem.is_empty() {
            Ok(problem.to_owned())
        } else {
            Err(link.to_string())
        }
    })
}

fn mend(site: &Site) {
    site.link.set(Fault::None);
    site.link.break_connections();
}

/// Scenario: whoever comes is sent away, for a while. Guarantee: as for every link here.
#[test]
fn a_cut_link_is_tried_at_a_bounded_rate_and_found_again() {
    let fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", settings());
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    site.link.set(Fault::Cut);
    parted(&fleet, &site);
    let cost = Cost::of(&site);
    site.write("api.yaml", &pod("api", true));
    pause(WINDOW);
    cost.is_bounded(&site);
    decides(&fleet, &site, before);
    site.link.set(Fault::None);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
}

/// Scenario: the link is there for 300 ms and gone for 50 ms, then 100 ms each, again and again, while manifests change.
/// Guarantee: as for
/// every link here; a session that hardly began earns no quicker attempts.
#[test]
fn a_flapping_link_is_no_reason_to_hurry() {
    let (_, seed) = dice("flapping");
    let fleet = Fleet::start(POLICIES);
    let site = fleet
        .enrol("edge-1", json!({"reconnect": {"first_ms": FLAP_FIRST_MS, "cap_ms": FLAP_CAP_MS}}));
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    let load = Load::on(&site, seed);
    let mut seen = 0;
    // At first sessions hardly ever fail to begin, so that each could start the delays over.
    for (open_ms, cut_ms) in [(300, 50), (100, 100)] {
        let (came, opened) = (site.link.accepted(), sessions(&site));
        flap(&site.link, (open_ms, cut_ms), || pause(WINDOW));
        let (attempts, begun) = (site.link.accepted() - came, sessions(&site) - opened);
        assert!(attempts <= FLAP_ATTEMPTS, "{attempts} connections, {begun} sessions");
        seen += begun;
    }
    assert!(seen > 0, "no session ever began");
    drop(load);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
}

/// Sessions that the agent opened so far.
fn sessions(site: &Site) -> usize {
    site.agent.log().matches("session open").count()
}

/// Flaps as long as `meanwhile` takes.
fn flap(link: &FaultProxy, (open_ms, cut_ms): (u64, u64), meanwhile: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                for (fault, millis) in [(Fault::Cut, cut_ms), (Fault::None, open_ms)] {
                    link.set(fault);
                    pause(Duration::from_millis(millis));
                }
            }
        });
        meanwhile();
        over.store(true, Ordering::SeqCst);
    });
}

/// Scenario: the link is half-open: first for a session that stands, then for those who come, who are let in and hear
/// nothing. Guarantee: keepalive ends the session, a time-out each handshake; as for every link here.
#[test]
fn a_half_open_link_is_given_up_and_tried_again() {
    let fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", settings());
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    site.link.set(Fault::Silent);
    let cost = Cost::of(&site);
    site.write("api.yaml", &pod("api", true));
    decides(&fleet, &site, before);
    parted(&fleet, &site);
    until("a handshake times out", LIMIT, || {
        let problem = parted(&fleet, &site);
        if problem.contains("did not answer within") { Ok(()) } else { Err(problem) }
    });
    cost.is_bounded(&site);
    mend(&site);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
}

/// Scenario: one byte a second passes each way. Guarantee: there is no session, attempts are bounded, the agent decides
/// on, admission reviews are answered at once, and afterwards everything is as for every link here.
#[test]
fn a_trickle_is_no_link_and_admission_does_not_wait_for_it() {
    let fleet = Fleet::start(POLICIES);
    let mut more = settings();
    more["admission"] = json!({"listen": "127.0.0.1:0", "names": ["localhost"]});
    let site = fleet.enrol("edge-1", more);
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    site.link.set(Fault::Trickle);
    site.link.break_connections();
    parted(&fleet, &site);
    let cost = Cost::of(&site);
    site.write("api.yaml", &pod("api", true));
    let address = std::fs::read_to_string(site.data().join("admission.addr")).unwrap();
    let answered = now();
    let review = post(&Client::web(), address.trim().parse().unwrap(), "/validate", &review());
    assert!(answered.elapsed() < Duration::from_secs(5), "{:?}", answered.elapsed());
    let review: Value = serde_json::from_str(&review).unwrap_or_else(|_| panic!("{review}"));
    assert_eq!(review["response"]["uid"], "1", "{review}");
    assert!(review["response"]["allowed"].is_boolean(), "{review}");
    pause(WINDOW);
    cost.is_bounded(&site);
    decides(&fleet, &site, before);
    assert_eq!(fleet.status(&site)["link"]["connected"], false);
    mend(&site);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
}

/// What an API server asks about a pod in the host's network.
pub fn review() -> String {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "a:1"}]},
    });
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let request = json!({
        "uid": "1", "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "name": "web", "namespace": "shop", "operation": "CREATE", "userInfo": {"username": "ada"},
        "object": object, "oldObject": null, "dryRun": false, "options": null,
    });
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string()
}

/// Scenario: the link breaks after so many bytes to the hub, in the middle of whatever they are, with every connection,
/// while manifests change. Guarantee: where a frame fits, there is progress; nothing is lost, torn or told twice.
#[test]
fn a_link_that_breaks_in_the_middle_of_frames_loses_nothing() {
    let (_, seed) = dice("middle_of_a_frame");
    let fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    let mut before = whole_after_first(&fleet, &site);
    let load = Load::on(&site, seed);
    for bytes in [1, 150, 700, 1500, 2500, 3500, 5000, 8000] {
        site.link.set(Fault::CutEvery(bytes));
        site.link.break_connections();
        let came = site.link.accepted();
        until("the link breaks twice", LIMIT, || {
            let times = site.link.accepted() - came;
            if times > 2 { Ok(()) } else { Err(times.to_string()) }
        });
    }
    site.link.set(Fault::CutEvery(30_000));
    site.link.break_connections();
    for _ in 0..2 {
        before = until("there is progress", LIMIT, || {
            let acked = fleet.status(&site)["spool"]["ackedSeq"].as_u64().unwrap_or(0);
            if acked > before { Ok(acked) } else { Err(acked.to_string()) }
        });
    }
    drop(load);
    mend(&site);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
}
