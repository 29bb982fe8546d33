//! `provost keys`: generates signing keys and shows what is in a key file.

pub mod file;

use std::path::PathBuf;

use clap::Subcommand;
use provost_trust::KeyPair;
use provost_trust::text::is_plain_line;
use serde_json::json;

use crate::exit::{Exit, UsageError};
use crate::output::{self, Format, Output, Style, paint};

/// Generate signing keys, and show what is in a key file.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  provost keys generate --out policy.key.json --name 'release team'
  provost keys show policy.pub.json")]
pub enum Command {
    /// Generate an Ed25519 key: a private file that stays with you, and a public one to hand around.
    #[command(after_help = "Examples:
  provost keys generate --out root.key.json --name 'Ada, security'
  provost keys generate --out policy.key.json --name 'release team'
      writes policy.key.json (private, mode 0600) and policy.pub.json")]
    Generate(Generate),
    /// Show the public half and the id of a key file.
    #[command(after_help = "Example:
  provost keys show policy.key.json")]
    Show(Show),
}

#[derive(clap::Args)]
pub struct Generate {
    /// Where to write the private key. The public half goes beside it, as NAME.pub.json.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Who holds it, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    name: String,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
pub struct Show {
    /// A private or public key file, or a public key in hex.
    #[arg(value_name = "FILE|HEX")]
    key: String,
    #[command(flatten)]
    output: Output,
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Generate(args) => generate(&args),
        Command::Show(args) => show(&args),
    }
}

fn generate(args: &Generate) -> anyhow::Result<Exit> {
    let public_path = file::public_path(&args.out);
    for path in [&args.out, &public_path] {
        if path.exists() {
            let message = format!(
                "{} exists, and keys are never overwritten: choose another name",
                path.display()
            );
            return Err(UsageError(message).into());
        }
    }
    if !is_plain_line(&args.name) {
        return Err(UsageError("--name must be one line of text".to_owned()).into());
    }
    let pair = KeyPair::generate()?;
    file::write_pair(&args.out, &public_path, &pair, &args.name)?;
    let (private, public) = (args.out.display(), public_path.display());
    match args.output.format {
        Format::Json => output::json(&json!({
            "version": 1,
            "keyId": pair.id(),
            "public": pair.public(),
            "name": args.name,
            "privateFile": private.to_string(),
            "publicFile": public.to_string(),
        }))?,
        Format::Pretty => {
            println!("{} {}", paint(Style::Bold, "key id "), pair.id());
            println!("{} {}", paint(Style::Bold, "public "), pair.public());
            println!("{} {private} (keep it to yourself)", paint(Style::Bold, "private"));
            println!("{} {public} (hand it around)", paint(Style::Bold, "public "));
        }
    }
    Ok(Exit::Clean)
}

fn show(args: &Show) -> anyhow::Result<Exit> {
    let (public, name) = file::read_public(&args.key)?;
    match args.output.format {
        Format::Json => output::json(
            &json!({"version": 1, "keyId": public.id(), "public": public, "name": name}),
        )?,
        Format::Pretty => {
            println!("{} {}", paint(Style::Bold, "key id"), public.id());
            println!("{} {public}", paint(Style::Bold, "public"));
            if !name.is_empty() {
                println!("{} {name}", paint(Style::Bold, "name  "));
            }
        }
    }
    Ok(Exit::Clean)
}
