//! `provost-agent`: reads its settings, runs, and says how it ended by its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use provost_agent::cli::{Cli, Command, Run};
use provost_agent::config::Config;
use provost_agent::heap;
use provost_agent::ports::Ports;
use provost_agent::run::Agent;
use provost_runtime::clock::System;
use provost_runtime::process::{self, GRACE};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;
use provost_runtime::telemetry::Telemetry;
use provost_runtime::{config, telemetry, tls};

/// Something could not be read or done, as with every command of `provost`; `run` fails with 1.
const UNDONE: u8 = 3;

fn main() -> ExitCode {
    heap::keep_little();
    tls::install_crypto_provider();
    process::run(dispatch(Cli::parse().command))
}

async fn dispatch(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Run(arguments) => return run(&arguments).await,
        Command::Status(arguments) => arguments.run().await,
        Command::WebhookManifest(arguments) => arguments.run().await,
        Command::Simulate(arguments) => arguments.run().await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<config::Error>() => unusable(error),
        Err(error) => {
            eprintln!("provost-agent: {error:#}");
            ExitCode::from(UNDONE)
        }
    }
}

async fn run(arguments: &Run) -> ExitCode {
    let settings = match arguments.config() {
        Ok(settings) => settings,
        Err(error) => return unusable(error),
    };
    let ports = match Ports::open(&settings).await {
        Ok(ports) => ports,
        Err(error) => return unusable(arguments.located(error)),
    };
    let telemetry = match telemetry::init("provost-agent", &settings.log) {
        Ok(guard) => guard,
        Err(error) => return unusable(error),
    };
    match serve(settings, ports, &telemetry).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<config::Error>() {
            Ok(error) => unusable(arguments.located(error)),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the agent ends");
                ExitCode::FAILURE
            }
        },
    }
}

fn unusable(error: impl Into<anyhow::Error>) -> ExitCode {
    eprintln!("provost-agent: {:#}", error.into());
    ExitCode::from(config::EXIT_CODE)
}

async fn serve(settings: Config, ports: Ports, telemetry: &Telemetry) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let tasks = Tasks::new(shutdown.clone());
    // Holds the data folder until the last task has ended.
    let started = Agent::start(settings, System::shared(), ports, &tasks).await;
    match &started {
        Ok(agent) => telemetry.watch(&agent.registry),
        Err(_) => shutdown.trigger(),
    }
    let ended = tasks.join(GRACE).await;
    // Why it did not start counts more than how it ended.
    started?;
    Ok(ended?)
}
