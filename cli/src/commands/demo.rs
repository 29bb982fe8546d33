//! `provost demo`: a running fleet on loopback that tells its story.

use crate::exit::{Exit, UsageError};

/// Run a demonstration fleet on this machine.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
