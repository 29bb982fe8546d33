//! How daemons end, and how they do not even begin.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use provost_testkit::fault_proxy::Fault;
use provost_testkit::processes::{Daemon, Ended, Fleet, LIMIT, Site, pod, program};
use provost_testkit::wait::{now, until};
use serde_json::{Value, json};

use crate::load::{Load, POLICIES, dice, no_gap, whole, whole_after_first};

/// What a supervisor is promised between SIGTERM and the end.
const PROMISED: Duration = Duration::from_secs(5);
/// Sooner than any connection is cut off.
const AT_ONCE: Duration = Duration::from_secs(1);

#[track_caller]
fn in_time(ended: &Ended, daemon: &Daemon) {
    assert!(ended.took < PROMISED && ended.status.success(), "{ended:?}: {}", daemon.last_words());
}

/// Scenario: SIGTERM while manifests change all the time, first for the agent, then for the hub. Guarantee: both end
/// within 5 s and without an error, and nothing that was recorded or acknowledged is missing afterwards.
#[test]
fn under_load_both_end_in_time_with_everything_durable() {
    let (_, seed) = dice("shutdown_under_load");
    let mut fleet = Fleet::start(POLICIES);
    let mut site = fleet.enrol("edge-1", json!({}));
    let load = Load::on(&site, seed);
    let before = whole_after_first_record(&fleet, &site);
    in_time(&site.agent.stop(), &site.agent);
    site.agent.start();
    in_time(&fleet.hub.stop(), &fleet.hub);
    fleet.start_hub(&[&site]);
    drop(load);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
}

fn whole_after_first_record(fleet: &Fleet, site: &Site) -> u64 {
    until("something is acknowledged", LIMIT, || {
        let acked = fleet.status(site)["spool"]["ackedSeq"].as_u64();
        acked.filter(|acked| *acked > 0).ok_or_else(|| format!("{acked:?}"))
    })
}

/// Scenario: SIGTERM for an agent whose hub sends it away, and for one whose hub lets it in and says nothing, with what
/// it found a moment ago in memory alone, and gone from the manifests before its return. Guarantee: the end does not wait
/// for the hub, and what was found is on disk then: it arrives after the return, nobody could find it again.
#[test]
fn without_its_hub_an_agent_ends_in_time() {
    for fault in [Fault::Cut, Fault::Silent] {
        let fleet = Fleet::start(POLICIES);
        let mut site = fleet.enrol("edge-1", json!({}));
        site.write("web.yaml", &pod("web", true));
        let before = whole_after_first(&fleet, &site);
        site.link.break_connections();
        site.link.set(fault);
        let came = site.link.accepted();
        until("the agent tries again", LIMIT, || {
            if site.link.accepted() > came { Ok(()) } else { Err(came.to_string()) }
        });
        site.write("last.yaml", &pod("last", true));
        until("it is found, and on disk or not", LIMIT, || {
            let status = fleet.status(&site);
            let spool = &status["spool"];
            let is_found =
                spool["pending"].as_u64() > Some(0) || spool["lastSeq"].as_u64() > Some(before);
            if is_found { Ok(()) } else { Err(status.to_string()) }
        });
        in_time(&site.agent.stop(), &site.agent);
        std::fs::remove_file(site.manifests().join("last.yaml")).unwrap();
        site.agent.start();
        site.link.set(Fault::None);
        site.link.break_connections();
        let report = whole(&fleet, &site, before);
        no_gap(&fleet, &site, &report);
        let closed = fleet.get(&format!("/api/v1/findings?cluster={}&state=closed", site.name));
        let rows = closed["items"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["subject"]["name"] == "last"), "{fault:?}: {closed}");
    }
}

