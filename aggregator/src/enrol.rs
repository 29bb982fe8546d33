//! Enrolment, re-entry and renewal: what agents ask for.
//!
//! Invariants: a certificate is issued only to an APPROVED cluster; only the public key of a request is used; labels come
//! from the token or the approval and travel as a grant.

mod decide;
mod grant;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use provost_model::{ClusterId, Code, Digest, InstanceId};
use provost_proto::enrol::{Answer, Enrol, Reenter, Status};
use provost_runtime::pki::{RequestedKey, Usage, Validity};
use provost_trust::Envelope;
use provost_trust::dsse::payload_type;

use crate::bundles::roots;
use crate::hub::Hub;
use crate::refusal::{Refusal, Result};
use crate::store::Actor;
use crate::store::identity::{
    Cluster, ClusterStatus, Enrolled, IssuedCertificate, NewEnrolment, Reentered, Reentry,
};

pub use decide::{ApprovalRequest, approve, dismiss, release};

use decide::grant_instances;
use grant::check_grant;

/// Certificates of agents live this long; they renew at half of it.
pub const CERTIFICATE_LIFE_S: i64 = 24 * 3600;
/// After a certificate expired, re-entry needs no person for this long.
const REENTRY_WITHIN_MS: i64 = 30 * 86_400 * 1000;
/// A PENDING agent asks again after this.
const PENDING_RETRY: Duration = Duration::from_secs(5);

/// An agent's first request; `envelope` is signed by its identity key.
pub async fn enrol(hub: &Arc<Hub>, envelope: &Envelope) -> Result<Answer> {
    let request = Enrol::decode(&envelope.payload)?;
    envelope.verify(payload_type::ENROL, &[request.identity_key], 1)?;
    let key = requested_key(&request.csr)?;
    // The answer brings these: a token that pins an older one leads nowhere.
    let roots = roots::latest(hub).await?;
    if !roots.iter().any(|root| root.payload_digest() == request.root) {
        let detail = "this hub does not have the root that the token pins; publish a bundle under that root first";
        return Err(Refusal::new(Code::WrongRoot, detail));
    }
    let new = NewEnrolment {
        token: Digest::of(request.token_secret.as_bytes()),
        cluster: ClusterId::from_bytes(rand::random()),
        instance: request.instance,
        identity_key: *request.identity_key.as_bytes(),
        report_key: *request.report_key.as_bytes(),
        display_name: request.display_name.clone(),
        cluster_uid: request.facts.cluster_uid.clone(),
        server_version: request.facts.server_version.clone(),
        version_hash: hex::encode(&request.facts.version_hash),
    };
    let mut cluster = match hub.store.enrol(&new, hub.clock.wall_ms()).await? {
        Enrolled::New(cluster) | Enrolled::Again(cluster) => *cluster,
        Enrolled::TokenUnknown => {
            hub.metrics.unknown_tokens.increment();
            return Err(Refusal::new(
                Code::TokenUnknown,
                "no such token; make one with `provost fleet token create`",
            ));
        }
        Enrolled::TokenUsed => {
            return Err(Refusal::new(
                Code::TokenUsed,
                "the token was used; each is good for one cluster: make another with `provost fleet token create`",
            ));
        }
        Enrolled::TokenExpired { .. } => {
            return Err(Refusal::new(Code::TokenExpired, "the token expired; make another one"));
        }
        Enrolled::KeyInUse => {
            return Err(Refusal::new(
                Code::Conflict,
                "the identity key is enrolled already; re-enter instead",
            ));
        }
    };
    if cluster.status == ClusterStatus::Pending && hub.settings.auto_approve {
        cluster = approve(hub, cluster.id, ApprovalRequest::default(), &Actor::hub()).await?;
    }
    answer(hub, &cluster, request.instance, &key, 1).await
}

/// An enrolled agent comes back: while it waits for approval, after its certificate expired, or as a further instance.
pub async fn reenter(hub: &Arc<Hub>, envelope: &Envelope) -> Result<Answer> {
    let request = Reenter::decode(&envelope.payload)?;
    envelope.verify(payload_type::REENTER, &[request.identity_key], 1)?;
    let key = requested_key(&request.csr)?;
    let unknown = || Refusal::new(Code::NotFound, "no cluster is enrolled with this identity key");
    let cluster = hub
        .store
        .cluster_by_identity(request.identity_key.as_bytes())
        .await?
        .ok_or_else(unknown)?;
    if needs_approval(hub, &cluster).await? {
        let reason = format!(
            "the certificate expired more than 30 days ago; run `provost fleet approve {}`",
            cluster.id
        );
        return Ok(Answer { reason, ..pending(hub, &cluster) });
    }
    check_grant(hub, &cluster, &request)?;
    let reentry = Reentry {
        identity_key: *request.identity_key.as_bytes(),
        instance: request.instance,
        report_key: *request.report_key.as_bytes(),
        join_counter: request.join_counter,
        nonce: Digest::of(&request.nonce),
        admit_new_instance: cluster.status == ClusterStatus::Approved,
    };
    match hub.store.reenter(&reentry, hub.clock.wall_ms()).await? {
        Reentered::Ok { cluster, join_counter } => {
            let cluster = grant_instances(hub, *cluster).await?;
            answer(hub, &cluster, request.instance, &key, join_counter).await
        }
        Reentered::Unknown => Err(unknown()),
        Reentered::Replayed => {
            Err(Refusal::new(Code::Conflict, "this request was used before; draw a new nonce"))
        }
        Reentered::Forked { expected } => {
            tracing::error!(cluster = %cluster.id, instance = %request.instance, expected, "join counter forked");
            let detail =
                "the join counter is not the one given last: two agents hold this identity";
            Err(Refusal::new(Code::CloneSuspected, detail))
        }
    }
}

