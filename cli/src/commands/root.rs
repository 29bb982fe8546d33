//! `provost root`: makes, signs and rotates the root of trust.

pub mod chain;
mod edit;
mod init;
mod show;
mod sign;

use clap::Subcommand;

use crate::exit::Exit;

/// Make, sign and rotate the root of trust.
///
/// The root says which keys may sign what. It lies in root.json; versions before it lie beside it
/// in root.1.json, root.2.json and so on, and the hub wants them all.
#[derive(Subcommand)]
#[command(after_help = "Examples:
  provost root init --key root.pub.json --policy-key policy.pub.json
  provost root add-key --role director --public HEX
  provost root sign --key root.key.json
  provost root show")]
pub enum Command {
    Init(init::Args),
    AddKey(edit::AddKey),
    RemoveKey(edit::RemoveKey),
    Renew(edit::Renew),
    Sign(sign::Args),
    Show(show::Args),
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => init::run(&args),
        Command::AddKey(args) => edit::add_key(&args),
        Command::RemoveKey(args) => edit::remove_key(&args),
        Command::Renew(args) => edit::renew(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Show(args) => show::run(&args),
    }
}
