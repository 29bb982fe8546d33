//! The command line of `provost-agent`.

mod webhook_manifest;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use provost_runtime::config::{Overrides, process_environment};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::{Config, ENVIRONMENT_PREFIX};
use crate::run::ADMIN_ADDRESS_FILE;
use crate::simulate;
use crate::status::{self, Status};

/// Keeps one cluster inside policy: watches, evaluates, reports.
#[derive(Debug, Parser)]
#[command(name = "provost-agent", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until SIGTERM.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Say how the agent is: from its admin port, or from its data folder when it does not run.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArguments),
    /// Print the registration that makes the API server ask this agent.
    #[command(after_help = MANIFEST_EXAMPLES)]
    WebhookManifest(webhook_manifest::Arguments),
    /// Run many light agents against a hub, to measure it.
    #[command(after_help = simulate::EXAMPLES)]
    Simulate(simulate::Arguments),
}

const EXAMPLES: &str = "Examples:
  provost-agent run --config /etc/provost/agent.yaml
  provost-agent status --data-dir /var/lib/provost-agent
  provost-agent webhook-manifest --config agent.yaml | kubectl apply -f -";

const MANIFEST_EXAMPLES: &str = "Examples:
  provost-agent webhook-manifest --config agent.yaml | kubectl apply -f -
  provost-agent webhook-manifest --config agent.yaml --url https://127.0.0.1:9443/validate
  provost-agent webhook-manifest --config agent.yaml -o json | jq '.items[].webhooks[].rules'

The kinds are those of the policies in force: print it again after a bundle that adds kinds.";

const RUN_EXAMPLES: &str = "Examples:
  provost-agent run --config /etc/provost/agent.yaml
  PROVOST_AGENT_TOKEN_FILE=/run/token provost-agent run --config agent.yaml
  provost-agent run --config agent.yaml --data-dir /tmp/agent --name edge-1

Settings come from the file, then from variables such as PROVOST_AGENT_DATA_DIR
(two underscores between nested names: PROVOST_AGENT_ADMIN__LISTEN), then from flags.";

const STATUS_EXAMPLES: &str = "Examples:
  provost-agent status --data-dir /var/lib/provost-agent
  provost-agent status --config agent.yaml -o json";

#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    pub settings: SettingsFlags,
    /// File with the enrolment token; needed once.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What people call this cluster.
    #[arg(long)]
    pub name: Option<String>,
    /// Address of the admin port, on loopback.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct StatusArguments {
    #[command(flatten)]
    pub settings: SettingsFlags,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, clap::Args)]
pub struct SettingsFlags {
    /// Settings as YAML.
    #[arg(long, value_name = "FILE", env = "PROVOST_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder of everything the agent keeps.
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

impl Run {
    pub fn config(&self) -> Result<Config, provost_runtime::config::Error> {
        Config::load(self.settings.config.as_deref(), &self.overrides())
    }

    /// The error with the place where its setting stands.
    #[must_use]
    pub fn located(&self, error: provost_runtime::config::Error) -> provost_runtime::config::Error {
        error.located(self.settings.config.as_deref(), &self.overrides())
    }

    fn overrides(&self) -> Overrides {
        self.settings
            .overrides()
            .flag("--token-file", "token_file", self.token_file.as_deref().map(text))
            .flag("--name", "name", self.name.clone())
            .flag("--admin-listen", "admin.listen", self.admin_listen.clone())
    }
}

impl SettingsFlags {
    pub(crate) fn overrides(&self) -> Overrides {
        let skip = ["PROVOST_AGENT_CONFIG"];
        Overrides::environment(ENVIRONMENT_PREFIX, &skip, process_environment()).flag(
            "--data-dir",
            "data_dir",
            self.data_dir.as_deref().map(text),
        )
    }
}

impl StatusArguments {
    /// Prints the status; true when there is one to print.
    pub async fn run(&self) -> anyhow::Result<bool> {
        let overrides = self.settings.overrides();
        let file = self.settings.config.as_deref();
        let settings: crate::config::Settings = provost_runtime::config::load(file, &overrides)?;
        let Some(status) = read(&settings.data_dir).await? else {
            let folder = settings.data_dir.display();
            print(&format!("There is no agent in {folder}: no identity was made there yet."))?;
            return Ok(false);
        };
        match self.output {
            Output::Json => print(&serde_json::to_string_pretty(&status)?)?,
            Output::Text => {
                let lines = status.lines();
                let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
                let lines = lines.iter().map(|(label, value)| format!("{label:width$}  {value}"));
                print(&lines.collect::<Vec<_>>().join("\n"))?;
            }
        }
        Ok(true)
    }
}

/// A line, or more, to standard output. Who stopped reading has seen enough, as `head` has.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

async fn read(data_dir: &Path) -> anyhow::Result<Option<Status>> {
    if let Some(status) = ask(data_dir).await {
        return Ok(Some(status));
    }
    status::from_data_folder(data_dir)
        .with_context(|| format!("cannot read the data folder {}", data_dir.display()))
}

/// None: nobody answers at the address that the agent wrote down.
async fn ask(data_dir: &Path) -> Option<Status> {
    let address = std::fs::read_to_string(data_dir.join(ADMIN_ADDRESS_FILE)).ok()?;
    let address = address.trim();
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(1024 * 1024).read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    serde_json::from_str(body).ok()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn help_shows_examples_everywhere() {
        let mut command = Cli::command();
        assert!(command.render_help().to_string().contains("Examples:"));
        let own = command.get_subcommands_mut().filter(|command| command.get_name() != "help");
        for command in own {
            let help = command.render_help().to_string();
            assert!(help.contains("Examples:"), "{}", command.get_name());
            let prints = !["run", "simulate"].contains(&command.get_name());
            assert_eq!(help.contains("--output"), prints, "{}", command.get_name());
        }
    }
}
