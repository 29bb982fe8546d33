//! `provost root add-key`, `remove-key` and `renew`: each makes the next version of a root that is
//! complete, or changes a draft in place and drops its signatures.

use std::path::{Path, PathBuf};

use provost_trust::root::Role;
use provost_trust::{KeyId, Root};

use crate::commands::keys::file;
use crate::commands::root::{chain, show};
use crate::exit::{Exit, UsageError};
use crate::lifetime::{self, Lifetime};
use crate::output::Output;

/// Put a key into a role.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost root add-key --role director --public 3f0c...
      the key that the hub printed at its first start
  provost root add-key --role policy --public eve.pub.json --threshold 2
A root that was signed gets a next version, to be signed again; a draft is changed in place.")]
pub struct AddKey {
    /// root, policy, exemption, director or operator.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// The key's public half.
    #[arg(long, value_name = "FILE|HEX")]
    public: String,
    /// Who holds it, for people.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    #[command(flatten)]
    edit: Edit,
}

/// Take a key out of a role.
#[derive(clap::Args)]
#[command(after_help = "Example:
  provost root remove-key --role policy --public eve.pub.json")]
pub struct RemoveKey {
    /// root, policy, exemption, director or operator.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// The key's public half, or its id.
    #[arg(long, value_name = "FILE|HEX|ID")]
    public: String,
    #[command(flatten)]
    edit: Edit,
}

/// Make the next version with the same keys and a later expiry.
#[derive(clap::Args)]
#[command(after_help = "Example:
  provost root renew --expires-in 365d")]
pub struct Renew {
    #[command(flatten)]
    edit: Edit,
}

#[derive(clap::Args)]
struct Edit {
    /// How many keys of the role must sign, from now on.
    #[arg(long, value_name = "N")]
    threshold: Option<u32>,
    /// When the root expires, from now.
    #[arg(long, default_value = "365d", value_name = "LIFETIME")]
    expires_in: Lifetime,
    /// The root file.
    #[arg(long, default_value = "root.json", value_name = "FILE")]
    root: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub fn add_key(args: &AddKey) -> anyhow::Result<Exit> {
    let (public, known_as) = file::read_public(&args.public)?;
    let name = args.name.as_deref().unwrap_or(&known_as);
    change(&args.edit, Some(args.role), |root| {
        root.add_key(args.role, public, name);
        Ok(())
    })
}

pub fn remove_key(args: &RemoveKey) -> anyhow::Result<Exit> {
    let by_id: Option<KeyId> = args.public.parse().ok();
    change(&args.edit, Some(args.role), |root| {
        let id = match by_id.filter(|id| root.keys.contains_key(id)) {
            Some(id) => id,
            None => file::read_public(&args.public)?.0.id(),
        };
        if !root.remove_key(args.role, id) {
            return Err(UsageError(format!("key {id} does not hold role {}", args.role)).into());
        }
        Ok(())
    })
}

pub fn renew(args: &Renew) -> anyhow::Result<Exit> {
    change(&args.edit, None, |_| Ok(()))
}

fn change(
    edit: &Edit,
    role: Option<Role>,
    apply: impl FnOnce(&mut Root) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    let path: &Path = &edit.root;
    let chain = chain::read(path)?;
    let created = lifetime::now();
    let expires = edit.expires_in.after(created);
    let complete = chain.progress()?.is_complete();
    let mut root = if complete {
        chain.latest.successor(created, expires)
    } else {
        Root { created, expires, ..chain.latest.clone() }
    };
    apply(&mut root)?;
    if let (Some(role), Some(threshold)) = (role, edit.threshold) {
        root.role_mut(role).threshold = threshold;
    } else if edit.threshold.is_some() {
        return Err(UsageError("--threshold needs a role".to_owned()).into());
    }
    let envelope = root.to_unsigned().map_err(|error| UsageError(error.to_string()))?;
    if complete {
        chain::put_aside(path, chain.latest.version)?;
    } else if !chain.latest_envelope()?.signatures.is_empty() {
        eprintln!("the draft had signatures that do not fit any more; it must be signed again");
    }
    chain::write(path, &envelope)?;
    show::print(path, edit.output.format)?;
    Ok(Exit::Clean)
}
