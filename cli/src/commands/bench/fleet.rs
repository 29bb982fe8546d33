//! `provost bench fleet`: what a hub on SQLite takes from many agents.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::process::{self, Usage};
use super::setting::{self, HUB, Setting};
use crate::commands::demo::fleet::now;
use crate::commands::demo::proxy::Proxy;
use crate::output::{self, Format, Output};

/// Measure ingest, memory, bytes and bundles with many simulated agents.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost bench fleet --agents 1
  provost bench fleet --agents 100 --records 2000 -o json

A hub, `provost-agent simulate` and one real agent run as processes on this machine and share its
cores. Times come from the hub's own clock; bytes in the database need some thousand records to mean
anything. No figure is a limit: compare figures of one machine.")]
pub struct Args {
    /// Simulated agents.
    #[arg(long, value_name = "N", default_value_t = 10)]
    agents: usize,
    /// Records of each agent.
    #[arg(long, value_name = "M", default_value_t = 1000)]
    records: u64,
    /// Objects of each agent: so many of its records state an object, the others a change.
    #[arg(long, value_name = "K", default_value_t = 200)]
    objects: u64,
    #[command(flatten)]
    output: Output,
}

const SIMULATOR: &str = "simulator";
const REAL: &str = "real";
/// As in production.
const HEARTBEAT_MS: u64 = 30_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    version: u32,
    agents: usize,
    records: u64,
    objects_per_agent: u64,
    load_at_start: f64,
    load_at_end: f64,
    /// From the first agent's start until all had a bundle in force.
    join_ms: u64,
    ingest_ms: u64,
    ingest_records_per_second: u64,
    hub_cpu_s: f64,
    simulator_cpu_s: f64,
    hub_resident_bytes: u64,
    hub_peak_resident_bytes: u64,
    simulator_resident_bytes: u64,
    real_agent_resident_bytes: u64,
    encoded_bytes_per_record: f64,
    wire_bytes_per_record_up: f64,
    wire_bytes_per_record_down: f64,
    database_bytes_per_record: f64,
    bundle_to_active_ms: Spread,
    bundle_to_active_real_ms: Option<u64>,
}

/// Of the simulated agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub first: u64,
    pub median: u64,
    pub last: u64,
}

#[derive(Clone, Copy)]
struct Sample {
    hub: Usage,
    simulator: Usage,
    wire: (u64, u64),
    database: u64,
}

pub fn run(args: &Args, setting: &mut Setting) -> anyhow::Result<()> {
    let load_at_start = process::load();
    setting.start_hub(HEARTBEAT_MS)?;
    let link = setting.fleet.counted_link()?;
    let join_ms = join(args, setting, &link)?;
    let before = sample(setting, &link)?;
    let summary = ingest(setting)?;
    let after = sample(setting, &link)?;
    let activation = activate(args.agents, setting)?;
    let real = process::usage(setting.fleet.pid(REAL)?)?;
    for name in [SIMULATOR, REAL, HUB] {
        setting.fleet.end(name)?;
    }
    let number = |name: &str| summary[name].as_u64().context("the simulator's summary");
    let records = number("records")?;
    let each = |bytes: u64| ratio(bytes, records);
    let report = Report {
        version: 1,
        agents: args.agents,
        records,
        objects_per_agent: args.objects,
        load_at_start,
        load_at_end: process::load(),
        join_ms,
        ingest_ms: number("milliseconds")?,
        ingest_records_per_second: number("recordsPerSecond")?,
        hub_cpu_s: after.hub.cpu_s - before.hub.cpu_s,
        simulator_cpu_s: after.simulator.cpu_s - before.simulator.cpu_s,
        hub_resident_bytes: after.hub.resident_bytes,
        hub_peak_resident_bytes: after.hub.peak_resident_bytes,
        simulator_resident_bytes: after.simulator.resident_bytes,
        real_agent_resident_bytes: real.resident_bytes,
        encoded_bytes_per_record: each(number("encodedBytes")?),
        wire_bytes_per_record_up: each(after.wire.0 - before.wire.0),
        wire_bytes_per_record_down: each(after.wire.1 - before.wire.1),
        database_bytes_per_record: each(setting.database_bytes().saturating_sub(before.database)),
        bundle_to_active_ms: activation.0,
        bundle_to_active_real_ms: activation.1,
    };
    match args.output.format {
        Format::Json => output::json(&report)?,
        Format::Pretty => print(&report),
    }
    Ok(())
}

