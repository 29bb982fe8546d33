//! `provost bench agent`: what one real agent costs, and how soon the hub knows what it found.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;

use super::fleet::{mib, ratio};
use super::process::{self, Usage};
use super::setting::{HUB, Setting};
use crate::commands::demo::fleet::{Fleet, now};
use crate::commands::demo::proxy::Proxy;
use crate::output::{self, Format, Output};

/// Measure memory, bytes and delay of one agent.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost bench agent
  provost bench agent --objects 1000 --changes 20 -o json

A hub and one agent run as processes on this machine. The agent watches a folder of generated
Deployments, one a file, under every policy of the library.")]
pub struct Args {
    /// Manifests in the agent's folder.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    objects: usize,
    /// Manifests that are changed, one after the other.
    #[arg(long, value_name = "C", default_value_t = 100)]
    changes: usize,
    /// Heartbeats for which an agent without changes is watched.
    #[arg(long, value_name = "H", default_value_t = 20)]
    heartbeats: u64,
    #[command(flatten)]
    output: Output,
}

const AGENT: &str = "agent";
/// In production one every 30 s; here soon enough to count them.
const HEARTBEAT_MS: u64 = 1_000;
const HEARTBEATS_AN_HOUR: u64 = 120;
/// Between two looks for the row of a change; part of what is measured.
const LOOK: Duration = Duration::from_millis(2);
/// What one change may take.
const CHANGE: Duration = Duration::from_secs(30);
/// Objects in one folder of the generated tree.
const FOLDER: usize = 100;
const CHANGED: &str = "changed";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    version: u32,
    objects: usize,
    load_at_start: f64,
    load_at_end: f64,
    idle_resident_bytes: u64,
    loaded_resident_bytes: u64,
    peak_resident_bytes: u64,
    /// From the first file to the last acknowledgement.
    first_pass_ms: u64,
    first_pass_cpu_s: f64,
    first_pass_wire_bytes_per_object: f64,
    heartbeat_wire_bytes_up: f64,
    heartbeat_wire_bytes_down: f64,
    idle_hour_wire_bytes: f64,
    changes: usize,
    change_to_row_ms_p50: f64,
    change_to_row_ms_p99: f64,
    /// Of a change that is alone in its batch, its acknowledgement included.
    transition_wire_bytes_up: f64,
    transition_wire_bytes_down: f64,
}

struct FirstPass {
    took: Duration,
    usage: Usage,
    cpu_s: f64,
    wire: u64,
}

pub fn run(args: &Args, setting: &mut Setting) -> anyhow::Result<()> {
    let load_at_start = process::load();
    setting.start_hub(HEARTBEAT_MS)?;
    let link = setting.fleet.counted_link()?;
    let token = setting.token(AGENT, &format!("https://{}", link.address))?;
    fs::create_dir_all(setting.fleet.manifests(AGENT))?;
    setting.fleet.start_agent(AGENT, &token)?;
    setting.wait_for_version(1, 1)?;
    settle(setting, 1)?;
    let idle = idle(args, setting, &link)?;
    let idle_usage = process::usage(setting.fleet.pid(AGENT)?)?;
    let first = first_pass(args, setting, &link)?;
    let (mut delays, up, down) = changes(args, setting, &link, idle)?;
    delays.sort_unstable();
    let report = Report {
        version: 1,
        objects: args.objects,
        load_at_start,
        load_at_end: process::load(),
        idle_resident_bytes: idle_usage.resident_bytes,
        loaded_resident_bytes: first.usage.resident_bytes,
        peak_resident_bytes: first.usage.peak_resident_bytes,
        first_pass_ms: u64::try_from(first.took.as_millis()).unwrap_or(u64::MAX),
        first_pass_cpu_s: first.cpu_s,
        first_pass_wire_bytes_per_object: ratio(first.wire, args.objects as u64),
        heartbeat_wire_bytes_up: ratio(idle.0, args.heartbeats),
        heartbeat_wire_bytes_down: ratio(idle.1, args.heartbeats),
        idle_hour_wire_bytes: ratio((idle.0 + idle.1) * HEARTBEATS_AN_HOUR, args.heartbeats),
        changes: delays.len(),
        change_to_row_ms_p50: percentile(&delays, 50),
        change_to_row_ms_p99: percentile(&delays, 99),
        transition_wire_bytes_up: ratio(up, delays.len() as u64),
        transition_wire_bytes_down: ratio(down, delays.len() as u64),
    };
    setting.fleet.end(AGENT)?;
    setting.fleet.end(HUB)?;
    match args.output.format {
        Format::Json => output::json(&report)?,
        Format::Pretty => print(&report),
    }
    Ok(())
}

