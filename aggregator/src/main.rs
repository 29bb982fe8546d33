//! `provost-aggregator`: the hub of a fleet.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use provost_aggregator::config::{self, Config};
use provost_aggregator::run;
use provost_runtime::clock::System;
use provost_runtime::config::{EXIT_CODE, Error, Overrides, process_environment};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::telemetry::Telemetry;
use provost_runtime::{process, telemetry, tls};

#[derive(Parser)]
#[command(
    version,
    about = "The hub of a Provost fleet",
    arg_required_else_help = true,
    after_help = "Examples:
  provost-aggregator run --config /etc/provost/hub.yaml
  provost-aggregator run --help"
)]
enum Command {
    /// Run the hub until it is told to stop.
    #[command(after_help = "Examples:
  provost-aggregator run --config hub.yaml --data-dir /var/lib/provost
  PROVOST_AGGREGATOR_API__LISTEN=127.0.0.1:8080 provost-aggregator run --data-dir hub")]
    Run(RunArgs),
}

/// Names the file of settings; no setting itself.
const CONFIG_VARIABLE: &str = "PROVOST_AGGREGATOR_CONFIG";

#[derive(Args)]
struct RunArgs {
    /// Settings in YAML; then come PROVOST_AGGREGATOR_* variables, then the flags here.
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE)]
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
    let file = args.config.as_deref();
    let overrides =
        Overrides::environment(config::ENVIRONMENT, &[CONFIG_VARIABLE], process_environment())
            .flag("--data-dir", "data_dir", args.data_dir)
            .flag("--auto-approve", "auto_approve", args.auto_approve.then(|| "true".to_owned()));
    let settings = match Config::load(file, &overrides) {
        Ok(settings) => settings,
        Err(error) => return ended(error.into(), EXIT_CODE),
    };
    process::run(async {
        let telemetry = match telemetry::init("provost-aggregator", &settings.log) {
            Ok(guard) => guard,
            Err(error) => return ended(error.into(), EXIT_CODE),
        };
        match serve(settings, &telemetry).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => match error.downcast::<Error>() {
                Ok(error) => ended(error.located(file, &overrides).into(), EXIT_CODE),
                Err(error) => ended(error, 1),
            },
        }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the last thing that happens to it")]
fn ended(error: anyhow::Error, code: u8) -> ExitCode {
    eprintln!("provost-aggregator: {error:#}");
    ExitCode::from(code)
}

async fn serve(settings: Config, telemetry: &Telemetry) -> anyhow::Result<()> {
    tls::install_crypto_provider();
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let running = run::start(settings, System::shared(), shutdown).await?;
    telemetry.watch(&running.registry);
    running.wait().await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn help_shows_examples_everywhere() {
        let mut command = Command::command();
        assert!(command.render_help().to_string().contains("Examples:"));
        let own = command.get_subcommands_mut().filter(|command| command.get_name() != "help");
        for command in own {
            assert!(command.render_help().to_string().contains("Examples:"));
        }
    }
}
