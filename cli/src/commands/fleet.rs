//! `provost fleet`: what the hub knows, by its REST API.

use crate::exit::{Exit, UsageError};

/// Ask and steer the hub.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
