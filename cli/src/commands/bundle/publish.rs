//! `provost bundle publish`: hands a signed bundle to the hub, which checks it before it offers it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provost_model::Digest;
use provost_trust::{Envelope, PolicyManifest};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::commands::bundle::{advice, open};
use crate::commands::root::chain;
use crate::exit::Exit;
use crate::hub::{Asked, Error, plain};
use crate::output::{self, Format, Style, paint};

/// Send a signed bundle to the hub.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost bundle publish bundle --plan
  provost bundle publish bundle --root root.json

The hub verifies the signatures under the root, compiles every policy and runs its tests and
examples before it offers the bundle to a cluster; each cluster then verifies everything again.
The root goes along with the versions before it that stand beside it.")]
pub struct Args {
    /// A folder that 'provost bundle build' wrote and 'provost bundle sign' signed.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Your own root file.
    #[arg(long, default_value = "root.json", value_name = "FILE")]
    root: PathBuf,
    /// Check everything and show what would change; change nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    hub: Asked,
}

#[derive(Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    channel: String,
    version: u64,
    manifest_digest: String,
    content_digest: String,
    published: bool,
    policies: u64,
    tests: u64,
    clusters: u64,
    changes: Vec<Change>,
    warnings: Vec<String>,
}

#[derive(Deserialize, serde::Serialize)]
struct Change {
    change: String,
    what: String,
    id: String,
    detail: String,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let dir = open::built(&args.bundle)?;
    let roots = chain::read(&args.root)?;
    let raw = |envelope: &Envelope| -> anyhow::Result<Box<RawValue>> {
        Ok(RawValue::from_string(envelope.to_json().trim_end().to_owned())?)
    };
    // Under the digest that was signed, whatever the file holds now: the hub is to say that it differs.
    let manifest = PolicyManifest::parse(&dir.envelope.payload)?;
    let blobs: BTreeMap<Digest, String> = manifest
        .files
        .iter()
        .filter_map(|file| Some((file.sha256, dir.contents.files.get(&file.path)?)))
        .map(|(digest, bytes)| (digest, STANDARD.encode(bytes)))
        .collect();
    let body = json!({
        "manifest": raw(&dir.envelope)?,
        "roots": roots.envelopes.iter().map(raw).collect::<anyhow::Result<Vec<_>>>()?,
        "blobs": blobs,
    });
    let path = if args.plan { "/api/v1/bundles?plan=true" } else { "/api/v1/bundles" };
    let answer: Answer = args
        .hub
        .open()?
        .post(path, &body)
        .map_err(advised)
        .with_context(|| format!("{} was not published", args.bundle.display()))?;
    match args.hub.format() {
        Format::Json => output::json(&answer)?,
        Format::Pretty => print(&answer, args.plan),
    }
    Ok(Exit::Clean)
}

/// The hub's own advice goes before ours.
fn advised(error: Error) -> Error {
    match error {
        Error::Refused(mut problem) if problem.help.is_empty() => {
            let advice = problem.code.parse().ok().and_then(advice::on);
            problem.help = advice.unwrap_or_default().to_owned();
            Error::Refused(problem)
        }
        other => other,
    }
}

fn print(answer: &Answer, plan: bool) {
    let what = match (plan, answer.published) {
        (true, _) => "would be published",
        (false, true) => "published",
        (false, false) => "was published before; nothing changed",
    };
    println!(
        "{} version {} {what}: {} policies, {} tests and examples passed, {} clusters in scope",
        paint(Style::Bold, plain(&answer.channel)),
        answer.version,
        answer.policies,
        answer.tests,
        answer.clusters,
    );
    println!("manifest {}", answer.manifest_digest);
    if answer.changes.is_empty() {
        println!("no policy and no binding changes");
    }
    for change in &answer.changes {
        let (sign, style) = match change.change.as_str() {
            "added" => ("+", Style::Green),
            "removed" => ("-", Style::Red),
            _ => ("~", Style::Yellow),
        };
        let line = format!("{sign} {} {} {}", change.what, change.id, plain(&change.detail));
        println!("{}", paint(style, line.trim_end()));
    }
    for warning in &answer.warnings {
        println!("{} {}", paint(Style::Yellow, "warning:"), plain(warning));
    }
}
