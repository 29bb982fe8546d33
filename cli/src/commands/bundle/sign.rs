//! `provost bundle sign`.

use std::path::PathBuf;

use anyhow::Context as _;
use provost_bundle::layout;
use provost_trust::root::Role;
use provost_trust::{PolicyManifest, manifest};
use serde_json::json;

use crate::commands::bundle::open;
use crate::commands::keys::file;
use crate::commands::root::chain;
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format, Output, Style, paint};

/// Add signatures to a built bundle.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost bundle sign bundle --key ada.key.json --root root.json
      tells how many signatures are missing, and refuses a key that has no policy role
  provost bundle sign bundle --key policy.key.json
      nobody asks whether the key counts before the bundle is published")]
pub struct Args {
    /// A folder that 'provost bundle build' wrote.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// A private key of the policy role; may be repeated.
    #[arg(long = "key", required = true, value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Check the signatures against this root.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    // Nobody should sign what does not hold together.
    let dir = open::built(&args.bundle)?;
    let manifest = PolicyManifest::parse(&dir.envelope.payload)?;
    provost_trust::files::check_set(&manifest.files, &dir.contents.files)
        .context("the folder does not hold what its manifest says; build it again")?;
    let root = args.root.as_deref().map(chain::trusted).transpose()?;
    let mut envelope = dir.envelope;
    for path in &args.keys {
        let pair = file::read_private(path)?;
        if let Some(root) = &root
            && !root.root().role(Role::Policy).keys.contains(&pair.id())
        {
            let message = format!("{}: the root gives this key no policy role", path.display());
            return Err(UsageError(message).into());
        }
        envelope.add_signature(&pair);
    }
    layout::write_envelope(&args.bundle, &envelope).context("cannot write the signature")?;
    if root.is_none() {
        eprintln!(
            "{} it was not asked whether a root gives the key the policy role: give --root root.json",
            paint(Style::Yellow, "warning:")
        );
    }
    let refusal = root.as_ref().and_then(|root| manifest::verify(root, &envelope).err());
    let signers: Vec<String> = envelope.signatures.iter().map(|s| s.key_id.to_string()).collect();
    match args.output.format {
        Format::Json => output::json(&json!({
            "version": 1,
            "channel": manifest.channel,
            "bundleVersion": manifest.version,
            "manifestDigest": envelope.payload_digest(),
            "signatures": signers,
            "checkedAgainstRoot": root.is_some(),
            "missing": refusal.as_ref().map(ToString::to_string),
        }))?,
        Format::Pretty => {
            println!(
                "{} {} version {}, manifest {}",
                paint(Style::Green, "signed"),
                manifest.channel,
                manifest.version,
                envelope.payload_digest()
            );
            for signer in &signers {
                println!("  key {signer}");
            }
            if let Some(refusal) = &refusal {
                println!("{} {refusal}", paint(Style::Yellow, "not complete:"));
            }
        }
    }
    Ok(Exit::Clean)
}
