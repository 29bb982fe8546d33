//! `provost fleet token`: enrolment tokens.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use provost_model::Digest;
use provost_proto::token::Token;
use provost_runtime::tls::HubUrl;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::table::{left, table, text};
use crate::commands::bundle::open;
use crate::commands::root::chain;
use crate::exit::{Exit, UsageError};
use crate::hub::Asked;
use crate::lifetime::Lifetime;
use crate::output::{self, Format};

/// Make and list enrolment tokens.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  provost fleet token create --root root.json --name store-12 --label tier=edge > store-12.token
  provost fleet token list")]
pub enum Command {
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
pub struct CreateArgs {
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
    hub: Asked,
}

/// List enrolment tokens, used and unused; their secrets are not kept.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet token list
  provost fleet token list -o json")]
pub struct ListArgs {
    #[command(flatten)]
    hub: Asked,
}

#[derive(Deserialize)]
struct Issued {
    secret: Zeroizing<String>,
    expires: String,
}

/// What the hub says of itself that an agent has to know.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    trust_domain: String,
    ca_digest: String,
    agent_urls: Vec<String>,
}

pub fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Create(args) => create(args),
        Command::List(args) => list(args),
    }
}

fn create(args: &CreateArgs) -> anyhow::Result<Exit> {
    // Everything but the secret first: a token that no agent could use is not asked for.
    let root = chain::trusted(&args.root)?;
    let hub = args.hub.open()?;
    let mut token = without_secret(hub.get("/api/v1/hub")?, &args.hubs, root.digest())?;
    let body = json!({
        "name": args.name.clone().unwrap_or_default(),
        "labels": open::labels(&args.labels),
        "ttlS": args.ttl.map(Lifetime::seconds),
    });
    let issued: Issued = hub.post("/api/v1/enrol-tokens", &body)?;
    token.secret = issued.secret;
    match args.hub.format() {
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

fn without_secret(facts: Facts, hubs: &[String], root_sha256: Digest) -> anyhow::Result<Token> {
    let (hubs, whose) = if hubs.is_empty() {
        (facts.agent_urls, "agents.urls in the hub's settings")
    } else {
        (hubs.to_vec(), "--hub")
    };
    if hubs.is_empty() {
        let message = "the hub does not say where agents reach it: give --hub https://HOST:PORT, or set agents.urls in its settings";
        return Err(UsageError(message.to_owned()).into());
    }
    for url in &hubs {
        if let Err(error) = url.parse::<HubUrl>() {
            return Err(UsageError(format!("{whose}: {error}")).into());
        }
    }
    let ca_sha256 = facts.ca_digest.parse().context("the hub's CA digest")?;
    let placeholder = Zeroizing::new("secret".to_owned());
    let token = Token {
        hubs,
        trust_domain: facts.trust_domain,
        ca_sha256,
        root_sha256,
        secret: placeholder,
    };
    // Read back as an agent reads it, limits and all.
    token.to_text().parse().with_context(|| format!("no agent could read the token ({whose})"))
}

fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let tokens = args.hub.open()?.all("/api/v1/enrol-tokens")?;
    match args.hub.format() {
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
