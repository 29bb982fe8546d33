//! `provost agent`: executes provost-agent with the arguments that follow.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::exit::{Exit, UsageError};

/// Run a subcommand of provost-agent.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  provost agent status
  provost agent webhook-manifest
  provost agent run --config agent.yaml
Looks for provost-agent beside this program, then in PATH."
)]
pub struct Args {
    /// Handed over as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

pub const PROGRAM: &str = "provost-agent";

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let program = beside(PROGRAM).unwrap_or_else(|| PathBuf::from(PROGRAM));
    // Becomes the agent: signals and exit code are its own. Comes back only when it cannot start.
    let error = Command::new(&program).args(args.arguments).exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        let message = format!("{PROGRAM} is neither beside this program nor in PATH: install it");
        return Err(UsageError(message).into());
    }
    Err(anyhow::Error::new(error).context(format!("cannot start {}", program.display())))
}

/// A program in the folder of this one.
pub fn beside(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(name);
    path.is_file().then_some(path)
}
