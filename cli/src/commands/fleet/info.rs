//! `provost fleet info`: what a hub says of itself.

use serde_json::Value;

use super::table::{count, text};
use crate::exit::Exit;
use crate::hub::{Asked, plain};
use crate::output::{self, Format, Style, paint};

/// Show the hub's trust domain, CA digest and director key.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet info
  provost fleet info -o json

The director key goes into the root: provost root add-key --role director --public HEX")]
pub struct Args {
    #[command(flatten)]
    hub: Asked,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let facts: Value = args.hub.open()?.get("/api/v1/hub")?;
    match args.hub.format() {
        Format::Json => output::json(&facts)?,
        Format::Pretty => {
            let line = |name: &str, text: &str| {
                println!("{} {}", paint(Style::Bold, format!("{name:12}")), plain(text));
            };
            line("version", text(&facts, "/version"));
            line("trust domain", text(&facts, "/trustDomain"));
            line("CA digest", text(&facts, "/caDigest"));
            line("director key", text(&facts, "/directorKey"));
            match count(&facts, "/rootVersion") {
                0 => line("root", "none yet: publish a bundle with its root"),
                version => line("root", &format!("version {version}")),
            }
        }
    }
    Ok(Exit::Clean)
}
