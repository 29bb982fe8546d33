//! `provost fleet api-token`: who may use the hub's API.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::table::{left, table, text};
use crate::exit::{Exit, UsageError};
use crate::hub::{Asked, Error, encode, plain};
use crate::lifetime::Lifetime;
use crate::output::{self, Format};

/// Make, list and revoke API tokens.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  provost fleet api-token create ci --role viewer --ttl 30d > ci.token
  provost fleet api-token list
  provost fleet api-token revoke ci")]
pub enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also enrols, approves, revokes and publishes.
    Operator,
    /// Also makes tokens.
    Admin,
}

/// Make a token for a person or a program.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet api-token create ci --role viewer --ttl 30d > ci.token
  provost fleet api-token create ada@example.org --role operator")]
pub struct CreateArgs {
    /// Whose it is; stands in the audit log.
    #[arg(value_name = "NAME")]
    name: String,
    #[arg(long, value_enum, default_value_t = Role::Viewer)]
    role: Role,
    /// How long it lives, as in 90d; a year at most.
    #[arg(long, default_value = "90d", value_name = "TIME")]
    ttl: Lifetime,
    #[command(flatten)]
    hub: Asked,
}

/// List tokens by name; their secrets are not kept.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet api-token list")]
pub struct ListArgs {
    #[command(flatten)]
    hub: Asked,
}

/// End a token and the sessions that it opened.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet api-token revoke ci")]
pub struct RevokeArgs {
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    hub: Asked,
}

impl Role {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

pub fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create(args) => create(args),
        Command::List(args) => list(args),
        Command::Revoke(args) => {
            let path = format!("/api/v1/tokens/{}", encode(&args.name));
            args.hub.open()?.delete(&path)?;
            match args.hub.format() {
                Format::Json => output::json(&json!({"version": 1, "revoked": args.name}))?,
                Format::Pretty => println!("revoked {}", args.name),
            }
            Ok(Exit::Clean)
        }
    }
}

fn create(args: &CreateArgs) -> anyhow::Result<Exit> {
    let body = json!({"name": args.name, "role": args.role.as_str(), "ttlS": args.ttl.seconds()});
    let issued: Value = match args.hub.open()?.post("/api/v1/tokens", &body) {
        Err(Error::Refused(problem)) if problem.code == "CONFLICT" => {
            let advice = "choose another name, or end that token first with 'provost fleet api-token revoke'";
            let message = format!("{}: {}\n{advice}", problem.code, plain(&problem.detail));
            return Err(UsageError(message).into());
        }
        issued => issued?,
    };
    match args.hub.format() {
        Format::Json => output::json(&issued)?,
        Format::Pretty => {
            println!("{}", text(&issued, "/token"));
            eprintln!("shown this once; works until {}", text(&issued, "/expires"));
        }
    }
    Ok(Exit::Clean)
}

fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let tokens = args.hub.open()?.all("/api/v1/tokens")?;
    match args.hub.format() {
        Format::Json => output::json(&json!({"version": 1, "tokens": tokens}))?,
        Format::Pretty => {
            let mut rows = table(&["name", "role", "by", "expires", "revoked"]);
            for token in &tokens {
                rows.add_row(vec![
                    left(text(token, "/name")),
                    left(text(token, "/role")),
                    left(text(token, "/createdBy")),
                    left(text(token, "/expires")),
                    left(text(token, "/revoked")),
                ]);
            }
            println!("{rows}");
        }
    }
    Ok(Exit::Clean)
}