/// Everybody enrols and has the first bundle in force; says how long that took.
fn join(args: &Args, setting: &mut Setting, link: &Proxy) -> anyhow::Result<u64> {
    let over_link = format!("https://{}", link.address);
    let mut tokens = String::new();
    for number in 0..args.agents {
        tokens.push_str(&setting.token(&format!("simulated-{number}"), &over_link)?);
        tokens.push('\n');
    }
    let direct = format!("https://{}", setting.fleet.agents_address()?);
    let token = setting.token(REAL, &direct)?;
    fs::create_dir_all(setting.fleet.manifests(REAL))?;
    let (file, folder) = (setting.fleet.path("tokens"), setting.fleet.path(SIMULATOR));
    fs::write(&file, tokens)?;
    let text = |path: &Path| path.display().to_string();
    let arguments = [
        ("--agents", args.agents.to_string()),
        ("--token-file", text(&file)),
        ("--records", args.records.to_string()),
        ("--objects", args.objects.to_string()),
        ("--data-dir", text(&folder)),
        ("--summary", text(&setting.fleet.path("summary.json"))),
        ("--begin-with", text(&setting.fleet.path("begin"))),
    ];
    let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let arguments: Vec<String> =
        ["simulate", "--stay"].map(str::to_owned).into_iter().chain(arguments).collect();
    let began = now();
    setting.fleet.start("provost-agent", SIMULATOR, arguments)?;
    setting.fleet.start_agent(REAL, &token)?;
    setting.wait_for_version(1, args.agents + 1)?;
    Ok(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Lets the records begin, and returns what the simulator says of them.
fn ingest(setting: &mut Setting) -> anyhow::Result<Value> {
    fs::write(setting.fleet.path("begin"), "")?;
    let file = setting.fleet.path("summary.json");
    // Nothing is asked of the hub meanwhile.
    setting.wait("every record is acknowledged", |_| Ok(file.exists()))?;
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// Publishes another bundle; how long it took from there, on the hub's clock, until the agents said that it
/// is in force.
fn activate(agents: usize, setting: &mut Setting) -> anyhow::Result<(Spread, Option<u64>)> {
    setting.build_second()?;
    setting.publish("v2")?;
    setting.wait_for_version(2, agents + 1)?;
    let clusters = setting.fleet.hub()?.all("/api/v1/clusters")?;
    let names: BTreeMap<&str, &str> = clusters
        .iter()
        .filter_map(|cluster| Some((cluster["id"].as_str()?, cluster["name"].as_str()?)))
        .collect();
    let bundle = clusters.first().and_then(|cluster| cluster["bundle"].as_str());
    let path = format!("/api/v1/bundles/{}", bundle.context("a bundle is active")?);
    setting.wait("every agent's answer is stored", |fleet| {
        let detail: Value = fleet.hub()?.get(&path)?;
        let answers = detail["answers"].as_array().map_or(&[][..], Vec::as_slice);
        let active = answers.iter().filter(|answer| answer["status"] == "ACTIVE");
        Ok(active.count() == agents + 1)
    })?;
    let detail: Value = setting.fleet.hub()?.get(&path)?;
    let published = setting::time_of(&detail["bundle"]["published"])?;
    let (mut simulated, mut real) = (Vec::new(), None);
    for answer in detail["answers"].as_array().context("answers to the bundle")? {
        let ms = setting::milliseconds_between(published, setting::time_of(&answer["at"])?);
        let cluster = answer["cluster"].as_str().unwrap_or_default();
        if names.get(cluster) == Some(&REAL) {
            real = Some(ms);
        } else {
            simulated.push(ms);
        }
    }
    Ok((spread(simulated), real))
}

pub fn spread(mut values: Vec<u64>) -> Spread {
    values.sort_unstable();
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    Spread { first: at(0), median: at(values.len() / 2), last: at(values.len().saturating_sub(1)) }
}

fn sample(setting: &Setting, link: &Proxy) -> anyhow::Result<Sample> {
    let usage = |name| process::usage(setting.fleet.pid(name)?);
    Ok(Sample {
        hub: usage(HUB)?,
        simulator: usage(SIMULATOR)?,
        wire: link.bytes(),
        database: setting.database_bytes(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "shown, and far below 2^52")]
pub fn ratio(bytes: u64, of: u64) -> f64 {
    let each = bytes as f64 / of.max(1) as f64;
    (each * 10.0).round() / 10.0
}

/// Mebibytes with one decimal.
pub fn mib(bytes: u64) -> f64 {
    ratio(bytes, 1024 * 1024)
}

fn print(report: &Report) {
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    println!(
        "{} agents, {} records ({} objects each); load {:.1} at the start, {:.1} at the end",
        report.agents,
        report.records,
        report.objects_per_agent,
        report.load_at_start,
        report.load_at_end
    );
    let lines = [
        ("all joined, first bundle active", format!("{:.1} s", seconds(report.join_ms))),
        (
            "ingest",
            format!(
                "{} records/s ({:.1} s)",
                report.ingest_records_per_second,
                seconds(report.ingest_ms)
            ),
        ),
        (
            "CPU for it",
            format!("hub {:.1} s, agents {:.1} s", report.hub_cpu_s, report.simulator_cpu_s),
        ),
        (
            "memory of the hub",
            format!(
                "{:.1} MiB, at most {:.1} MiB",
                mib(report.hub_resident_bytes),
                mib(report.hub_peak_resident_bytes)
            ),
        ),
        (
            "memory of the agents",
            format!(
                "simulated {:.1} MiB together, the real one {:.1} MiB",
                mib(report.simulator_resident_bytes),
                mib(report.real_agent_resident_bytes)
            ),
        ),
        (
            "bytes per record",
            format!(
                "{} encoded, {} up and {} down on the wire, {} in the database",
                report.encoded_bytes_per_record,
                report.wire_bytes_per_record_up,
                report.wire_bytes_per_record_down,
                report.database_bytes_per_record
            ),
        ),
        (
            "published to active",
            format!(
                "first {} ms, median {} ms, last {} ms; the real agent {}",
                report.bundle_to_active_ms.first,
                report.bundle_to_active_ms.median,
                report.bundle_to_active_ms.last,
                report.bundle_to_active_real_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"))
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
    fn a_spread_is_of_what_was_measured() {
        assert_eq!(spread(vec![9, 1, 5]), Spread { first: 1, median: 5, last: 9 });
        assert_eq!(spread(Vec::new()), Spread::default());
    }

    #[test]
    fn ratios_are_rounded_to_what_is_shown() {
        assert!((ratio(10, 3) - 3.3).abs() < 1e-9);
        assert!((ratio(10, 0) - 10.0).abs() < 1e-9);
        assert!((mib(3 * 1024 * 1024) - 3.0).abs() < 1e-9);
    }
}
