//! `provost doctor`: checks what an installation needs and says what to do.

use crate::exit::{Exit, UsageError};

/// Check this installation.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
