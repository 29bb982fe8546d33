//! `provost bundle`: build, sign, verify, inspect, explain and publish policy bundles.

mod advice;
mod build;
mod explain;
mod inspect;
pub mod open;
mod publish;
mod sign;
mod verify;

use clap::Subcommand;

use crate::exit::Exit;

/// Build, sign, verify and publish policy bundles.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  provost bundle build policies --out bundle --version 1
  provost bundle sign bundle --key policy.key.json
  provost bundle publish bundle --root root.json --plan
  provost bundle publish bundle --root root.json")]
pub enum Command {
    Build(build::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Explain(explain::Args),
    Publish(publish::Args),
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Build(args) => build::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Publish(args) => publish::run(&args),
    }
}
