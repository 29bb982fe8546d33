//! What a session is offered: the newest published bundle that has the cluster in its scope and whose ring has begun, in an
//! assignment that the director signs for this session alone. Never one that the newest bundle's floor or revocations
//! exclude, nor one older than what the agent holds, which it would refuse.

use provost_model::{ClusterId, Digest, Labels};
use provost_proto::hello::Hello;
use provost_proto::session;
use provost_trust::assignment::{AssignedAction, Assignment, MAX_LIFE_S, Nonce};
use provost_trust::{Envelope, PolicyManifest, Timestamp};

use super::roots;
use crate::hub::Hub;
use crate::refusal::{Refusal, Result};
use crate::store::bundles::BundleRow;
use crate::store::identity::{Cluster, ClusterStatus};

/// A published bundle with its manifest read.
#[derive(Clone, Debug)]
pub struct Newest {
    pub row: BundleRow,
    pub manifest: PolicyManifest,
    pub envelope: Envelope,
}

/// An offer to one session.
#[derive(Clone, Debug)]
pub struct Offer {
    pub bundle: BundleRow,
    /// A newer one is published that is not for this cluster, or not yet.
    pub newer_waits: bool,
    pub message: session::Assignment,
}

/// The newest published bundle of the one channel.
pub async fn newest(hub: &Hub) -> Result<Option<Newest>> {
    hub.store.bundles().await?.into_iter().next().map(read).transpose()
}

fn read(row: BundleRow) -> Result<Newest> {
    let envelope = Envelope::from_json(row.envelope.as_bytes())?;
    // Verified at the gate; what is in the store is ours.
    let manifest = PolicyManifest::parse(&envelope.payload)?;
    Ok(Newest { row, manifest, envelope })
}

/// The newest bundle for a cluster with these labels that holds `held`.
async fn fitting(
    hub: &Hub,
    labels: &Labels,
    held: Option<Digest>,
    now: Timestamp,
) -> Result<Option<Newest>> {
    let rows = hub.store.bundles().await?;
    let held = rows.iter().find(|row| Some(row.manifest) == held).map_or(0, |row| row.version);
    let mut rows = rows.into_iter();
    let Some(newest) = rows.next().map(read).transpose()? else { return Ok(None) };
    let fits = |manifest: &PolicyManifest| {
        manifest.check_scope(labels).is_ok() && manifest.check_ring(labels, now).is_ok()
    };
    if fits(&newest.manifest) {
        return Ok(Some(newest));
    }
    let oldest = held.max(newest.manifest.floor_version);
    for row in rows {
        let excluded = row.channel != newest.row.channel
            || row.version < oldest
            || newest.manifest.revoked_versions.contains(&row.version)
            || now >= Timestamp::from_unix_ms(row.expires_at_ms);
        if excluded {
            continue;
        }
        let older = read(row)?;
        if fits(&older.manifest) {
            return Ok(Some(older));
        }
    }
    Ok(None)
}

/// None: nothing is published, or nothing for this cluster yet.
pub async fn for_session(hub: &Hub, cluster: &Cluster, hello: &Hello) -> Result<Option<Offer>> {
    let now = Timestamp::from_unix_ms(hub.clock.wall_ms());
    let labels = granted_labels(cluster)?;
    let Some(fitting) = fitting(hub, &labels, hello.bundle, now).await? else { return Ok(None) };
    let newest = hub.store.newest_bundle(&fitting.row.channel).await?;
    let newer_waits = newest.is_some_and(|newest| newest.version > fitting.row.version);
    let assignment = assign(hub, cluster.id, hello, &fitting.row, now)?;
    let message = session::Assignment {
        assignment,
        roots: roots::following(hub, hello.root_version).await?,
        manifest: (hello.bundle != Some(fitting.row.manifest)).then_some(fitting.envelope),
        grant: cluster
            .grant
            .as_ref()
            .map(|json| Envelope::from_json(json.as_bytes()))
            .transpose()?,
    };
    Ok(Some(Offer { bundle: fitting.row, newer_waits, message }))
}

/// Whether a blob is of a bundle that the cluster was offered, or that is for its labels.
pub async fn may_fetch(hub: &Hub, cluster: &Cluster, blob: Digest) -> Result<bool> {
    if hub.store.blob_was_offered(cluster.id, blob).await? {
        return Ok(true);
    }
    let labels = granted_labels(cluster)?;
    for row in hub.store.bundles_with_blob(blob).await? {
        if read(row)?.manifest.check_scope(&labels).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many approved clusters a manifest is for.
pub async fn clusters_in_scope(hub: &Hub, manifest: &PolicyManifest) -> Result<u64> {
    let mut count = 0;
    for cluster in hub.store.clusters().await? {
        if cluster.status == ClusterStatus::Approved
            && manifest.check_scope(&granted_labels(&cluster)?).is_ok()
        {
            count += 1;
        }
    }
    Ok(count)
}

fn assign(
    hub: &Hub,
    cluster_id: ClusterId,
    hello: &Hello,
    bundle: &BundleRow,
    now: Timestamp,
) -> Result<Envelope, Refusal> {
    let assignment = Assignment {
        cluster_id,
        nonce: Nonce::from_bytes(hello.nonce),
        channel: bundle.channel.clone(),
        version: bundle.version,
        digest: bundle.manifest,
        action: AssignedAction::Activate,
        rollout_id: String::new(),
        issued: now,
        expires: now.plus_s(MAX_LIFE_S),
    };
    let mut envelope = assignment.to_unsigned()?;
    envelope.add_signature(&hub.keys.director);
    Ok(envelope)
}

/// Labels count as the grant says them.
fn granted_labels(cluster: &Cluster) -> Result<Labels> {
    let Some(json) = &cluster.grant else { return Ok(Labels::new()) };
    let envelope = Envelope::from_json(json.as_bytes())?;
    Ok(provost_trust::Grant::parse(&envelope.payload)?.labels)
}
