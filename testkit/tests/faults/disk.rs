//! Disks that fill up, that may not be written, and that lose the end of what was written last.
//!
//! That each state file survives being torn at any byte is tested where it is written (`agent/src`); here the
//! files of a real agent are torn, and the fleet must come back to exact numbers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use provost_testkit::available::left_out;
use provost_testkit::fault_proxy::Fault;
use provost_testkit::processes::{Fleet, LIMIT, Site, pod};
use provost_testkit::wait::until;
use serde_json::{Value, json};

/// A file system of its own, of a few megabytes.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// None where the user may not mount; that has been said then.
    fn mount(path: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={megabytes}m,mode=0755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { path: path.to_owned() });
        }
        left_out("a full disk (the test mounts a small tmpfs: needs root)")
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Nothing more can be written.
    fn fill(&self) {
        let mut file = fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        let block = [0_u8; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

/// Scenario: the agent's disk is full while manifests change. Guarantee: the agent lives and says what is
/// wrong, and the hub, which hears it, shows nothing of it as whole; with room again the same process goes on, the roll-up is exact and the evidence verifies, whatever had
/// to be given up being declared in it.
#[test]
fn an_agent_on_a_full_disk_lives_and_comes_back_exact() {
    let fleet = Fleet::start(&["host-network"]);
    let mut site = fleet.prepare("edge-1", json!({"spool": {"max_bytes": 33_554_432}}));
    let Some(disk) = SmallDisk::mount(&site.data(), 64) else { return };
    site.agent.start();
    site.write("web.yaml", &pod("web", true));
    fleet.exact(&site);
    fleet.settled(&site);
    disk.fill();
    for n in 0..30 {
        site.write(&format!("p{n}.yaml"), &pod(&format!("p{n}"), n % 2 == 0));
    }
    until("the agent says that its spool is ill", LIMIT, || {
        assert!(site.agent.runs(), "the agent ended: {}", site.agent.last_words());
        let status = fleet.status(&site);
        let parts = status["parts"].as_array().cloned().unwrap_or_default();
        let ill = parts.iter().any(|part| part["name"] == "spool" && part["healthy"] == false);
        if ill { Ok(()) } else { Err(format!("{status}\n{}", site.agent.last_words())) }
    });
    until("the hub does not show it as whole", LIMIT, || not_whole(&fleet));
    disk.make_room();
    whole(&fleet, &site);
    until("the hub shows it as whole again", LIMIT, || match not_whole(&fleet) {
        Ok(()) => Err("it is said to be blind still".to_owned()),
        Err(_) => Ok(()),
    });
    assert!(site.agent.runs(), "it is still the same process");
}

/// The roll-up counts a cluster that cannot record what it finds, and says so; neither command is a success.
fn not_whole(fleet: &Fleet) -> Result<(), String> {
    let rollup = fleet.get("/api/v1/fleet");
    let is_told =
        rollup["clusters"]["impaired"] == 1 && rollup["impaired"][0]["capability"] == "spool";
    let printed = [&["fleet", "status"][..], &["fleet", "status", "--cluster", "edge-1"]]
        .map(|args| fleet.try_provost(args));
    let is_said = printed.iter().all(|printed| {
        let text = String::from_utf8_lossy(&printed.stdout);
        printed.status.code() == Some(3) && text.contains("spool: ")
    });
    if is_told && is_said { Ok(()) } else { Err(format!("{rollup}\n{printed:?}")) }
}

/// Scenario: the hub's disk is full. Guarantee: it acknowledges nothing that it could not commit, agents keep
/// what they have, it says that it is not ready and why, and with room again all of it arrives.
#[test]
fn a_hub_on_a_full_disk_acknowledges_nothing_that_it_lost() {
    let Some(mut fleet) = fleet_on_small_disk() else { return };
    let site = fleet.0.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    fleet.0.exact(&site);
    fleet.0.settled(&site);
    fleet.1.fill();
    for n in 0..200 {
        site.write(&format!("p{n}.yaml"), &pod(&format!("p{n}"), n % 2 == 0));
    }
    until("records wait at the agent", LIMIT, || {
        let status = fleet.0.status(&site);
        let waiting = status["spool"]["unacknowledged"].as_u64();
        if waiting > Some(0) { Ok(()) } else { Err(status.to_string()) }
    });
    until("the hub says that it cannot write", LIMIT, || {
        let said = fleet.0.readiness();
        let is_told = said.starts_with("HTTP/1.1 503") && said.contains("store not ok: ");
        if is_told { Ok(()) } else { Err(said) }
    });
    fleet.1.make_room();
    if !fleet.0.hub.runs() {
        fleet.0.start_hub(&[&site]);
    }
    whole(&fleet.0, &site);
    until("the hub is ready again", LIMIT, || {
        let said = fleet.0.readiness();
        if said.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(said) }
    });
}

fn fleet_on_small_disk() -> Option<(Fleet, SmallDisk)> {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("hub"), 24)?;
    Some((Fleet::start_in(folder, &["host-network"]), disk))
}

