//! `provost root`: makes and rotates the root of trust.

use crate::exit::{Exit, UsageError};

/// Make and rotate the root of trust.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