/// Scenario: the link stalls in the middle of a bundle, and both ends are told to end. Guarantee: neither waits for the
/// other; afterwards the download goes on and the bundle comes into force.
#[test]
fn in_the_middle_of_a_download_both_end_in_time() {
    let mut fleet = Fleet::start(POLICIES);
    let mut site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    whole_after_first(&fleet, &site);
    // Larger than what a chunk and the buffers on the way hold.
    let line =
        |n: u32| format!("# {}\n", format!("{:08x}", n.wrapping_mul(0x9E37_79B1)).repeat(20));
    let noise: String = (0..2500).map(line).collect();
    let policy = module(&fleet.path("policies"), "host-network");
    let text = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, format!("{text}\n{noise}")).unwrap();
    site.link.set(Fault::StallAfter(100 * 1024));
    fleet.publish(2);
    until("the link stalls", LIMIT, || {
        if site.link.stalled() { Ok(()) } else { Err(format!("{:?}", site.link.bytes())) }
    });
    in_time(&fleet.hub.stop(), &fleet.hub);
    in_time(&site.agent.stop(), &site.agent);
    assert_eq!(fleet.status(&site)["bundle"]["version"], 1);
    site.link.set(Fault::None);
    fleet.start_hub(&[&site]);
    site.agent.start();
    until("version 2 is in force", LIMIT, || {
        let status = fleet.status(&site);
        if status["bundle"]["version"] == 2 { Ok(()) } else { Err(status.to_string()) }
    });
}

/// A policy's module in a tree of policies.
fn module(folder: &Path, name: &str) -> PathBuf {
    let areas = std::fs::read_dir(folder).unwrap().map(|area| area.unwrap().path().join(name));
    let policy = areas.into_iter().find(|path| path.is_dir()).expect("the policy");
    let mut files = std::fs::read_dir(policy).unwrap().map(|file| file.unwrap().path());
    let is_module = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.ends_with(".rego") && !name.contains("test")
    };
    files.find(is_module).expect("a module")
}

/// Scenario: a client of the admin port holds the end up by half a request, and a second signal comes. Guarantee: the
/// second one is obeyed at once; without it the client is cut off in time.
#[test]
fn a_second_signal_ends_at_once() {
    let mut fleet = Fleet::start(POLICIES);
    let mut site = fleet.enrol("edge-1", json!({}));
    let agent_admin = std::fs::read_to_string(site.data().join("admin.addr")).unwrap();
    let addresses = std::fs::read(fleet.path("hub/addresses.json")).unwrap();
    let addresses: Value = serde_json::from_slice(&addresses).unwrap();
    let hub_admin = addresses["admin"].as_str().unwrap();
    for (daemon, admin, second) in
        [(&mut site.agent, agent_admin.trim(), "TERM"), (&mut fleet.hub, hub_admin, "INT")]
    {
        let mut half = TcpStream::connect(admin).unwrap();
        half.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
        daemon.signal("TERM");
        until("the daemon ends in order", LIMIT, || {
            let log = daemon.log();
            if log.contains("shutting down") { Ok(()) } else { Err(daemon.last_words()) }
        });
        let begun = now();
        daemon.signal(second);
        let status = daemon.ended(LIMIT);
        let took = begun.elapsed();
        assert_eq!(status.code(), Some(130), "{took:?}: {}", daemon.last_words());
        assert!(took < AT_ONCE, "{took:?}");
        daemon.start();
    }
    let mut half = until("the hub listens again", LIMIT, || {
        let text = std::fs::read(fleet.path("hub/addresses.json")).map_err(|e| e.to_string())?;
        let addresses: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        TcpStream::connect(addresses["admin"].as_str().unwrap()).map_err(|e| e.to_string())
    });
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
    in_time(&fleet.hub.stop(), &fleet.hub);
}

