//! `provost bench`: figures of a hub and its agents, measured as the processes that they are.
//!
//! Everything runs on this machine over TLS on loopback, in one temporary folder that goes away,
//! and shares its cores. What is printed are measurements, never a verdict.

mod agent;
mod fleet;
mod process;
mod setting;

use clap::Subcommand;

use super::demo::{self, Ended};
use crate::exit::Exit;
use setting::Setting;

/// Measure a hub and its agents on this machine.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  provost bench fleet --agents 100 --records 2000
  provost bench agent -o json")]
pub enum Command {
    Fleet(fleet::Args),
    Agent(agent::Args),
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Fleet(args) => play(move |setting| fleet::run(&args, setting)),
        Command::Agent(args) => play(move |setting| agent::run(&args, setting)),
    }
}

/// In a setting of its own, which is gone afterwards.
fn play(
    act: impl FnOnce(&mut Setting) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Exit> {
    let ended = demo::on_stage(
        None,
        |line| eprintln!("{line}"),
        |folder, orders, stop| {
            let mut setting = Setting::prepare(folder, orders, stop)?;
            let done = act(&mut setting);
            if done.is_err() {
                setting.fleet.print_logs();
            }
            done
        },
    )?;
    match ended {
        Ended::Signal(number) => Ok(Exit::Signal(number)),
        Ended::Told(Err(error)) => Err(error),
        Ended::Told(Ok(())) | Ended::TimeUp => Ok(Exit::Clean),
    }
}
