//! `provost-aggregator`: the hub of a fleet.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use provost_aggregator::config::{self, Config};
use provost_aggregator::run;
use provost_runtime::clock::System;
use provost_runtime::config::{EXIT_CODE, Overrides, process_environment};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::{telemetry, tls};

#[derive(Parser)]
#[command(version, about = "The hub of a Provost fleet", arg_required_else_help = true)]
enum Command {
    /// Run the hub until it is told to stop.
    #[command(
        after_help = "Example:\n  provost-aggregator run --config hub.yaml --data-dir /var/lib/provost"
    )]
    Run(RunArgs),
}

#[derive(Args)]
struct RunArgs {
    /// Settings in YAML; then come PROVOST_AGGREGATOR_* variables, then the flags here.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Database, keys and tokens.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Approve every cluster that enrols with a good token.
    #[arg(long)]
    auto_approve: bool,
}

fn main() -> ExitCode {
    let Command::Run(args) = Command::parse();
    let overrides = Overrides::environment(config::ENVIRONMENT, &[], process_environment())
        .flag("--data-dir", "data_dir", args.data_dir)
        .flag("--auto-approve", "auto_approve", args.auto_approve.then(|| "true".to_owned()));
    let (error, code) = match Config::load(args.config.as_deref(), &overrides) {
        Err(error) => (error.into(), EXIT_CODE),
        Ok(settings) => match serve(settings) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) if error.is::<telemetry::Error>() => (error, EXIT_CODE),
            Err(error) => (error, 1),
        },
    };
    eprintln!("provost-aggregator: {error:#}");
    ExitCode::from(code)
}

#[tokio::main]
async fn serve(settings: Config) -> anyhow::Result<()> {
    tls::install_crypto_provider();
    let telemetry = telemetry::init("provost-aggregator", &settings.log)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let running = run::start(settings, System::shared(), shutdown).await?;
    telemetry.watch(&running.registry);
    running.wait().await
}
