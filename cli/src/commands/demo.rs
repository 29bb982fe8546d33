//! `provost demo`: a fleet on this machine that tells its story as it happens.
//!
//! One hub and six agents run as the processes they are in production, over TLS on loopback, in
//! one temporary folder that goes away. Every step is a command that a person could type; the
//! numbers are compared with `expected.json`, which was written by hand.

mod check;
mod fleet;
mod narrator;
mod proxy;
mod sites;
mod story;

use std::time::Duration;

use anyhow::Context as _;

use crate::exit::Exit;
use fleet::Fleet;
use narrator::Narrator;

/// Run a demonstration fleet on this machine.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost demo
      tells the story, then keeps running until Ctrl-C
  provost demo --check
      the same without anybody: compares every number, exits 0 or 1

Needs provost-agent and provost-aggregator beside provost; nothing else, and no Kubernetes.")]
pub struct Args {
    /// Run unattended: compare every count, end at once, exit 0 or 1; gives up after 120 s.
    #[arg(long)]
    check: bool,
}

/// What `--check` may take altogether.
const LIMIT: Duration = Duration::from_secs(120);

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let narrator = Narrator::start();
    let mut fleet = Fleet::prepare(runtime, args.check.then_some(LIMIT))?;
    let told = story::tell(&mut fleet, &narrator);
    if let Err(error) = told {
        fleet.print_logs();
        if args.check {
            eprintln!("{} {error:#}", crate::output::error_label());
            return Ok(Exit::Violations);
        }
        return Err(error);
    }
    if !args.check {
        story::stay(&mut fleet, &narrator)?;
    }
    Ok(Exit::Clean)
}