/// Scenario: a port that is taken, a folder that is not there, a key that does not exist or breaks a rule. Guarantee:
/// exit code 2, the file, the line and the key, and nothing was made on disk.
#[test]
fn a_setting_that_cannot_be_used_is_named_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (path, taken) = (folder.path(), taken.local_addr().unwrap());
    std::fs::create_dir(path.join("manifests")).unwrap();
    std::fs::write(path.join("file"), "").unwrap();
    let cases = of_the_agent(taken).into_iter().chain(of_the_hub(taken));
    for Case(name, text, line, key) in cases {
        std::fs::write(path.join("settings.yaml"), &text).unwrap();
        let run = ["run", "--config", "settings.yaml"];
        let output = Command::new(program(name)).args(run).current_dir(path).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}{error}");
        let place = format!("settings.yaml{line}");
        assert!(error.contains(&place) && error.contains(key), "{name}: {text}{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{name}: {error}");
        assert!(!path.join("data").exists(), "{name} made its folder: {text}");
    }
}

/// Program, settings, where in them, and what is named.
struct Case(&'static str, String, &'static str, &'static str);

fn of_the_agent(taken: SocketAddr) -> Vec<Case> {
    let agent = "data_dir: data\nsource: {manifests: {dir: manifests}}\n";
    let any = "admin: {listen: '127.0.0.1:0'}\n";
    vec![
        Case("provost-agent", format!("{agent}hearbeat: 3\n"), ":3:1: ", "hearbeat"),
        Case(
            "provost-agent",
            format!("{agent}spool:\n  max_bytes: 1\n"),
            ":4:",
            "spool.max_bytes: ",
        ),
        Case(
            "provost-agent",
            format!("{agent}admin: {{listen: '{taken}'}}\n"),
            ":3:",
            "admin.listen: ",
        ),
        Case(
            "provost-agent",
            format!("{agent}{any}admission: {{listen: '{taken}'}}\n"),
            ":4:",
            "admission.listen: ",
        ),
        Case(
            "provost-agent",
            format!(
                "{agent}{any}admission: {{listen: '127.0.0.1:0', client_ca_file: nowhere.pem}}\n"
            ),
            ":4:",
            "admission.client_ca_file: ",
        ),
        Case(
            "provost-agent",
            format!("{any}data_dir: data\nsource:\n  manifests:\n    dir: nowhere\n"),
            ":5:",
            "source.manifests.dir: ",
        ),
        Case(
            "provost-agent",
            format!("{any}source: {{manifests: {{dir: manifests}}}}\ndata_dir: file/data\n"),
            ":3:",
            "data_dir: ",
        ),
    ]
}

fn of_the_hub(taken: SocketAddr) -> Vec<Case> {
    let hub = "data_dir: data\nagents: {listen: '127.0.0.1:0'}\napi: {listen: '127.0.0.1:0'}\n";
    let any = "admin: {listen: '127.0.0.1:0'}\n";
    vec![
        Case("provost-aggregator", format!("{hub}{any}api_listen: 3\n"), ":5:1: ", "api_listen"),
        Case(
            "provost-aggregator",
            format!("{hub}heartbeat_interval_ms: 1\n"),
            ":4:",
            "heartbeat_interval_ms: ",
        ),
        Case(
            "provost-aggregator",
            format!("{hub}admin: {{listen: '{taken}'}}\n"),
            ":4:",
            "admin.listen: ",
        ),
        Case(
            "provost-aggregator",
            format!("{any}data_dir: data\nagents:\n  listen: '{taken}'\n"),
            ":4:",
            "agents.listen: ",
        ),
        Case(
            "provost-aggregator",
            format!(
                "{any}agents: {{listen: '127.0.0.1:0'}}\ndata_dir: data\napi: {{listen: '0.0.0.0:0'}}\n"
            ),
            ":4:",
            "api.listen: ",
        ),
        Case(
            "provost-aggregator",
            format!(
                "{any}data_dir: data\nagents: {{listen: '127.0.0.1:0'}}\napi:\n  tls_certificate: no.pem\n  tls_key: no.key\n"
            ),
            ":5:",
            "api.tls_certificate: ",
        ),
        Case(
            "provost-aggregator",
            format!(
                "{any}agents: {{listen: '127.0.0.1:0'}}\napi: {{listen: '127.0.0.1:0'}}\ndata_dir: file/data\n"
            ),
            ":4:",
            "data_dir: ",
        ),
    ]
}
