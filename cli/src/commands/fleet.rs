//! `provost fleet`: what the hub knows and what operators decide, by its REST API.

mod api_token;
mod clusters;
mod decide;
pub mod export;
mod findings;
mod info;
mod login_link;
mod status;
pub mod table;
mod token;

use clap::Subcommand;

use crate::exit::Exit;

/// Ask and steer the hub.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  export PROVOST_SERVER=http://127.0.0.1:8080 PROVOST_TOKEN_FILE=hub/admin.token
  provost fleet token create --root root.json --label tier=edge
  provost fleet clusters
  provost fleet status
  provost fleet findings --severity critical,high -o jsonl
The hub's address and token may also stand in ~/.config/provost/config.yaml (server, token_file, ca).")]
pub enum Command {
    #[command(subcommand)]
    Token(token::Command),
    Clusters(clusters::Args),
    Status(status::Args),
    Findings(findings::Args),
    Approve(decide::ApproveArgs),
    Revoke(decide::RevokeArgs),
    Release(decide::ReleaseArgs),
    Export(export::Args),
    Info(info::Args),
    #[command(subcommand)]
    ApiToken(api_token::Command),
    LoginLink(login_link::Args),
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Token(command) => token::run(&command),
        Command::Clusters(args) => clusters::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Findings(args) => findings::run(&args),
        Command::Approve(args) => decide::approve(&args),
        Command::Revoke(args) => decide::revoke(&args),
        Command::Release(args) => decide::release(&args),
        Command::Export(args) => export::run(&args),
        Command::Info(args) => info::run(&args),
        Command::ApiToken(command) => api_token::run(&command),
        Command::LoginLink(args) => login_link::run(&args),
    }
}
