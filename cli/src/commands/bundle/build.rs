//! `provost bundle build`.

use std::path::PathBuf;

use anyhow::Context as _;
use provost_bundle::layout::{self, BundleDir};
use provost_bundle::{Bundle, Header, contents};
use provost_engine::selftest::{self, TestOutcome, TestResult};
use provost_model::LabelSelector;
use provost_trust::Timestamp;
use provost_trust::manifest::Ring;
use serde_json::json;

use crate::commands::bundle::open;
use crate::exit::{Exit, UsageError};
use crate::lifetime::{self, Lifetime};
use crate::output::{self, Format, Output, Style, counted, paint};

/// Build a bundle from a policy tree, not signed yet.
#[derive(clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  provost bundle build policies --out bundle --version 1
  provost bundle build policies --out edge-bundle --channel edge --version 7 --scope tier=edge
  provost bundle build policies --out bundle --version 8 --floor 5 --revoke 6 \\
      --ring canary:2026-12-01T06:00:00Z:ring=canary --ring rest:2026-12-03T06:00:00Z
Then sign it with 'provost bundle sign'."
)]
pub struct Args {
    /// The policy tree.
    #[arg(value_name = "POLICIES")]
    policies: PathBuf,
    /// Where to write the bundle: a new folder, or one that holds a bundle.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Rises with every bundle of a channel.
    #[arg(long, value_name = "N")]
    version: u64,
    #[arg(long, default_value = "stable", value_name = "NAME")]
    channel: String,
    /// No version below this one is accepted any more.
    #[arg(long, default_value_t = 0, value_name = "N")]
    floor: u64,
    /// A version that must not run again; may be repeated.
    #[arg(long = "revoke", value_name = "N")]
    revoked: Vec<u64>,
    /// Until when it can be activated, from its creation. What is active stays.
    #[arg(long, default_value = "90d", value_name = "LIFETIME")]
    expires_in: Lifetime,
    /// When it was created; now, unless the build must be reproducible to the byte.
    #[arg(long, value_name = "TIME")]
    created: Option<Timestamp>,
    /// A label that a cluster must have; may be repeated.
    #[arg(long, value_parser = open::label, value_name = "KEY=VALUE")]
    scope: Vec<(String, String)>,
    /// A wave: its name, when it starts, and the labels of its clusters; may be repeated. A cluster
    /// belongs to the first one that fits.
    #[arg(long = "ring", value_parser = ring, value_name = "NAME:TIME[:KEY=VALUE,...]")]
    rings: Vec<Ring>,
    /// Do not run the policies' tests and examples first. The hub runs them all the same.
    #[arg(long)]
    skip_tests: bool,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let source = open::tree(&args.policies)?;
    if !args.skip_tests && !passes(source.bundle()) {
        eprintln!("nothing was built: see 'provost test {}'", args.policies.display());
        return Ok(Exit::Violations);
    }
    let contents = contents::pack(&source);
    let created = args.created.unwrap_or_else(lifetime::now);
    let manifest = contents.manifest(Header {
        channel: args.channel.clone(),
        version: args.version,
        floor_version: args.floor,
        revoked_versions: args.revoked.clone(),
        created,
        expires: args.expires_in.after(created),
        scope: selector(&args.scope),
        rings: args.rings.clone(),
    });
    let envelope = manifest.to_unsigned().map_err(|error| UsageError(error.to_string()))?;
    let digest = envelope.payload_digest();
    let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
    let bundle = BundleDir { envelope, contents };
    layout::write_dir(&args.out, &bundle).context("cannot write the bundle")?;
    let (policies, bindings) = (source.bundle().policies.len(), source.bundle().bindings.len());
    match args.output.format {
        Format::Json => output::json(&json!({
            "version": 1,
            "folder": args.out.display().to_string(),
            "channel": manifest.channel,
            "bundleVersion": manifest.version,
            "manifestDigest": digest,
            "contentDigest": manifest.content_digest,
            "created": manifest.created,
            "expires": manifest.expires,
            "policies": policies,
            "bindings": bindings,
            "files": manifest.files.len(),
            "bytes": bytes,
        }))?,
        Format::Pretty => {
            println!(
                "{} {} version {}: {}, {}, {}, {} KiB",
                paint(Style::Green, "built"),
                manifest.channel,
                manifest.version,
                counted(policies, "policy", "policies"),
                counted(bindings, "binding", "bindings"),
                counted(manifest.files.len(), "file", "files"),
                bytes.div_ceil(1024),
            );
            println!("{} {digest}", paint(Style::Bold, "manifest"));
            println!("{} {}", paint(Style::Bold, "content "), manifest.content_digest);
            println!("{} {}", paint(Style::Bold, "expires "), manifest.expires);
            println!("sign it: provost bundle sign {} --key FILE", args.out.display());
        }
    }
    Ok(Exit::Clean)
}

/// Runs what the hub and every agent will run; prints what fails.
fn passes(bundle: &Bundle) -> bool {
    let results = selftest::run(bundle);
    let failed = results.iter().filter(|result| result.outcome != TestOutcome::Pass);
    let mut good = true;
    for TestResult { file, line, name, expected, actual, .. } in failed {
        good = false;
        let place = if *line == 0 { file.clone() } else { format!("{file}:{line}") };
        eprintln!("{place}: {name}: expected {expected}, got {actual}");
    }
    good
}

fn selector(pairs: &[(String, String)]) -> LabelSelector {
    LabelSelector { match_labels: open::labels(pairs), match_expressions: Vec::new() }
}

/// `canary:2026-12-01T06:00:00Z:ring=canary,tier=edge`. The time has colons of its own.
fn ring(text: &str) -> Result<Ring, String> {
    let wrong = || {
        format!(
            "{text:?} is no ring: write NAME:TIME or NAME:TIME:KEY=VALUE, with a time such as 2026-12-01T06:00:00Z"
        )
    };
    let (name, rest) =
        text.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let (time, labels) = match rest.split_once("Z:") {
        Some((time, labels)) => (format!("{time}Z"), labels),
        None => (rest.to_owned(), ""),
    };
    let not_before = time.parse().map_err(|_| wrong())?;
    let pairs = labels.split(',').filter(|part| !part.is_empty()).map(open::label);
    let pairs: Vec<(String, String)> = pairs.collect::<Result<_, _>>()?;
    Ok(Ring { name: name.to_owned(), selector: selector(&pairs), not_before, soak_seconds: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_read() {
        let canary = ring("canary:2026-12-01T06:00:00Z:ring=canary,tier=edge").unwrap();
        assert_eq!(canary.name, "canary");
        assert_eq!(canary.not_before.to_string(), "2026-12-01T06:00:00Z");
        assert_eq!(canary.selector.match_labels.len(), 2);
        assert!(ring("rest:2026-12-03T06:00:00Z").unwrap().selector.is_empty());
        for text in
            ["", "rest", ":2026-12-03T06:00:00Z", "rest:tomorrow", "a:2026-12-03T06:00:00Z:b"]
        {
            assert!(ring(text).is_err(), "{text}");
        }
    }
}
