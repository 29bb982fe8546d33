//! `provost bundle publish`.

use crate::exit::{Exit, UsageError};

/// Send a signed bundle to the hub.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
