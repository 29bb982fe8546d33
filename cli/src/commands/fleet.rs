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
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  export PROVOST_SERVER=http://127.0.0.1:8080 PROVOST_TOKEN_FILE=hub/admin.token
  provost fleet token create --root root.json --label tier=edge
  provost fleet clusters
  provost fleet status
  provost fleet findings --severity critical,high -o jsonl
The hub's address and token may also stand in ~/.config/provost/config.yaml (server, token_file, ca)."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Token(token::Args),
    Clusters(clusters::Args),
    Status(status::Args),
    Findings(findings::Args),
    Approve(decide::ApproveArgs),
    Revoke(decide::RevokeArgs),
    Release(decide::ReleaseArgs),
    Export(export::Args),
    Info(info::Args),
    ApiToken(api_token::Args),
    LoginLink(login_link::Args),
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Token(args) => token::run(&args),
        Command::Clusters(args) => clusters::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Findings(args) => findings::run(&args),
        Command::Approve(args) => decide::approve(&args),
        Command::Revoke(args) => decide::revoke(&args),
        Command::Release(args) => decide::release(&args),
        Command::Export(args) => export::run(&args),
        Command::Info(args) => info::run(&args),
        Command::ApiToken(args) => api_token::run(&args),
        Command::LoginLink(args) => login_link::run(&args),
    }
}
