//! `provost-aggregator`: the hub of a fleet.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use provost_aggregator::config::Config;
use provost_aggregator::run;
use provost_runtime::clock::System;
use provost_runtime::config::{self, Overrides};
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
    let overrides =
        Overrides::environment("PROVOST_AGGREGATOR", &[], config::process_environment())
            .flag("--data-dir", "data_dir", args.data_dir)
            .flag("--auto-approve", "auto_approve", args.auto_approve.then(|| "true".to_owned()));
    let checked = config::load::<Config>(args.config.as_deref(), &overrides)
        .and_then(|settings| settings.check().map(|()| settings));
    let settings = match checked {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("provost-aggregator: {error}");
            return ExitCode::from(config::EXIT_CODE);
        }
    };
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("provost-aggregator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(settings: Config) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("provost-aggregator", &settings.log)?;
    tls::install_crypto_provider();
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    run::start(settings, System::shared(), shutdown).await?.wait().await
}
