//! The story, step by step.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::check::{self, Expected, Stage};
use super::fleet::{Fleet, HEARTBEAT_MS, Interrupted, STALE_AFTER_MS};
use super::narrator::Narrator;
use super::sites::{self, DARK, SITES};
use crate::commands::fleet::table::{count, percent};

/// What bundle v2 adds: images may come from one registry only.
const REGISTRIES: &str = include_str!("registries.yaml");

pub fn tell(fleet: &mut Fleet, say: &Narrator) -> anyhow::Result<()> {
    let expected = Expected::load()?;
    start(fleet, say)?;
    publish_first(fleet, say)?;
    enrol(fleet, say)?;
    settle(fleet, say, &expected.v1)?;
    violations(fleet, say)?;
    go_dark(fleet, say, &expected.dark)?;
    come_back(fleet, say, &expected.v2)?;
    tamper(fleet, say, &expected.v2)?;
    steal_the_hub(fleet, say, &expected.v2)?;
    say.chapter("The end");
    say.good(&format!("every number was as expected, in {:.1} s", say.elapsed().as_secs_f64()));
    Ok(())
}

fn start(fleet: &mut Fleet, say: &Narrator) -> anyhow::Result<()> {
    say.chapter("A hub starts");
    fleet.lay_out_sites()?;
    fleet.start_hub(HEARTBEAT_MS)?;
    say.good(&format!("provost-aggregator serves {}", fleet.hub()?.base()));

    say.chapter("People make the keys: the hub never holds them");
    fleet.provost(say, &["keys", "generate", "--out", "root.key.json", "--name", "root"])?;
    fleet.provost(
        say,
        &["keys", "generate", "--out", "policy.key.json", "--name", "release team"],
    )?;
    fleet.provost(
        say,
        &["root", "init", "--key", "root.pub.json", "--policy-key", "policy.pub.json"],
    )?;
    let facts: Value = fleet.hub()?.get("/api/v1/hub")?;
    let director = facts["directorKey"].as_str().context("the hub names its director key")?;
    fleet.provost(say, &["root", "add-key", "--role", "director", "--public", director])?;
    fleet.provost(say, &["root", "sign", "--key", "root.key.json"])?;
    Ok(())
}

fn publish_first(fleet: &Fleet, say: &Narrator) -> anyhow::Result<()> {
    say.chapter("Bundle v1: the policy library, signed and published");
    build_and_publish(fleet, say, "v1", "1")
}

fn build_and_publish(
    fleet: &Fleet,
    say: &Narrator,
    name: &str,
    version: &str,
) -> anyhow::Result<()> {
    fleet.provost(say, &["bundle", "build", "policies", "--out", name, "--version", version])?;
    fleet.provost(say, &["bundle", "sign", name, "--key", "policy.key.json"])?;
    fleet.provost(say, &["bundle", "publish", name, "--root", "root.json"])?;
    Ok(())
}

fn enrol(fleet: &mut Fleet, say: &Narrator) -> anyhow::Result<()> {
    say.chapter("Six clusters enrol, each with a token for one use");
    for site in SITES {
        let label = format!("tier={}", site.tier);
        let url = fleet.agents_url(site)?;
        let mut arguments = vec![
            "fleet",
            "token",
            "create",
            "--root",
            "root.json",
            "--name",
            site.name,
            "--label",
            &label,
        ];
        if let Some(url) = &url {
            arguments.extend(["--hub", url]);
        }
        let token = fleet.provost(say, &arguments)?;
        fleet.start_agent(site.name, token.trim())?;
    }
    fleet.wait("six clusters are enrolled", |fleet| Ok(clusters(fleet)?.len() == SITES.len()))?;
    say.good("six clusters enrolled over mutual TLS");
    Ok(())
}

/// Waits for the version everywhere and for the exact numbers.
fn settle(fleet: &mut Fleet, say: &Narrator, expected: &Stage) -> anyhow::Result<()> {
    wait_for_version(fleet, 1, &|_| true)?;
    say.good("bundle v1 verified and active on all six");
    wait_for_numbers(fleet, say, "bundle v1 everywhere", expected)?;
    tell_numbers(fleet, say)
}

fn violations(fleet: &Fleet, say: &Narrator) -> anyhow::Result<()> {
    say.chapter("What the clusters found");
    let findings = fleet.hub()?.all("/api/v1/findings")?;
    let mut by_cluster: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for finding in &findings {
        let text =
            |pointer: &str| finding.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let line = format!("{:8} {} · {}", text("/severity"), text("/policy"), text("/message"));
        by_cluster.entry(text("/clusterName")).or_default().push(line);
    }
    for (cluster, lines) in by_cluster {
        for line in lines {
            say.bad(&format!("{cluster:12} {line}"));
        }
    }
    Ok(())
}

