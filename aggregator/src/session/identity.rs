//! Whose certificate a call came with, and whether it still counts.

use std::sync::Arc;

use provost_model::{ClusterId, Code, Digest};
use provost_runtime::pki::Identity;
use provost_runtime::tls::Peer;

use crate::hub::Hub;
use crate::ingest::Speaker;
use crate::refusal::{Refusal, Result};
use crate::store::identity::{Cluster, ClusterStatus};

/// A caller that passed every check at the time of the call.
#[derive(Clone, Debug)]
pub struct Caller {
    pub speaker: Speaker,
    pub cluster: Cluster,
    identity: Arc<Identity>,
}

/// The caller of a request, from its connection.
pub async fn caller(hub: &Hub, extensions: &tonic::Extensions) -> Result<Caller> {
    let identity = extensions.get::<Peer>().and_then(|peer| peer.identity.clone());
    let identity = identity.ok_or_else(|| {
        Refusal::new(
            Code::Unauthenticated,
            "this call needs the agent's certificate; enrol or re-enter first",
        )
    })?;
    check(hub, identity).await
}

impl Caller {
    /// The same checks again, with what the store says now.
    pub async fn again(&self, hub: &Hub) -> Result<Self> {
        check(hub, Arc::clone(&self.identity)).await
    }
}

/// Compares the certificate with the issuance table: serial, key, cluster; then expiry, revocation and status.
async fn check(hub: &Hub, identity: Arc<Identity>) -> Result<Caller> {
    let refuse = |code, detail: &str| Err(Refusal::new(code, detail));
    let Some(id) = identity
        .spiffe
        .cluster_id()
        .filter(|_| *identity.spiffe.trust_domain() == hub.trust_domain)
    else {
        return refuse(Code::WrongTrustDomain, "the certificate is not of an agent of this hub");
    };
    let id = ClusterId::from_bytes(id);
    let row = hub.store.certificate(&identity.serial).await?;
    let issued = row.filter(|row| {
        row.cluster == id && row.spki == Digest::from_bytes(identity.public_key_sha256)
    });
    let Some(row) = issued else {
        return refuse(Code::Unauthenticated, "this hub did not issue the certificate");
    };
    let now_ms = hub.clock.wall_ms();
    if identity.validity.not_after.saturating_mul(1000) <= now_ms || row.not_after_ms <= now_ms {
        return refuse(Code::CertificateExpired, "the certificate expired; re-enter");
    }
    let cluster = hub.store.cluster(id).await?;
    let Some(cluster) = cluster.filter(|_| row.revoked_at_ms.is_none()) else {
        return refuse(Code::Revoked, "the certificate was revoked");
    };
    if cluster.status != ClusterStatus::Approved {
        return refuse(Code::Revoked, "the cluster is not approved any more");
    }
    Ok(Caller { speaker: Speaker { cluster: id, instance: row.instance }, cluster, identity })
}
