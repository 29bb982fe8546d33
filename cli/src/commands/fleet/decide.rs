//! `provost fleet approve`, `revoke` and `release`: an operator's decisions about clusters.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use provost_model::{InstanceId, Labels};
use provost_trust::grant::GrantedInstance;
use provost_trust::{Grant, PublicKey};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::table::{count, text};
use crate::commands::bundle::open;
use crate::commands::keys::file;
use crate::exit::{Exit, UsageError};
use crate::hub::{Asked, Hub, encode, plain};
use crate::lifetime;
use crate::output::{self, Format};

/// Let a cluster in, or give it other labels.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet approve store-12
  provost fleet approve store-12 --label tier=edge --label region=eu
  provost fleet approve store-12 --sign-with operator.key.json --identity-key 8c1d0e...

With --sign-with the approval is a grant signed by your operator key: it names the cluster's keys,
so that a hub that was broken into can neither move the cluster nor put keys of its own in place.
Give the identity key that 'provost-agent status' shows where the agent runs: another one is neither
signed nor approved. Without --identity-key, compare with the key that is shown before it is signed.")]
pub struct ApproveArgs {
    /// Name or id.
    #[arg(value_name = "CLUSTER")]
    cluster: String,
    /// Name that the cluster gets.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Labels, in place of those of its enrolment token; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = open::label)]
    labels: Vec<(String, String)>,
    /// Sign the grant with this private key of the operator role.
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// Approve only if the hub has this identity key of the cluster.
    #[arg(long, value_name = "HEX")]
    identity_key: Option<PublicKey>,
    #[command(flatten)]
    hub: Asked,
}

/// Reject a cluster that waits, or let go one that is in.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet revoke store-12 --reason 'site closed'
Its sessions end within five seconds and its verdicts leave every number; its evidence stays.")]
pub struct RevokeArgs {
    /// Name or id.
    #[arg(value_name = "CLUSTER")]
    cluster: String,
    /// Stands in the audit log.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    hub: Asked,
}

/// Lift the quarantine of an instance.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet release store-12 --instance 0f3c9a...
An instance is quarantined when two parties speak with its keys. Find out who they are first.")]
pub struct ReleaseArgs {
    /// Name or id.
    #[arg(value_name = "CLUSTER")]
    cluster: String,
    /// Id of the instance, as 'provost fleet status --cluster' shows it.
    #[arg(long, value_name = "ID")]
    instance: InstanceId,
    #[command(flatten)]
    hub: Asked,
}

pub fn approve(args: &ApproveArgs) -> anyhow::Result<Exit> {
    let hub = args.hub.open()?;
    let id = text(&find_cluster(&hub, &args.cluster)?, "/id").to_owned();
    let labels = (!args.labels.is_empty()).then(|| open::labels(&args.labels));
    let grant = match (&args.sign_with, args.identity_key) {
        (None, None) => None,
        (key, expected) => {
            let detail: Value = hub.get(&format!("/api/v1/clusters/{id}"))?;
            let identity_key = identity_key(&detail, expected)?;
            match key {
                Some(key) => {
                    eprintln!("identity key {identity_key}");
                    Some(signed_grant(&hub, &detail, identity_key, labels.as_ref(), key)?)
                }
                None => None,
            }
        }
    };
    let body = json!({"displayName": args.name, "labels": labels, "grant": grant});
    let cluster: Value = hub.post(&format!("/api/v1/clusters/{id}/approve"), &body)?;
    match args.hub.format() {
        Format::Json => output::json(&cluster)?,
        Format::Pretty => println!("approved {} {id}", plain(text(&cluster, "/name"))),
    }
    Ok(Exit::Clean)
}

pub fn revoke(args: &RevokeArgs) -> anyhow::Result<Exit> {
    let hub = args.hub.open()?;
    let id = text(&find_cluster(&hub, &args.cluster)?, "/id").to_owned();
    let body = json!({"reason": args.reason});
    let cluster: Value = hub.post(&format!("/api/v1/clusters/{id}/revoke"), &body)?;
    match args.hub.format() {
        Format::Json => output::json(&cluster)?,
        Format::Pretty => println!(
            "{} {} {id}",
            text(&cluster, "/status").to_lowercase(),
            plain(text(&cluster, "/name"))
        ),
    }
    Ok(Exit::Clean)
}

