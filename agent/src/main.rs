//! `provost-agent`: reads its settings, runs, and says how it ended by its exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use provost_agent::cli::{Cli, Command, Run};
use provost_agent::config::Config;
use provost_agent::run::Agent;
use provost_runtime::clock::System;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;
use provost_runtime::telemetry::Telemetry;
use provost_runtime::{admin, config, telemetry, tls};

/// What tasks get to end after the signal, before they are cut off.
const GRACE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    tls::install_crypto_provider();
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => return run(&arguments).await,
        Command::Status(arguments) => arguments.run().await,
        Command::WebhookManifest(arguments) => arguments.run().await,
        Command::Simulate(arguments) => arguments.run().await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("provost-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Run) -> ExitCode {
    let settings = match arguments.config() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("provost-agent: {:#}", anyhow::Error::from(error));
            return ExitCode::from(config::EXIT_CODE);
        }
    };
    let telemetry = match telemetry::init("provost-agent", &settings.log) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("provost-agent: {:#}", anyhow::Error::from(error));
            return ExitCode::from(config::EXIT_CODE);
        }
    };
    match serve(settings, &telemetry).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the agent ends");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Config, telemetry: &Telemetry) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let tasks = Tasks::new(shutdown.clone());
    let listener = admin::bind(settings.admin_listen).await?;
    // Holds the data folder until the last task has ended.
    let started = Agent::start(settings, System::shared(), listener, &tasks).await;
    match &started {
        Ok(agent) => telemetry.watch(&agent.registry),
        Err(_) => shutdown.trigger(),
    }
    let ended = tasks.join(GRACE).await;
    // Why it did not start counts more than how it ended.
    started?;
    Ok(ended?)
}
