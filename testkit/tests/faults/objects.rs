//! Manifests that are large, many, changing, in circles, or not to be read.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use provost_testkit::available::{left_out, say};
use provost_testkit::processes::{Fleet, LIMIT, Site, pod};
use provost_testkit::wait::{now, pause, until};
use serde_json::json;

use crate::policies::add_for;

/// Ids of nobody in particular.
const NOBODY: &str = "65534";

/// Finds what is longer than a megabyte.
const LONG: &str = "violation contains {\"msg\": \"long\", \"path\": [\"data\", key]} if {\n\t\
     some key, text in input.review.object.data\n\tcount(text) > 1000000\n}";

/// Scenario: a ConfigMap of 1.5 MB and a Pod with an annotation as long, beside others. Guarantee: what the
/// policies match is judged whatever its size, to its last byte, and nothing else suffers.
#[test]
fn large_objects_are_judged_like_small_ones() {
    let fleet = Fleet::start(&["host-network"]);
    add_for("ConfigMap", &fleet, "long-data", LONG);
    fleet.publish(2);
    let site = fleet.enrol("edge-1", json!({}));
    let long = "x".repeat(1_500_000);
    site.write(
        "map.yaml",
        &format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{key: {long}}}\n"
        ),
    );
    let annotated = pod("large", true)
        .replace("{name: large,", &format!("{{annotations: {{a: {long}}}, name: large,"));
    site.write("large.yaml", &annotated);
    site.write("small.yaml", &pod("small", true));
    until("both pods and the map are shown", LIMIT, || {
        let shown = fleet.shown(&site);
        if shown.len() == 3 {
            Ok(())
        } else {
            Err(format!("{shown:?} {}", site.agent.last_words()))
        }
    });
    fleet.exact(&site);
}

/// Scenario: 10,000 small files appear at once. Guarantee: each is judged, and the numbers are exact.
#[test]
fn ten_thousand_files_are_all_judged() {
    let fleet = Fleet::start(&["host-network"]);
    let site = fleet.enrol("edge-1", json!({}));
    let begun = now();
    for n in 0..10_000 {
        let name = format!("pod-{n}");
        std::fs::write(site.manifests().join(format!("{name}.yaml")), pod(&name, n % 100 == 0))
            .unwrap();
    }
    until("all are judged", LIMIT * 2, || {
        let states = &fleet.get("/api/v1/fleet")["states"];
        match (states["pass"].as_u64(), states["fail"].as_u64()) {
            (Some(9_900), Some(100)) => Ok(()),
            _ => Err(format!("{states} {}", site.agent.last_words())),
        }
    });
    say(&format!("10,000 files: {:?}", begun.elapsed()));
    fleet.exact(&site);
}

/// Scenario: one file of many objects is put in another's place again and again while it is read, by a rename as most
/// tools do; then it is written in place, in pieces. Guarantee: each is read as it was or as it is, never as a part of
/// it, so that no verdict comes or goes on the way; and whatever was read in between, at rest the hub shows what it says.
#[test]
fn a_file_replaced_while_it_is_read_comes_to_rest() {
    let fleet = Fleet::start(&["host-network"]);
    let site = fleet.enrol("edge-1", json!({}));
    let text = |round: u32, host_network: &dyn Fn(u32) -> bool| {
        let pods = (0..400).map(|n| {
            let named = format!("{{labels: {{round: r{round}}}, name: p{n},");
            pod(&format!("p{n}"), host_network(n)).replace(&format!("{{name: p{n},"), &named)
        });
        pods.collect::<Vec<_>>().join("---\n")
    };
    site.write("many.yaml", &text(0, &|_| true));
    fleet.exact(&site);
    let before = verdict_changes(&site);
    for round in 1..60 {
        site.write("many.yaml", &text(round, &|_| true));
        pause(Duration::from_millis(50));
    }
    fleet.exact(&site);
    assert_eq!(verdict_changes(&site), before, "some verdict came or went");

    let path = site.manifests().join("many.yaml");
    for round in 60..70 {
        let text = text(round, &|n| (n + round) % 2 == 0);
        let mut file = std::fs::File::create(&path).unwrap();
        for piece in text.as_bytes().chunks(text.len() / 5 + 1) {
            file.write_all(piece).unwrap();
            pause(Duration::from_millis(40));
        }
    }
    fleet.exact(&site);
}

