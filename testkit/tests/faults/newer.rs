//! A spool that a newer version of the agent wrote, as after an upgrade that was taken back.
//!
//! What is looked for in it, byte by byte, is tested where it is read (`agent/src/spool/newer.rs`); here a real agent
//! finds one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use provost_testkit::fault_proxy::Fault;
use provost_testkit::processes::{Fleet, LIMIT, Site, pod};
use provost_testkit::wait::until;
use serde_json::{Value, json};

use crate::load::{POLICIES, alarms, detail, whole_after_first};

/// Of a slot of the head file: magic and version, then what stands before the checksum at its end.
const HEAD_MAGIC: &[u8] = b"PVHD\x00\x01";
const HEAD_SLOT_BYTES: usize = 108;
const HEAD_SLOTS_AT: [usize; 2] = [0, 4096];

/// Rewrites head file and manifest as the next version would name itself, under good checksums.
fn raise_versions(data: &Path) {
    let path = data.join("state/head");
    let mut head = fs::read(&path).unwrap();
    let mut slots = 0;
    for at in HEAD_SLOTS_AT {
        let Some(slot) = head.get_mut(at..at + HEAD_SLOT_BYTES) else { continue };
        if slot.starts_with(HEAD_MAGIC) {
            let (content, crc) = slot.split_at_mut(HEAD_SLOT_BYTES - 4);
            content[HEAD_MAGIC.len() - 1] += 1;
            crc.copy_from_slice(&crc32c::crc32c(content).to_be_bytes());
            slots += 1;
        }
    }
    assert!(slots > 0, "a slot of a head file");
    fs::write(&path, head).unwrap();
    let path = data.join("spool/manifest");
    let manifest = fs::read(&path).unwrap();
    let text = String::from_utf8(manifest).unwrap();
    let newer = text.replacen("provost-spool-manifest 1 ", "provost-spool-manifest 2 ", 1);
    assert_ne!(newer, text);
    fs::write(&path, newer).unwrap();
}

/// Every file below, with what it holds.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = files(&path).into_iter();
            found.extend(below.map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// What the agent says of its spool where it is not well.
fn complaint(status: &Value) -> Option<String> {
    let parts = status["parts"].as_array()?;
    let ill =
        parts.iter().find(|part| part["name"] == "spool.newer" && part["healthy"] == false)?;
    ill["detail"].as_str().map(str::to_owned)
}

fn records(fleet: &Fleet, site: &Site, epoch: u64) -> Value {
    until("the agent decides on", LIMIT, || {
        let status = fleet.status(site);
        let spool = &status["spool"];
        let goes_on = spool["epoch"] == epoch && spool["lastSeq"].as_u64() > Some(0);
        if goes_on { Ok(status) } else { Err(format!("{status}\n{}", site.agent.last_words())) }
    })
}

/// Scenario: while the link is cut, an agent is replaced by an older version, which finds a spool whose head file and
/// manifest are of a format after its own, with records in it that the hub has not acknowledged. Guarantee: it starts and
/// decides on; the spool is set aside with every byte of it and named in health, here and at the hub; a record in a new
/// epoch declares it; with the link the roll-up is exact, the evidence verifies and nothing forked; and once a person has
/// taken it away the agent is well.
#[test]
fn a_spool_of_a_newer_version_is_set_aside_and_declared() {
    let fleet = Fleet::start(POLICIES);
    let mut site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    whole_after_first(&fleet, &site);
    site.link.set(Fault::Cut);
    site.write("api.yaml", &pod("api", true));
    until("the change is recorded", LIMIT, || {
        let status = fleet.status(&site);
        let waiting = status["spool"]["unacknowledged"].as_u64();
        if waiting > Some(0) { Ok(()) } else { Err(status.to_string()) }
    });
    site.agent.stop();
    raise_versions(&site.data());
    let mut before = files(&site.data().join("spool"));
    before.insert("head".to_owned(), fs::read(site.data().join("state/head")).unwrap());

    site.write("job.yaml", &pod("job", true));
    site.agent.start();
    let status = records(&fleet, &site, 2);
    let aside = site.data().join("spool.newer");
    let said = complaint(&status).unwrap_or_else(|| panic!("{status}"));
    assert!(said.contains(&format!("rm -r '{}'", aside.display())), "{said}");
    assert!(files(&aside) == before, "every byte of it is there");

    site.link.set(Fault::None);
    fleet.exact(&site);
    fleet.settled(&site);
    let (report, holds) = fleet.evidence();
    assert!(holds, "{report:#}");
    assert_eq!(alarms(&fleet, &site), Vec::<String>::new());
    let named = until("the hub names it", LIMIT, || {
        let detail = detail(&fleet, &site);
        let health = detail["instances"][0]["heartbeat"]["health"].to_string();
        if health.contains("spool.newer") { Ok(detail) } else { Err(detail.to_string()) }
    });
    let declared = |event: &Value| {
        let text = event.to_string();
        text.contains("spool.newer") && text.contains("written in format 2")
    };
    let events = named["events"].as_array().unwrap();
    assert!(events.iter().any(declared), "{events:?}");

    // Left where it is by the next start, and not set aside again.
    site.agent.stop();
    site.agent.start();
    records(&fleet, &site, 2);
    assert!(files(&aside) == before, "every byte of it is still there");
    fs::remove_dir_all(&aside).unwrap();
    site.write("cron.yaml", &pod("cron", true));
    until("the agent is well", LIMIT, || {
        let status = fleet.status(&site);
        let complaint = complaint(&status);
        if complaint.is_none() && status["running"] == true {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    fleet.exact(&site);
}
