//! `provost root show`, and what the other root commands print at their end.

use std::path::{Path, PathBuf};

use provost_trust::Root;
use provost_trust::root::Role;
use serde_json::{Value, json};

use crate::commands::root::chain::{self, Progress};
use crate::exit::Exit;
use crate::lifetime;
use crate::output::{self, Format, Output, Style, paint};

/// Show who may sign what, and how far the signatures have come.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost root show
  provost root show fleet/root.json -o json
Exits 1 when the root lacks signatures or has expired.")]
pub struct Args {
    /// The root file.
    #[arg(default_value = "root.json", value_name = "FILE")]
    root: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let usable = print(&args.root, args.output.format)?;
    Ok(if usable { Exit::Clean } else { Exit::Violations })
}

/// Prints the root; true where it is complete and has not expired.
pub fn print(path: &Path, format: Format) -> anyhow::Result<bool> {
    let chain = chain::read(path)?;
    let progress = chain.progress()?;
    let digest = chain.latest_envelope()?.payload_digest();
    // What the counts say is one thing; the walk through the chain decides.
    let trusted = chain.trusted();
    let expired = lifetime::now() >= chain.latest.expires;
    match format {
        Format::Json => {
            output::json(&json!({
                "version": 1,
                "rootVersion": chain.latest.version,
                "digest": digest,
                "created": chain.latest.created,
                "expires": chain.latest.expires,
                "expired": expired,
                "complete": trusted.is_ok(),
                "signatures": signatures(progress),
                "versions": chain.envelopes.len(),
                "roles": roles(&chain.latest),
            }))?;
        }
        Format::Pretty => {
            pretty(&chain.latest);
            println!("{} {digest}", paint(Style::Bold, "digest "));
            println!("{} {}", paint(Style::Bold, "signed "), signed(&chain.latest, progress));
            if chain.latest.version > 1 && progress.previous.is_none() {
                let version = chain.latest.version - 1;
                let text = format!(
                    "version {version} is not beside it, so that nothing tells whether its keys signed"
                );
                println!("{}", paint(Style::Yellow, text));
            }
            match &trusted {
                Ok(_) if expired => println!("{}", paint(Style::Red, "it has expired")),
                Ok(_) => println!("{}", paint(Style::Green, "complete")),
                Err(_) if !progress.is_complete() => println!(
                    "{}",
                    paint(
                        Style::Yellow,
                        "not complete: sign it with 'provost root sign --key FILE'"
                    )
                ),
                Err(error) => println!("{} {error}", paint(Style::Red, error.code())),
            }
        }
    }
    Ok(trusted.is_ok() && !expired)
}

fn pretty(root: &Root) {
    println!(
        "{} version {}, created {}, expires {}",
        paint(Style::Bold, "root   "),
        root.version,
        root.created,
        root.expires
    );
    for role in Role::ALL {
        let keys = root.role(*role);
        let label = format!("{role:9}");
        if keys.keys.is_empty() {
            println!("  {label} {}", paint(Style::Dim, "nobody"));
            continue;
        }
        println!("  {label} {} of {}", keys.threshold, keys.keys.len());
        for id in &keys.keys {
            let name = root.keys.get(id).map_or("", |record| record.name.as_str());
            println!("            {} {name}", paint(Style::Dim, id.short()));
        }
    }
}

fn signed(root: &Root, progress: Progress) -> String {
    let (valid, needed) = progress.own;
    let own = format!("{valid} of {needed} of its own root keys");
    match progress.previous {
        Some((valid, needed)) => {
            format!("{own}, {valid} of {needed} of version {}", root.version.saturating_sub(1))
        }
        None => own,
    }
}

fn signatures(progress: Progress) -> Value {
    let counts = |(valid, needed): (u32, u32)| json!({"valid": valid, "needed": needed});
    json!({"own": counts(progress.own), "previous": progress.previous.map(counts)})
}

fn roles(root: &Root) -> Value {
    let of_role = |role: &Role| {
        let keys: Vec<Value> = root
            .role(*role)
            .keys
            .iter()
            .filter_map(|id| root.keys.get(id).map(|record| (id, record)))
            .map(|(id, record)| json!({"keyId": id, "public": record.public, "name": record.name}))
            .collect();
        (role.to_string(), json!({"threshold": root.role(*role).threshold, "keys": keys}))
    };
    Value::Object(Role::ALL.iter().map(of_role).collect())
}