/// Bytes each way of so many heartbeats, with nothing else to say.
fn idle(args: &Args, setting: &Setting, link: &Proxy) -> anyhow::Result<(u64, u64)> {
    let before = link.bytes();
    let milliseconds = args.heartbeats.saturating_mul(HEARTBEAT_MS);
    setting.fleet.pause(Duration::from_millis(milliseconds))?;
    let after = link.bytes();
    Ok((after.0 - before.0, after.1 - before.1))
}

fn first_pass(args: &Args, setting: &mut Setting, link: &Proxy) -> anyhow::Result<FirstPass> {
    let pid = setting.fleet.pid(AGENT)?;
    let (before, wire) = (process::usage(pid)?, link.bytes());
    let began = now();
    let folder = setting.fleet.manifests(AGENT);
    for number in 0..args.objects {
        let name = format!("service-{number}");
        let folder = folder.join(format!("part-{}", number / FOLDER));
        fs::create_dir_all(&folder)?;
        let text = deployment(&name, "generated", number.is_multiple_of(10));
        fs::write(folder.join(format!("{name}.yaml")), text)?;
    }
    settle(setting, args.objects as u64)?;
    let took = began.elapsed();
    let usage = process::usage(pid)?;
    let wire = link.bytes().0 - wire.0;
    Ok(FirstPass { took, cpu_s: usage.cpu_s - before.cpu_s, usage, wire })
}

/// The agent has this many records, and the hub has acknowledged them all.
fn settle(setting: &mut Setting, records: u64) -> anyhow::Result<()> {
    setting.wait("the agent has told all that it found", |fleet| {
        let status =
            fleet.provost_quietly(&["agent", "status", "--config", "agent.yaml", "-o", "json"])?;
        let status: Value = serde_json::from_str(&status)?;
        let spool = |name: &str| status["spool"][name].as_u64();
        Ok(spool("lastSeq").is_some_and(|seq| seq >= records) && spool("unacknowledged") == Some(0))
    })
}

/// One object that goes wrong and is mended in turns, each time until the hub answers so. What
/// heartbeats took meanwhile is taken off the bytes.
fn changes(
    args: &Args,
    setting: &mut Setting,
    link: &Proxy,
    idle: (u64, u64),
) -> anyhow::Result<(Vec<Duration>, u64, u64)> {
    let folder = setting.fleet.manifests(AGENT);
    change(setting, &folder, false)?;
    let (before, began) = (link.bytes(), now());
    let mut delays = Vec::with_capacity(args.changes);
    for number in 0..args.changes {
        delays.push(change(setting, &folder, number.is_multiple_of(2))?);
    }
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let after = link.bytes();
    let beats = |bytes: u64| bytes * milliseconds / HEARTBEAT_MS / args.heartbeats.max(1);
    let own = |after: u64, before: u64, idle: u64| (after - before).saturating_sub(beats(idle));
    Ok((delays, own(after.0, before.0, idle.0), own(after.1, before.1, idle.1)))
}