fn go_dark(fleet: &mut Fleet, say: &Narrator, expected: &Stage) -> anyhow::Result<()> {
    say.chapter(&format!("The link of {DARK} is cut"));
    fleet.proxy()?.cut();
    sites::change_in_the_dark(&fleet.manifests(DARK))?;
    say.say("while it is dark, its camera is mended and somebody starts a debug container");
    fs::create_dir_all(fleet.path("policies/bindings"))?;
    fs::write(fleet.path("policies/bindings/registries.yaml"), REGISTRIES)?;
    say.say("and bundle v2 goes out: images may come from registry.example.com only");
    build_and_publish(fleet, say, "v2", "2")?;
    wait_for_version(fleet, 2, &|name| name != DARK)?;
    say.good("bundle v2 active on the five that can be reached");
    fleet.wait("the dark site is shown stale", |fleet| Ok(!is_fresh(fleet, DARK)?))?;
    wait_for_numbers(fleet, say, "a site is dark, bundle v2 on the others", expected)?;
    let roll_up: Value = fleet.hub()?.get("/api/v1/fleet")?;
    let age_ms = check::stale_age_ms(&roll_up, expected, DARK, STALE_AFTER_MS)?;
    say.good(&format!(
        "{DARK} is stale, last heard {:.1} s ago, its last verdicts greyed: silence is never green",
        Duration::from_millis(age_ms).as_secs_f64()
    ));
    tell_numbers(fleet, say)
}

fn come_back(fleet: &mut Fleet, say: &Narrator, expected: &Stage) -> anyhow::Result<()> {
    say.chapter("The link returns");
    fleet.proxy()?.mend();
    wait_for_version(fleet, 2, &|_| true)?;
    wait_for_numbers(fleet, say, "the site is back, bundle v2 everywhere", expected)?;
    say.good(&format!(
        "{DARK} caught up: bundle v2, its changes, and the fleet's numbers are exact"
    ));
    tell_numbers(fleet, say)
}

fn tamper(fleet: &mut Fleet, say: &Narrator, expected: &Stage) -> anyhow::Result<()> {
    say.chapter("Somebody alters one byte of a signed bundle");
    fleet.provost(say, &["bundle", "build", "policies", "--out", "altered", "--version", "3"])?;
    fleet.provost(say, &["bundle", "sign", "altered", "--key", "policy.key.json"])?;
    alter_one_byte(&fleet.path("altered/blobs"))?;
    let reason = fleet.refusal(say, &["bundle", "publish", "altered", "--root", "root.json"])?;
    let first = reason.lines().next().unwrap_or_default();
    if !["DIGEST_MISMATCH", "FILE_UNEXPECTED"].iter().any(|code| first.contains(code)) {
        bail!("the altered bundle was refused for another reason: {first}");
    }
    say.good(&format!("refused: {}", first.trim_start_matches("error: ")));
    wait_for_version(fleet, 2, &|_| true)?;
    wait_for_numbers(fleet, say, "an altered bundle was refused at the hub", expected)?;
    say.good("bundle v2 stays in force everywhere");
    Ok(())
}

/// Whoever holds the hub's database can alter what it hands out, and an agent does not take it.
fn steal_the_hub(fleet: &mut Fleet, say: &Narrator, expected: &Stage) -> anyhow::Result<()> {
    say.chapter(&format!("The hub itself is broken into while {DARK} is away"));
    fleet.proxy()?.cut();
    let registries = format!("{}\n", REGISTRIES.trim_end().replace(']', ", mirror.example.net]"));
    fs::write(fleet.path("policies/bindings/registries.yaml"), registries)?;
    say.say("bundle v3 allows a second registry, and goes out to the others");
    build_and_publish(fleet, say, "v3", "3")?;
    wait_for_version(fleet, 3, &|name| name != DARK)?;
    let content = content_with(&fleet.path("v3/blobs"), b"mirror.example.net")?;
    fleet.without_hub(|database| replace_once(database, &content, &altered(&content)))?;
    say.say("one byte of it is altered in the hub's database; the link returns");
    fleet.proxy()?.mend();
    let (code, reason) = refused_by_agent(fleet, say, 3)?;
    ensure!(code == "DIGEST_MISMATCH", "{DARK} refused v3 for another reason: {code} {reason}");
    say.good(&format!("{DARK} refuses v3: {code}: {reason}"));
    wait_for_version(fleet, 2, &|name| name == DARK)?;
    wait_for_numbers(fleet, say, "an altered bundle was refused by the site", expected)?;
    say.good(
        "its v2 stays in force, and the hub shows so: who holds the hub does not choose policy",
    );
    fleet.without_hub(|database| replace_once(database, &altered(&content), &content))?;
    wait_for_version(fleet, 3, &|_| true)?;
    wait_for_numbers(fleet, say, "the bundle is whole again, and everywhere", expected)?;
    say.good("the byte is put back, and bundle v3 is active on all six");
    Ok(())
}

