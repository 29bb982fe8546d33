//! `provost bundle`: build, sign, verify, inspect, explain and publish policy bundles.

use crate::exit::{Exit, UsageError};

/// Build, sign, verify and publish policy bundles.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
