//! `provost verify-reports`: checks exported evidence without a hub.

use crate::exit::{Exit, UsageError};

/// Check exported evidence.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
