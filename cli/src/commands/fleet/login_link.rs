//! `provost fleet login-link`: a link that signs a browser in, once.

use serde_json::{Value, json};

use super::api_token::Role;
use super::table::text;
use crate::exit::Exit;
use crate::hub::Asked;
use crate::lifetime::Lifetime;
use crate::output::{self, Format};

/// Make a link to the console that signs in once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet login-link
  provost fleet login-link --role operator --ttl 10m")]
pub struct Args {
    /// Role of the session; never more than your own.
    #[arg(long, value_enum, default_value_t = Role::Viewer)]
    role: Role,
    /// How long the link works: 15m at most.
    #[arg(long, default_value = "5m", value_name = "TIME")]
    ttl: Lifetime,
    #[command(flatten)]
    hub: Asked,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let hub = args.hub.open()?;
    let body = json!({"role": args.role.as_str(), "ttlS": args.ttl.seconds()});
    let issued: Value = hub.post("/api/v1/login-links", &body)?;
    let link = hub.base().join(text(&issued, "/path"))?;
    match args.hub.format() {
        Format::Json => output::json(&json!({
            "version": 1,
            "link": link.as_str(),
            "expires": text(&issued, "/expires"),
        }))?,
        Format::Pretty => {
            println!("{link}");
            eprintln!("signs in once, until {}", text(&issued, "/expires"));
        }
    }
    Ok(Exit::Clean)
}