/// What `provost-agent status` says of the dark site's last refusal, once it is of `version`.
fn refused_by_agent(
    fleet: &mut Fleet,
    say: &Narrator,
    version: u64,
) -> anyhow::Result<(String, String)> {
    let config = format!("{DARK}.yaml");
    let arguments = ["agent", "status", "--config", &config, "-o", "json"];
    say.command(&arguments);
    let mut refused = Value::Null;
    fleet.wait(&format!("{DARK} refuses v{version}"), |fleet| {
        let status: Value = serde_json::from_str(&fleet.provost_quietly(&arguments)?)?;
        refused = status["refused"].clone();
        Ok(refused["version"] == version)
    })?;
    let text = |name: &str| refused[name].as_str().unwrap_or_default().to_owned();
    Ok((text("code"), text("message")))
}

/// The content of the one file there that has `part`.
fn content_with(folder: &Path, part: &[u8]) -> anyhow::Result<Vec<u8>> {
    for entry in fs::read_dir(folder)? {
        let content = fs::read(entry?.path())?;
        if content.windows(part.len()).any(|window| window == part) {
            return Ok(content);
        }
    }
    bail!("no file of the bundle has the second registry")
}

fn altered(content: &[u8]) -> Vec<u8> {
    let mut altered = content.to_vec();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    altered
}

/// In place, and only where it stands once: short contents lie in one piece in the database.
fn replace_once(file: &Path, old: &[u8], new: &[u8]) -> anyhow::Result<()> {
    let mut bytes = fs::read(file)?;
    let mut places = bytes.windows(old.len()).enumerate().filter(|(_, window)| *window == old);
    let place = places.next().map(|(place, _)| place);
    let place = place.context("the hub's database does not have the file")?;
    ensure!(places.next().is_none(), "the hub's database has the file twice");
    bytes[place..place + old.len()].copy_from_slice(new);
    Ok(fs::write(file, bytes)?)
}

fn alter_one_byte(blobs: &std::path::Path) -> anyhow::Result<()> {
    let mut files: Vec<_> = fs::read_dir(blobs)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::path);
    let file = files.first().context("a bundle has files")?.path();
    let mut bytes = fs::read(&file)?;
    let last = bytes.last_mut().context("a file has bytes")?;
    *last ^= 1;
    fs::write(&file, bytes)?;
    Ok(())
}

pub fn stay(fleet: &Fleet, say: &Narrator) -> anyhow::Result<()> {
    let link =
        fleet.provost_quietly(&["fleet", "login-link", "--role", "viewer", "--ttl", "15m"])?;
    say.chapter("The fleet keeps running");
    say.say(&format!("look at it (this link signs in once): {}", link.trim()));
    say.say("Ctrl-C ends everything and removes it");
    fleet.stay()
}

fn clusters(fleet: &Fleet) -> anyhow::Result<Vec<Value>> {
    fleet.hub()?.all("/api/v1/clusters")
}

fn is_fresh(fleet: &Fleet, name: &str) -> anyhow::Result<bool> {
    let all = clusters(fleet)?;
    Ok(all.iter().any(|cluster| cluster["name"] == name && cluster["fresh"] == true))
}

fn wait_for_version(
    fleet: &mut Fleet,
    version: u64,
    counts: &dyn Fn(&str) -> bool,
) -> anyhow::Result<()> {
    fleet.wait(&format!("bundle v{version} is active"), |fleet| {
        let all = clusters(fleet)?;
        let waited =
            all.iter().filter(|cluster| counts(cluster["name"].as_str().unwrap_or_default()));
        Ok(waited.into_iter().all(|cluster| cluster["bundleVersion"] == version))
    })
}

/// The numbers come together while records arrive; what must hold is where they come to rest.
fn wait_for_numbers(
    fleet: &mut Fleet,
    say: &Narrator,
    point: &str,
    expected: &Stage,
) -> anyhow::Result<()> {
    let mut differences = Vec::new();
    let waited = fleet.wait("the hub's numbers are as expected", |fleet| {
        differences = expected.difference(&standing(fleet)?);
        Ok(differences.is_empty())
    });
    match waited {
        Err(error) if !differences.is_empty() && !error.is::<Interrupted>() => {
            say.compared(point, &differences);
            bail!("{error}\n  {}", differences.join("\n  "))
        }
        Ok(()) => {
            say.compared(point, &[]);
            Ok(())
        }
        other => other,
    }
}

fn standing(fleet: &Fleet) -> anyhow::Result<Stage> {
    Stage::of(&clusters(fleet)?, &fleet.hub()?.get("/api/v1/fleet")?)
}

fn tell_numbers(fleet: &Fleet, say: &Narrator) -> anyhow::Result<()> {
    let roll_up: Value = fleet.hub()?.get("/api/v1/fleet")?;
    let some = |pointer, what| match count(&roll_up, pointer) {
        0 => String::new(),
        count => format!(", {count} {what}"),
    };
    say.good(&format!(
        "the fleet: {} pass, {} fail{}{}; score {}, coverage {}, freshness {}",
        count(&roll_up, "/states/pass"),
        count(&roll_up, "/states/fail"),
        some("/states/notEvaluated", "not evaluated"),
        some("/states/stale", "stale"),
        percent(&roll_up, "/score"),
        percent(&roll_up, "/coverage"),
        percent(&roll_up, "/freshness"),
    ));
    Ok(())
}