/// A fresh certificate for an instance that still has a good one. Certificates, leaf first.
pub async fn renew(
    hub: &Arc<Hub>,
    cluster: &Cluster,
    instance: InstanceId,
    csr: &[u8],
) -> Result<Vec<Vec<u8>>> {
    let key = requested_key(csr)?;
    issue(hub, cluster.id, instance, &key, true).await
}

async fn answer(
    hub: &Arc<Hub>,
    cluster: &Cluster,
    instance: InstanceId,
    key: &RequestedKey,
    join_counter: u64,
) -> Result<Answer> {
    match cluster.status {
        ClusterStatus::Pending => Ok(Answer { join_counter, ..pending(hub, cluster) }),
        ClusterStatus::Rejected | ClusterStatus::Revoked => {
            let reason = format!("an operator said no: the cluster is {}", cluster.status.as_str());
            Ok(Answer {
                status: Status::Rejected,
                reason,
                retry_after: None,
                ..pending(hub, cluster)
            })
        }
        ClusterStatus::Approved => {
            let grant = cluster
                .grant
                .as_ref()
                .map(|json| Envelope::from_json(json.as_bytes()))
                .transpose()?;
            Ok(Answer {
                status: Status::Issued,
                reason: String::new(),
                certificates: issue(hub, cluster.id, instance, key, false).await?,
                grant,
                roots: roots::latest(hub).await?,
                join_counter,
                retry_after: None,
                ..pending(hub, cluster)
            })
        }
    }
}

fn pending(hub: &Hub, cluster: &Cluster) -> Answer {
    Answer {
        status: Status::Pending,
        reason: format!("waiting for `provost fleet approve {}`", cluster.id),
        cluster: Some(cluster.id),
        trust_domain: hub.trust_domain.to_string(),
        certificates: Vec::new(),
        grant: None,
        roots: Vec::new(),
        join_counter: 0,
        retry_after: Some(PENDING_RETRY),
        hub_time_ms: hub.clock.wall_ms(),
    }
}

async fn issue(
    hub: &Hub,
    cluster: ClusterId,
    instance: InstanceId,
    key: &RequestedKey,
    renews: bool,
) -> Result<Vec<Vec<u8>>> {
    let usage = Usage::Cluster { trust_domain: hub.trust_domain.clone(), id: *cluster.as_bytes() };
    let now_ms = hub.clock.wall_ms();
    let validity = Validity::from_now(now_ms / 1000, CERTIFICATE_LIFE_S);
    let issued = hub.keys.ca.issue(key, &usage, validity).map_err(Refusal::internal)?;
    let row = IssuedCertificate {
        serial: issued.serial,
        cluster,
        instance,
        spki: Digest::from_bytes(issued.public_key_sha256),
        issued_at_ms: now_ms,
        not_after_ms: issued.validity.not_after * 1000,
        renews,
    };
    hub.store.certificate_issued(&row).await?;
    Ok(vec![issued.certificate.to_vec(), hub.keys.ca.certificate().to_vec()])
}

fn requested_key(csr: &[u8]) -> Result<RequestedKey> {
    RequestedKey::from_csr(csr)
        .map_err(|error| Refusal::new(Code::Invalid, format!("certificate request: {error}")))
}

/// A cluster whose last certificate expired too long ago waits for an approval after that, whichever instance asks:
/// instance ids are the agent's own to draw.
async fn needs_approval(hub: &Hub, cluster: &Cluster) -> Result<bool> {
    if cluster.status != ClusterStatus::Approved {
        return Ok(false);
    }
    let certificates = hub.store.certificates(cluster.id).await?;
    let last = certificates.iter().map(|row| row.not_after_ms).max();
    let Some(deadline_ms) = last.map(|not_after_ms| not_after_ms.saturating_add(REENTRY_WITHIN_MS))
    else {
        return Ok(false);
    };
    let approved_since = cluster.decided_at_ms.is_some_and(|decided| decided > deadline_ms);
    Ok(hub.clock.wall_ms() > deadline_ms && !approved_since)
}
