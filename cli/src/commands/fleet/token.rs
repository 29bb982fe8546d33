//! `provost fleet token`: enrolment tokens.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use provost_proto::token::Token;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::table::{left, table, text};
use crate::commands::bundle::open;
use crate::commands::root::chain;
use crate::exit::{Exit, UsageError};
use crate::hub::{Hub, HubArgs};
use crate::lifetime::Lifetime;
use crate::output::{self, Format, Output};

/// Make and list enrolment tokens.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(CreateArgs),
    List(ListArgs),
}

/// Make a token with which one agent enrols, once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet token create --root root.json
  provost fleet token create --root root.json --name store-12 --label tier=edge --label region=eu
  provost fleet token create --root root.json --hub https://hub.example:8443 --ttl 5m > token

The digest of the root comes from your own file, never from the hub: who could choose the root
could choose the policies. The token is secret, works once, and lives 15 minutes at most.")]
struct CreateArgs {
    /// Your own root file; its digest goes into the token.
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Where agents reach the hub, as https://host:port; may be repeated. Default: what the hub says.
    #[arg(long = "hub", value_name = "URL")]
    hubs: Vec<String>,
    /// Name of the cluster; default: the agent's own.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Label that the cluster gets; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = open::label)]
    labels: Vec<(String, String)>,
    /// How long it lives: 15m at most.
    #[arg(long, value_name = "TIME")]
    ttl: Option<Lifetime>,
    #[command(flatten)]
    server: HubArgs,
    #[command(flatten)]
    output: Output,
}

/// List enrolment tokens, used and unused; their secrets are not kept.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet token list
  provost fleet token list -o json")]
struct ListArgs {
    #[command(flatten)]
    server: HubArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    secret: Zeroizing<String>,
    trust_domain: String,
    ca_digest: String,
    hubs: Vec<String>,
    expires: String,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Create(args) => create(args),
        Command::List(args) => list(args),
    }
}

fn create(args: &CreateArgs) -> anyhow::Result<Exit> {
    // The root first: a token that no agent could use is not asked for.
    let root = chain::trusted(&args.root)?;
    for url in &args.hubs {
        if let Err(error) = url.parse::<provost_runtime::tls::HubUrl>() {
            return Err(UsageError(format!("--hub {url}: {error}")).into());
        }
    }
    let hub = Hub::open(&args.server)?;
    let body = json!({
        "name": args.name.clone().unwrap_or_default(),
        "labels": open::labels(&args.labels),
        "ttlS": args.ttl.map(Lifetime::seconds),
    });
    let issued: Issued = hub.post("/api/v1/enrol-tokens", &body)?;
    let hubs = if args.hubs.is_empty() { issued.hubs } else { args.hubs.clone() };
    anyhow::ensure!(
        !hubs.is_empty(),
        "the hub does not say where agents reach it: give --hub https://HOST:PORT, or set agents.urls in its settings"
    );
    let token = Token {
        hubs,
        trust_domain: issued.trust_domain,
        ca_sha256: issued.ca_digest.parse().context("the hub's CA digest")?,
        root_sha256: root.digest(),
        secret: issued.secret,
    };
    match args.output.format {
        Format::Pretty => {
            println!("{}", *token.to_text());
            eprintln!("works once, until {}", issued.expires);
        }
        Format::Json => output::json(&json!({
            "version": 1,
            "token": *token.to_text(),
            "expires": issued.expires,
            "hubs": token.hubs,
            "trustDomain": token.trust_domain,
            "rootDigest": token.root_sha256,
        }))?,
    }
    Ok(Exit::Clean)
}

fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let tokens: Vec<Value> = Hub::open(&args.server)?.get("/api/v1/enrol-tokens")?;
    match args.output.format {
        Format::Json => output::json(&json!({"version": 1, "tokens": tokens}))?,
        Format::Pretty => {
            let mut rows = table(&["id", "name", "by", "expires", "used by"]);
            for token in &tokens {
                let used = match text(token, "/usedBy") {
                    "" => "-",
                    cluster => cluster,
                };
                rows.add_row(vec![
                    left(text(token, "/id")),
                    left(text(token, "/name")),
                    left(text(token, "/createdBy")),
                    left(text(token, "/expires")),
                    left(used),
                ]);
            }
            println!("{rows}");
        }
    }
    Ok(Exit::Clean)
}