fn change(setting: &mut Setting, folder: &Path, is_wrong: bool) -> anyhow::Result<Duration> {
    let file: PathBuf = folder.join(format!("{CHANGED}.yaml"));
    let draft = folder.join(".draft");
    fs::write(&draft, deployment(CHANGED, CHANGED, is_wrong))?;
    let began = now();
    fs::rename(draft, file)?;
    let path = format!("/api/v1/findings?namespace={CHANGED}&policy=privileged-container");
    let verdicts = format!("/api/v1/verdicts?namespace={CHANGED}&policy=privileged-container");
    setting.fleet.wait_within(CHANGE, LOOK, "the hub shows the change", |fleet| {
        let open = count(fleet, &path)?;
        // A mended object still has its verdict: one that is not known yet has none.
        Ok(if is_wrong { open > 0 } else { open == 0 && count(fleet, &verdicts)? > 0 })
    })?;
    Ok(began.elapsed())
}

fn count(fleet: &Fleet, path: &str) -> anyhow::Result<usize> {
    let page: Value = fleet.hub()?.get(path)?;
    let rows = page["items"].as_array().context("a page has items")?;
    ensure!(rows.len() < 2, "one object has one row here");
    Ok(rows.len())
}

fn deployment(name: &str, namespace: &str, is_privileged: bool) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: {name}
    app.kubernetes.io/version: \"1.0\"
    app.kubernetes.io/part-of: bench
    app.kubernetes.io/managed-by: bench
spec:
  replicas: 2
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      containers:
        - name: main
          image: registry.example.com/{name}@sha256:{digest}
          ports: [{{containerPort: 8080}}]
          env:
            - {{name: LOG_LEVEL, value: info}}
            - {{name: ZONE, value: eu-1}}
          resources:
            requests: {{cpu: 100m, memory: 64Mi}}
            limits: {{cpu: 200m, memory: 128Mi}}
          securityContext:
            privileged: {is_privileged}
            allowPrivilegeEscalation: {is_privileged}
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            capabilities: {{drop: [ALL]}}
            seccompProfile: {{type: RuntimeDefault}}
",
        digest = "0123456789abcdef".repeat(4),
    )
}

/// In milliseconds with one decimal, of sorted values: the smallest that so many percent do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    let value = sorted.get(rank).copied().unwrap_or_default();
    (value.as_secs_f64() * 10_000.0).round() / 10.0
}

fn print(report: &Report) {
    println!(
        "one agent, {} objects; load {:.1} at the start, {:.1} at the end",
        report.objects, report.load_at_start, report.load_at_end
    );
    let lines = [
        (
            "memory",
            format!(
                "{:.1} MiB idle, {:.1} MiB with its objects, {:.1} MiB at most",
                mib(report.idle_resident_bytes),
                mib(report.loaded_resident_bytes),
                mib(report.peak_resident_bytes)
            ),
        ),
        (
            "first pass",
            format!(
                "{:.1} s, {:.1} s of CPU, {} bytes per object on the wire",
                Duration::from_millis(report.first_pass_ms).as_secs_f64(),
                report.first_pass_cpu_s,
                report.first_pass_wire_bytes_per_object
            ),
        ),
        (
            "heartbeat",
            format!(
                "{} bytes up, {} down; {:.1} KiB in an idle hour of one every 30 s",
                report.heartbeat_wire_bytes_up,
                report.heartbeat_wire_bytes_down,
                report.idle_hour_wire_bytes / 1024.0
            ),
        ),
        (
            "change to row in the hub",
            format!(
                "p50 {} ms, p99 {} ms ({} changes)",
                report.change_to_row_ms_p50, report.change_to_row_ms_p99, report.changes
            ),
        ),
        (
            "transition, alone in its batch",
            format!(
                "{} bytes up, {} down",
                report.transition_wire_bytes_up, report.transition_wire_bytes_down
            ),
        ),
    ];
    for (what, figure) in lines {
        println!("  {what:32} {figure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert!((percentile(&values, 50) - 50.0).abs() < 1e-9);
        assert!((percentile(&values, 99) - 99.0).abs() < 1e-9);
        assert!((percentile(&values[..1], 99) - 1.0).abs() < 1e-9);
        assert!(percentile(&[], 50).abs() < 1e-9);
    }
}