/// How often the agent took a verdict for another one, for a new one or for one that is gone.
fn verdict_changes(site: &Site) -> u64 {
    let address = std::fs::read_to_string(site.data().join("admin.addr")).unwrap();
    let mut stream = std::net::TcpStream::connect(address.trim()).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let name = "provost_agent_verdict_changes_total ";
    answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

/// Scenario: the directory goes away and comes back; links lead in circles. Guarantee: a directory that is
/// not there closes nothing (an empty place is no proof that all was deleted), what comes back is exact, and a
/// circle ends.
#[test]
fn a_directory_that_goes_away_is_not_a_deletion() {
    let fleet = Fleet::start(&["host-network"]);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    std::fs::create_dir(site.manifests().join("deep")).unwrap();
    symlink(site.manifests(), site.manifests().join("deep/again")).unwrap();
    symlink(site.manifests().join("itself"), site.manifests().join("itself")).unwrap();
    fleet.exact(&site);
    let shown = fleet.shown(&site);
    let aside = site.manifests().with_extension("aside");
    std::fs::rename(site.manifests(), &aside).unwrap();
    until("the agent says that it cannot watch", LIMIT, || {
        let status = fleet.status(&site);
        let parts = status["parts"].as_array().cloned().unwrap_or_default();
        let ill = parts.iter().any(|part| part["healthy"] == false && part["name"] != "hub");
        if ill { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(fleet.shown(&site), shown, "nothing was closed");
    std::fs::write(aside.join("api.yaml"), pod("api", true)).unwrap();
    std::fs::rename(&aside, site.manifests()).unwrap();
    fleet.exact(&site);
    assert_eq!(fleet.shown(&site).len(), 2);
}

/// Scenario: an unprivileged agent, and a manifest that it may no longer read. Guarantee: the file is named in
/// its health, its findings stay open as they were last seen, the others go on; readable again, all is exact.
#[test]
fn a_file_without_permission_is_named_and_closes_nothing() {
    if !is_root() {
        return;
    }
    let fleet = Fleet::start(&["host-network"]);
    let mut site = fleet.prepare("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    site.give_to(NOBODY);
    fleet.open_to_all();
    let as_nobody = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    site.agent.start_under(&as_nobody);
    fleet.exact(&site);
    let web = site.manifests().join("web.yaml");
    std::fs::set_permissions(&web, PermissionsExt::from_mode(0o000)).unwrap();
    site.write("api.yaml", &pod("api", true));
    until("the other file is judged and this one kept", LIMIT, || {
        let shown = fleet.shown(&site);
        if shown.len() == 2 {
            Ok(())
        } else {
            Err(format!("{shown:?} {}", site.agent.last_words()))
        }
    });
    let status = fleet.status(&site).to_string();
    assert!(status.contains("web.yaml"), "{status}");
    until("the hub does not show it as whole", LIMIT, || not_whole(&fleet, "web.yaml"));
    std::fs::set_permissions(&web, PermissionsExt::from_mode(0o644)).unwrap();
    site.write("web.yaml", &pod("web", false));
    fleet.exact(&site);
    until("the hub shows it as whole again", LIMIT, || match not_whole(&fleet, "web.yaml") {
        Ok(()) => Err("it names the file still".to_owned()),
        Err(_) => Ok(()),
    });
}

/// The roll-up counts a cluster that is blind to something, names `file`, and is no success.
fn not_whole(fleet: &Fleet, file: &str) -> Result<(), String> {
    let rollup = fleet.get("/api/v1/fleet");
    let is_counted = rollup["clusters"]["impaired"] == 1;
    let is_named = rollup["impaired"][0]["detail"].as_str().is_some_and(|d| d.contains(file));
    let printed = fleet.try_provost(&["fleet", "status"]);
    let is_said = String::from_utf8_lossy(&printed.stdout).contains(file);
    match is_counted && is_named && is_said && !printed.status.success() {
        true => Ok(()),
        false => Err(format!("{rollup}\n{printed:?}")),
    }
}

/// Scenario: all that an agent may see is good, and beside it lie a file that was broken from the start and so never
/// judged. Guarantee: nothing of the roll-up looks whole: coverage stands beside a cluster that is counted and named as
/// blind, and the command fails; mended, both are over.
#[test]
fn a_broken_file_keeps_the_roll_up_from_looking_whole() {
    let fleet = Fleet::start(&["host-network"]);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", false));
    site.write("api.yaml", "kind: [");
    until("the hub does not show it as whole", LIMIT, || not_whole(&fleet, "api.yaml"));
    site.write("api.yaml", &pod("api", false));
    until("the hub shows a success", LIMIT, || {
        let printed = fleet.try_provost(&["fleet", "status"]);
        if printed.status.success() { Ok(()) } else { Err(format!("{printed:?}")) }
    });
    assert_eq!(fleet.get("/api/v1/fleet")["clusters"]["impaired"], 0);
    fleet.exact(&site);
}

/// Only root can start a process as somebody else, and root itself may read everything.
fn is_root() -> bool {
    let root = std::process::Command::new("id").arg("-u").output();
    let is_root = root.is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        left_out::<()>(
            "a file without permission (the test starts an agent as another user: needs root)",
        );
    }
    is_root
}