pub fn release(args: &ReleaseArgs) -> anyhow::Result<Exit> {
    let hub = args.hub.open()?;
    let id = text(&find_cluster(&hub, &args.cluster)?, "/id").to_owned();
    let path = format!("/api/v1/clusters/{id}/instances/{}/release", args.instance);
    let _: Value = hub.post(&path, &json!({}))?;
    match args.hub.format() {
        Format::Json => output::json(&json!({"cluster": id, "instance": args.instance}))?,
        Format::Pretty => println!("released {}", args.instance),
    }
    Ok(Exit::Clean)
}

/// The one cluster of that id or exact name.
pub fn find_cluster(hub: &Hub, wanted: &str) -> anyhow::Result<Value> {
    let is_id = wanted.parse::<provost_model::ClusterId>().is_ok();
    let path = if is_id {
        "/api/v1/clusters".to_owned()
    } else {
        format!("/api/v1/clusters?name={}", encode(wanted))
    };
    let mut found = hub.all(&path)?;
    let key = if is_id { "/id" } else { "/name" };
    found.retain(|cluster| text(cluster, key) == wanted);
    if found.len() > 1 {
        // Those that were let go keep their names.
        found.retain(|cluster| !matches!(text(cluster, "/status"), "REVOKED" | "REJECTED"));
    }
    match (found.pop(), found.len()) {
        (Some(cluster), 0) => Ok(cluster),
        (Some(_), _) => {
            let message = format!("several clusters are named {wanted}: give the id of one");
            Err(UsageError(message).into())
        }
        (None, _) => {
            let message =
                format!("the hub knows no cluster {wanted}: see 'provost fleet clusters'");
            Err(UsageError(message).into())
        }
    }
}

/// The cluster's identity key as the hub has it, which is the expected one where one is.
fn identity_key(detail: &Value, expected: Option<PublicKey>) -> anyhow::Result<PublicKey> {
    let key: PublicKey = text(detail, "/trust/identityKey").parse().context("identity key")?;
    match expected {
        Some(expected) if expected != key => anyhow::bail!(
            "the hub has another identity key of this cluster: {key}; nothing is signed or approved: \
             find out whose it is (see 'provost-agent status' where the agent runs)"
        ),
        _ => Ok(key),
    }
}

/// A grant over what the hub says of the cluster, signed here.
fn signed_grant(
    hub: &Hub,
    detail: &Value,
    identity_key: PublicKey,
    labels: Option<&Labels>,
    key: &Path,
) -> anyhow::Result<Box<RawValue>> {
    let key = file::read_private(key)?;
    let facts: Value = hub.get("/api/v1/hub")?;
    let own: Labels =
        serde_json::from_value(detail.pointer("/cluster/labels").cloned().unwrap_or_default())?;
    let mut instances = Vec::new();
    for instance in detail.pointer("/instances").and_then(Value::as_array).into_iter().flatten() {
        instances.push(GrantedInstance {
            instance_id: text(instance, "/id").parse().context("instance id")?,
            report_key: text(instance, "/reportKey").parse().context("report key")?,
        });
    }
    instances.sort_by_key(|instance| instance.instance_id);
    let grant = Grant {
        cluster_id: text(detail, "/cluster/id").parse()?,
        trust_domain: text(&facts, "/trustDomain").to_owned(),
        version: count(detail, "/trust/grantVersion") + 1,
        identity_key,
        instances,
        labels: labels.cloned().unwrap_or(own),
        issued: lifetime::now(),
    };
    let mut envelope = grant.to_unsigned()?;
    envelope.add_signature(&key);
    Ok(RawValue::from_string(envelope.to_json().trim_end().to_owned())?)
}

#[cfg(test)]
mod tests {
    use provost_trust::KeyPair;

    use super::*;

    #[test]
    fn only_the_expected_identity_key_is_signed() {
        let public = |seed: u8| KeyPair::from_seed(&[seed; 32]).unwrap().public();
        let detail = json!({"trust": {"identityKey": public(1).to_string()}});
        assert_eq!(identity_key(&detail, None).unwrap(), public(1));
        assert_eq!(identity_key(&detail, Some(public(1))).unwrap(), public(1));
        let refused = identity_key(&detail, Some(public(2))).unwrap_err().to_string();
        assert!(refused.contains(&public(1).to_string()), "{refused}");
        assert!(refused.contains("nothing is signed"), "{refused}");
        assert!(identity_key(&json!({}), None).is_err());
    }
}
