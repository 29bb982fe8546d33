//! The `provost` command: scan, test, bundle, fleet, demo. Parses arguments and hands over.

mod commands;
mod exit;
mod hub;
mod library;
mod lifetime;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Evaluation asks for very many small blocks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Policy as code for fleets of Kubernetes clusters.
#[derive(Parser)]
#[command(
    name = "provost",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Examples:
  provost scan deploy/
  provost demo
  provost fleet status
'provost help COMMAND' shows examples of every command. Exit codes: 0 all is well, 1 something that was
checked is not, 2 wrong call, 3 something could not be read, evaluated or done."
)]
struct Cli {
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t = output::Color::Auto)]
    color: output::Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Scan(commands::scan::Args),
    Test(commands::test::Args),
    #[command(subcommand)]
    Bundle(commands::bundle::Command),
    #[command(subcommand)]
    Root(commands::root::Command),
    #[command(subcommand)]
    Keys(commands::keys::Command),
    #[command(subcommand)]
    Fleet(commands::fleet::Command),
    VerifyReports(commands::verify_reports::Args),
    Doctor(commands::doctor::Args),
    Agent(commands::agent::Args),
    Demo(commands::demo::Args),
    #[command(subcommand)]
    Bench(commands::bench::Command),
}

fn main() -> ExitCode {
    end_with_the_reader();
    let cli = Cli::parse();
    output::set_color(cli.color);
    let result = match cli.command {
        Command::Scan(args) => commands::scan::run(args),
        Command::Test(args) => commands::test::run(args),
        Command::Bundle(command) => commands::bundle::run(command),
        Command::Root(command) => commands::root::run(command),
        Command::Keys(command) => commands::keys::run(command),
        Command::Fleet(command) => commands::fleet::run(command),
        Command::VerifyReports(args) => commands::verify_reports::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Agent(args) => commands::agent::run(args),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Bench(command) => commands::bench::run(command),
    };
    exit::report(result)
}

/// `provost fleet status | head` ends quietly, as other tools do: Rust ignores the signal that says
/// that nobody reads any more, and printing would then panic.
fn end_with_the_reader() {
    #[expect(unsafe_code, reason = "restores the default action of one signal, before any thread")]
    // SAFETY: no other thread runs yet, and SIG_DFL is a valid action for SIGPIPE.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
