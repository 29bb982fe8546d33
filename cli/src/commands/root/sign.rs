//! `provost root sign`.

use std::path::PathBuf;

use provost_trust::root::Role;

use crate::commands::keys::file;
use crate::commands::root::{chain, show};
use crate::exit::{Exit, UsageError};
use crate::output::Output;

/// Add signatures to the newest root.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost root sign --key root.key.json
  provost root sign --key ada.key.json --root fleet/root.json
      people may sign one after the other, each on their own machine
A next version needs the root keys of the version before it as well as its own.")]
pub struct Args {
    /// A private key of the root role; may be repeated.
    #[arg(long = "key", required = true, value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// The root file.
    #[arg(long, default_value = "root.json", value_name = "FILE")]
    root: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let chain = chain::read(&args.root)?;
    let previous = chain.previous()?;
    let mut envelope = chain.latest_envelope()?.clone();
    for path in &args.keys {
        let pair = file::read_private(path)?;
        let roots = [Some(&chain.latest), previous.as_ref()];
        let holds = roots.iter().flatten().any(|r| r.role(Role::Root).keys.contains(&pair.id()));
        if !holds {
            let message = format!("{}: this key does not hold the root role", path.display());
            return Err(UsageError(message).into());
        }
        envelope.add_signature(&pair);
    }
    chain::write(&args.root, &envelope)?;
    show::print(&args.root, args.output.format)?;
    Ok(Exit::Clean)
}
