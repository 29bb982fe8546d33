//! `provost agent`: executes provost-agent with the arguments that follow.

use crate::exit::{Exit, UsageError};

/// Run a subcommand of provost-agent.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