/// Scenario: agent and hub are started on a data folder that may not be written. Guarantee: each ends at once and
/// says which folder and why.
#[test]
fn a_folder_that_may_not_be_written_is_named() {
    let mut fleet = Fleet::start(&["host-network"]);
    let mut site = fleet.prepare("edge-1", json!({}));
    fleet.hub.stop();
    for (folder, daemon) in [(site.data(), &mut site.agent), (fleet.path("hub"), &mut fleet.hub)] {
        fs::create_dir_all(&folder).unwrap();
        let Some(_disk) = read_only(&folder) else { return };
        daemon.start();
        let ended = daemon.ended(LIMIT);
        assert!(!ended.success());
        let said = daemon.last_words();
        assert!(said.contains(folder.to_str().unwrap()), "{said}");
        assert!(said.to_lowercase().contains("read-only"), "{said}");
    }
}

/// The folder as it is, and nothing in it can be changed.
fn read_only(folder: &Path) -> Option<SmallDisk> {
    let bind = |options: &[&str]| {
        let status = Command::new("mount").args(options).arg(folder).status();
        status.is_ok_and(|status| status.success())
    };
    let text = folder.to_str()?;
    if bind(&["--bind", text]) && bind(&["-o", "remount,bind,ro"]) {
        return Some(SmallDisk { path: folder.to_owned() });
    }
    left_out("a read-only disk (the test mounts one: needs root)")
}

/// Scenario: a crash left only half of a file that the agent had written: the newest of the spool, of the verdict table,
/// of the trust state, the pointer to the last good bundle, and that bundle itself; each in turn, and the hub out of
/// reach. Guarantee: the agent starts, puts into force what it can prove (the last good bundle, or the one before it
/// where that is the torn one) and decides by it; with the link the fleet comes back to the newest bundle and to exact
/// numbers with evidence that verifies.
#[test]
fn torn_files_cost_no_more_than_is_declared() {
    let fleet = Fleet::start(&["host-network"]);
    let mut site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    whole(&fleet, &site);
    fleet.publish(2);
    in_force(&fleet, &mut site, 2);
    for (place, version) in [
        ("spool", 2),
        ("state", 2),
        ("trust/state.json", 2),
        ("bundles/active.json", 2),
        ("bundles/manifests", 1),
    ] {
        site.link.set(Fault::Cut);
        let name = format!("api-{}", place.replace(['/', '.'], "-"));
        site.write("api.yaml", &pod(&name, true));
        // In the spool's case on disk, and not in memory alone.
        let counts = u64::from(place != "spool");
        until("the change is recorded", LIMIT, || {
            let status = fleet.status(&site);
            let spool = &status["spool"];
            let is_waiting =
                number(spool, "unacknowledged") + counts * number(spool, "pending") > 0;
            if is_waiting { Ok(()) } else { Err(status.to_string()) }
        });
        site.agent.kill();
        let torn = tear(&site.data().join(place));
        site.agent.start();
        let status = in_force(&fleet, &mut site, version);
        site.write("job.yaml", &pod(&format!("job-{name}"), true));
        until(&format!("the agent decides with {} torn", torn.display()), LIMIT, || {
            let now = fleet.status(&site);
            let decided = |status: &Value| {
                number(&status["spool"], "lastSeq") + number(&status["spool"], "pending")
            };
            if decided(&now) > decided(&status) { Ok(()) } else { Err(now.to_string()) }
        });
        site.link.set(Fault::None);
        in_force(&fleet, &mut site, 2);
        whole(&fleet, &site);
    }
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

/// Waits until the agent has this version of the bundle in force; its status then.
fn in_force(fleet: &Fleet, site: &mut Site, version: u64) -> Value {
    until(&format!("version {version} is in force"), LIMIT, || {
        assert!(site.agent.runs(), "the agent ended: {}", site.agent.last_words());
        let status = fleet.status(site);
        let is_so = status["running"] == true && status["bundle"]["version"] == version;
        if is_so { Ok(status) } else { Err(format!("{status}\n{}", site.agent.last_words())) }
    })
}

/// Cuts a file to half of its length: this one, or that of a folder which was written last.
fn tear(place: &Path) -> PathBuf {
    let (length, path) =
        if place.is_dir() { newest(place) } else { (size(place), place.to_owned()) };
    fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    path
}

fn size(file: &Path) -> u64 {
    file.metadata().unwrap().len()
}

fn newest(folder: &Path) -> (u64, PathBuf) {
    let mut newest = None;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map_while(Result::ok) {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.len() > 1 {
                let written = meta.modified().unwrap();
                newest = newest.max(Some((written, meta.len(), entry.path())));
            }
        }
    }
    let (_, length, path) = newest.expect("a file");
    (length, path)
}

fn whole(fleet: &Fleet, site: &Site) {
    fleet.exact(site);
    fleet.settled(site);
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
}
