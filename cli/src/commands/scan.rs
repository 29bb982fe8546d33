//! `provost scan`: checks manifests in files, offline.

use crate::exit::{Exit, UsageError};

/// Check manifests.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> anyhow::Result<Exit> {
    Err(UsageError("this command is not built yet".to_owned()).into())
}
