//! `provost test`: runs the tests and examples of policies.

use crate::exit::{Exit, UsageError};

/// Run the tests and examples of policies.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
