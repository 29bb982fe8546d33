//! `provost bundle inspect`.

use std::path::PathBuf;

use provost_bundle::Bundle;
use provost_model::binding::Origin;
use provost_trust::{Envelope, PolicyManifest};
use serde_json::{Value, json};

use crate::commands::bundle::open;
use crate::exit::Exit;
use crate::output::{self, Format, Output, Style, paint};

/// Show what is in a bundle. Nothing is verified: 'provost bundle verify' does that.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost bundle inspect bundle
  provost bundle inspect bundle -o json")]
pub struct Args {
    /// A folder that 'provost bundle build' wrote.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let dir = open::built(&args.bundle)?;
    let manifest = PolicyManifest::parse(&dir.envelope.payload)?;
    let loaded = dir
        .contents
        .load(Origin::Bundle(dir.envelope.payload_digest()))
        .map_err(|mistakes| open::told(&args.bundle, &mistakes))?;
    match args.output.format {
        Format::Json => output::json(&document(&dir.envelope, &manifest, &loaded))?,
        Format::Pretty => pretty(&dir.envelope, &manifest, &loaded),
    }
    Ok(Exit::Clean)
}

fn document(envelope: &Envelope, manifest: &PolicyManifest, bundle: &Bundle) -> Value {
    let signers: Vec<Value> = envelope.signatures.iter().map(|s| json!(s.key_id)).collect();
    let policies: Vec<Value> = bundle
        .policies
        .iter()
        .map(|p| {
            json!({
                "id": p.meta.id,
                "code": p.meta.code,
                "title": p.meta.title,
                "severity": p.meta.severity,
                "action": p.meta.action,
                "tests": p.tests.len(),
                "examples": p.examples.len(),
            })
        })
        .collect();
    json!({
        "version": 1,
        "manifestDigest": envelope.payload_digest(),
        "signatures": signers,
        "manifest": manifest,
        "policies": policies,
        "bindings": bundle.bindings,
    })
}

fn pretty(envelope: &Envelope, manifest: &PolicyManifest, bundle: &Bundle) {
    let line =
        |name: &str, text: String| println!("{} {text}", paint(Style::Bold, format!("{name:9}")));
    line("bundle", format!("{} version {}", manifest.channel, manifest.version));
    line("manifest", envelope.payload_digest().to_string());
    line("content", manifest.content_digest.to_string());
    line("dates", format!("created {}, expires {}", manifest.created, manifest.expires));
    if manifest.floor_version > 0 || !manifest.revoked_versions.is_empty() {
        let revoked: Vec<String> =
            manifest.revoked_versions.iter().map(ToString::to_string).collect();
        line("floor", format!("{}; revoked: {}", manifest.floor_version, revoked.join(", ")));
    }
    if !manifest.scope.is_empty() {
        line("scope", json!(manifest.scope).to_string());
    }
    for ring in &manifest.rings {
        line("ring", format!("{} from {}", ring.name, ring.not_before));
    }
    if envelope.signatures.is_empty() {
        line("signed", paint(Style::Yellow, "not yet"));
    }
    for signature in &envelope.signatures {
        line("signed", format!("by key {}", signature.key_id));
    }
    let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
    line("files", format!("{}, {} KiB", manifest.files.len(), bytes.div_ceil(1024)));
    println!();
    for policy in &bundle.policies {
        let meta = &policy.meta;
        println!(
            "{:5} {:9} {:6} {:32} {}",
            meta.code,
            meta.severity,
            meta.action,
            meta.id.as_str(),
            paint(Style::Dim, &meta.title)
        );
    }
    for binding in &bundle.bindings {
        println!("{} {} of {}", paint(Style::Bold, "binding"), binding.id, binding.policy);
    }
}
