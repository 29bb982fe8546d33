//! `provost root init`.

use std::path::PathBuf;

use provost_trust::Root;
use provost_trust::root::Role;

use crate::commands::keys::file;
use crate::commands::root::{chain, show};
use crate::exit::{Exit, UsageError};
use crate::lifetime::{self, Lifetime};
use crate::output::Output;

/// Make version 1 of a root, not signed yet.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost root init --key root.pub.json --policy-key policy.pub.json
  provost root init --key ada.pub.json --key bob.pub.json --key eve.pub.json --threshold 2
      any two of three people sign the next roots
Then add the hub's director key with 'provost root add-key' and sign with 'provost root sign'.")]
pub struct Args {
    /// A key of the root role; may be repeated.
    #[arg(long = "key", required = true, value_name = "FILE|HEX")]
    keys: Vec<String>,
    /// How many root keys must sign a root.
    #[arg(long, default_value_t = 1, value_name = "N")]
    threshold: u32,
    /// A key that signs policy bundles; may be repeated.
    #[arg(long = "policy-key", value_name = "FILE|HEX")]
    policy_keys: Vec<String>,
    /// How many policy keys must sign a bundle.
    #[arg(long, default_value_t = 1, value_name = "N")]
    policy_threshold: u32,
    /// When the root expires, from now.
    #[arg(long, default_value = "365d", value_name = "LIFETIME")]
    expires_in: Lifetime,
    /// Where to write it.
    #[arg(long, default_value = "root.json", value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.out.exists() {
        let message = format!(
            "{} exists: change it with 'provost root add-key', or choose another --out",
            args.out.display()
        );
        return Err(UsageError(message).into());
    }
    let created = lifetime::now();
    let mut root = Root::first(created, args.expires_in.after(created));
    for (role, keys, threshold) in [
        (Role::Root, &args.keys, args.threshold),
        (Role::Policy, &args.policy_keys, args.policy_threshold),
    ] {
        for key in keys {
            let (public, name) = file::read_public(key)?;
            root.add_key(role, public, &name);
        }
        root.role_mut(role).threshold = threshold;
    }
    let envelope = root.to_unsigned().map_err(|error| UsageError(error.to_string()))?;
    chain::write(&args.out, &envelope)?;
    show::print(&args.out, args.output.format)?;
    Ok(Exit::Clean)
}
