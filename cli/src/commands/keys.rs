//! `provost keys`: generates signing keys.

use crate::exit::{Exit, UsageError};

/// Generate signing keys.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
