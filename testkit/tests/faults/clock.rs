//! Clocks that are wrong, on either side, and that somebody sets while the daemons run.

use std::time::Duration;

use provost_runtime::clock::{Clock as _, Shifted, System};
use provost_runtime::pki::{self, Ca, Validity};
use provost_testkit::fault_proxy::Fault;
use provost_testkit::processes::{Fleet, HEARTBEAT_MS, LIMIT, Site, pod};
use provost_testkit::wait::until;
use serde_json::{Value, json};

use crate::inside::{InsideAgent, InsideHub};
use crate::link::review;
use crate::load::{POLICIES, alarms, detail, no_gap, whole, whole_after_first};
use crate::peers::{Client, post};

const DAY_S: i64 = 86_400;
const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 10 * 365 * 24 * HOUR_MS;

/// The site's row at the hub. Whatever the clocks say, no age in it is negative.
fn row(fleet: &Fleet, site: &Site) -> Value {
    let detail = detail(fleet, site);
    no_negative_age(&detail);
    detail["cluster"].clone()
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

/// Scenario: the hub's clock is ten years behind from its start, and is set further back, right, and back again while it
/// runs; agents reconnect and others enrol under each. Guarantee: all of them connect, get the policies and report, nothing
/// is lost, and nothing is shown as of ten years ago; the hub says what is wrong with its clock.
#[test]
fn a_hub_that_is_ten_years_behind_serves_on() {
    let mut fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    whole_after_first(&fleet, &site);
    let year = year_of(fleet.get("/api/v1/fleet")["asOf"].as_str().unwrap()).unwrap();
    fleet.hub.stop();
    let clock = Shifted::by(-TEN_YEARS_MS);
    let hub = InsideHub::start(&mut fleet, clock.clone(), &[&site]);
    let mut sites = vec![site];
    for (name, offset_ms) in [
        ("behind", -TEN_YEARS_MS),
        ("further", -2 * TEN_YEARS_MS),
        ("right", 0),
        ("back", -TEN_YEARS_MS),
    ] {
        clock.set_wall_offset_ms(offset_ms);
        let newcomer = fleet.enrol(&format!("new-{name}"), json!({}));
        sites.push(newcomer);
        for site in &sites {
            site.write(&format!("{name}.yaml"), &pod(name, true));
            site.link.break_connections();
        }
        for site in &sites {
            whole_after_first(&fleet, site);
            fresh(&fleet, site, true);
            not_before(&detail(&fleet, site), year - 1);
        }
        not_before(&fleet.get("/api/v1/findings?limit=100"), year - 1);
    }
    for site in &sites {
        assert_eq!(alarms(&fleet, site), Vec::<String>::new());
    }
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
    drop(hub);
}

/// The year of a time as JSON has it.
fn year_of(text: &str) -> Option<u32> {
    let (year, rest) = text.split_once('-')?;
    let is_time = year.len() == 4 && rest.contains('T') && rest.ends_with('Z');
    is_time.then(|| year.parse().ok())?
}

/// No time in it is of an earlier year.
#[track_caller]
fn not_before(value: &Value, year: u32) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let shown = value.as_str().and_then(year_of);
                assert!(shown.is_none_or(|shown| shown >= year), "{name}: {value}");
                not_before(value, year);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| not_before(value, year)),
        _ => {}
    }
}

/// Scenario: agents whose clocks are ten years off answer only API servers that show a certificate of a CA. Guarantee: by
/// the time that the hub told, a certificate that is current is taken and one that has run out is not; and what the port
/// itself shows is current by everybody else's clock.
#[test]
fn who_asks_for_admission_is_judged_by_trusted_time() {
    let fleet = Fleet::start(POLICIES);
    let now_s = System::new().wall_ms() / 1000;
    let ca = Ca::create(&"clients.test".parse().unwrap(), now_s).unwrap();
    let file = fleet.path("clients.pem");
    let pem = pki::certificates_to_pem(std::slice::from_ref(ca.certificate()));
    std::fs::write(&file, pem).unwrap();
    let client = |from_s, until_s| {
        Client::certified(&ca, Validity { not_before: now_s + from_s, not_after: now_s + until_s })
    };
    let (current, expired) = (client(-DAY_S, DAY_S), client(-2 * DAY_S, -DAY_S));
    for (name, offset_ms) in [("decade-ahead", TEN_YEARS_MS), ("decade-behind", -TEN_YEARS_MS)] {
        let admission =
            json!({"listen": "127.0.0.1:0", "names": ["localhost"], "client_ca_file": file});
        let site = fleet.prepare(name, json!({"admission": admission}));
        let agent = InsideAgent::start(&site, Shifted::by(offset_ms));
        until("the agent has heard the hub", LIMIT, || {
            let status = fleet.status(&site);
            if status["link"]["connected"] == true { Ok(()) } else { Err(status.to_string()) }
        });
        let address = std::fs::read_to_string(site.data().join("admission.addr")).unwrap();
        let address = address.trim().parse().unwrap();
        let answer: Value =
            serde_json::from_str(&post(&current, address, "/validate", &review())).unwrap();
        assert_eq!(answer["response"]["uid"], "1", "{name}");
        let refused = expired.say(address, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(refused.is_err(), "{name}: {refused:?}");
        for file in ["server.pem", "ca.pem"] {
            let pem = std::fs::read_to_string(site.data().join("admission").join(file)).unwrap();
            let own = pki::certificates_from_pem(&pem).unwrap();
            let Validity { not_before, not_after } = pki::validity(&own[0]).unwrap();
            assert!(not_before < now_s && now_s < not_after, "{name}: {file}");
        }
        drop(agent);
    }
}
