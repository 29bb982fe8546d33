//! Enrolment, re-entry, renewal, and what operators decide about clusters.
//!
//! Invariants: a certificate is issued only to an APPROVED cluster; only the public key of a request is used; labels come
//! from the token or the approval and travel as a grant that the director signs; every decision has its audit row.

use std::sync::Arc;
use std::time::Duration;

use provost_model::{ClusterId, Code, Digest, InstanceId, Labels};
use provost_proto::enrol::{Answer, Enrol, Reenter, Status};
use provost_runtime::pki::{RequestedKey, Usage, Validity};
use provost_trust::dsse::payload_type;
use provost_trust::grant::{Grant, GrantedInstance};
use provost_trust::root::Role;
use provost_trust::{Envelope, PublicKey, Timestamp, TrustedRoot};

use crate::hub::Hub;
use crate::refusal::{Refusal, Result};
use crate::store::Actor;
use crate::store::identity::{
    Approval, Cluster, ClusterStatus, Enrolled, IssuedCertificate, NewEnrolment, Reentered, Reentry,
};

/// Certificates of agents live this long; they renew at half of it.
pub const CERTIFICATE_LIFE_S: i64 = 24 * 3600;
/// After a certificate expired, re-entry needs no person for this long.
const REENTRY_WITHIN_MS: i64 = 30 * 86_400 * 1000;
/// A PENDING agent asks again after this.
const PENDING_RETRY: Duration = Duration::from_secs(5);

/// Instances of one cluster that come at the same time each make a grant of their own; every round lets one through.
const GRANT_ATTEMPTS: u32 = 32;

/// An agent's first request; `envelope` is signed by its identity key.
pub async fn enrol(hub: &Arc<Hub>, envelope: &Envelope) -> Result<Answer> {
    let request = Enrol::decode(&envelope.payload)?;
    envelope.verify(payload_type::ENROL, &[request.identity_key], 1)?;
    let key = requested_key(&request.csr)?;
    let known_root =
        hub.store.roots_after(0).await?.iter().any(|root| root.payload_digest == request.root);
    if !known_root {
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

#[derive(Clone, Debug, Default)]
pub struct ApprovalRequest {
    pub display_name: Option<String>,
    /// None: those of the token, or of the last approval.
    pub labels: Option<Labels>,
    /// A grant that an operator signed, in place of one by the director.
    pub grant: Option<Envelope>,
}

/// Lets a cluster in, or gives it other labels. Under an expired root agents take no new labels: neither do we.
pub async fn approve(
    hub: &Arc<Hub>,
    id: ClusterId,
    request: ApprovalRequest,
    actor: &Actor,
) -> Result<Cluster> {
    let unknown = || Refusal::new(Code::NotFound, format!("cluster {id} does not exist"));
    let cluster = hub.store.cluster(id).await?.ok_or_else(unknown)?;
    let ApprovalRequest { display_name, labels, grant } = request;
    let (grant, version, labels) = match grant {
        Some(envelope) => operator_grant(hub, &cluster, &envelope).await?,
        None => {
            check_replaceable(hub, &cluster)?;
            let relabels = labels.as_ref().is_some_and(|labels| *labels != cluster.labels);
            if relabels
                && cluster.status == ClusterStatus::Approved
                && let Some(root) = newest_root(hub).await?
            {
                root.check_expiry(Timestamp::from_unix_ms(hub.clock.wall_ms()))?;
            }
            director_grant(hub, &cluster, labels.unwrap_or_else(|| cluster.labels.clone())).await?
        }
    };
    let approval = Approval { cluster: id, display_name, labels, grant, grant_version: version };
    let cluster = hub.store.approve(&approval, actor, hub.clock.wall_ms()).await?;
    hub.published.send_modify(|generation| *generation += 1);
    Ok(cluster)
}

/// Turns a PENDING cluster down, or throws an enrolled one out: its sessions end within 5 s.
pub async fn dismiss(
    hub: &Arc<Hub>,
    id: ClusterId,
    reason: &str,
    actor: &Actor,
) -> Result<Cluster> {
    let cluster = hub.store.dismiss(id, reason, actor, hub.clock.wall_ms()).await?;
    hub.sessions.end_cluster(id);
    Ok(cluster)
}

/// Ends an instance's quarantine. It goes on in a new epoch.
pub async fn release(
    hub: &Arc<Hub>,
    id: ClusterId,
    instance: InstanceId,
    actor: &Actor,
) -> Result<()> {
    hub.store.release(id, instance, actor, hub.clock.wall_ms()).await?;
    hub.sessions.end_cluster(id);
    Ok(())
}

/// Envelopes of roots that are known here and newer than `version`.
pub async fn roots_after(hub: &Hub, version: u64) -> Result<Vec<Envelope>> {
    let rows = hub.store.roots_after(version).await?;
    rows.iter().map(|row| Ok(Envelope::from_json(row.envelope.as_bytes())?)).collect()
}

/// None before the first one came.
async fn newest_root(hub: &Hub) -> Result<Option<TrustedRoot>> {
    let roots = roots_after(hub, 0).await?;
    let Some((first, rest)) = roots.split_first() else { return Ok(None) };
    Ok(Some(TrustedRoot::from_operator(first)?.follow(rest)?))
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
                roots: roots_after(hub, 0).await?,
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

/// An operator's grant names the instances and report keys that may speak: nobody else is let in, before anything
/// changes. The director's grant follows who comes.
fn check_grant(hub: &Hub, cluster: &Cluster, request: &Reenter) -> Result<()> {
    let Some(json) = &cluster.grant else { return Ok(()) };
    let envelope = Envelope::from_json(json.as_bytes())?;
    let granted = Grant::parse(&envelope.payload)?.report_key(request.instance);
    if is_directors(hub, &envelope) || granted == Some(request.report_key) {
        return Ok(());
    }
    let detail = format!(
        "an operator granted other instances or report keys; run `provost fleet approve {} --sign-with KEY`",
        cluster.id
    );
    Err(Refusal::new(Code::NeedsApproval, detail))
}

/// Agents hold on to an operator's grant: one by the director in its place would be refused, and every bundle with it.
fn check_replaceable(hub: &Hub, cluster: &Cluster) -> Result<()> {
    let Some(json) = &cluster.grant else { return Ok(()) };
    if is_directors(hub, &Envelope::from_json(json.as_bytes())?) {
        return Ok(());
    }
    let detail = format!(
        "an operator signed this cluster's grant, and only an operator can replace it: \
         use `provost fleet approve {} --sign-with KEY`",
        cluster.id
    );
    Err(Refusal::new(Code::Conflict, detail))
}

fn is_directors(hub: &Hub, grant: &Envelope) -> bool {
    grant.verify(payload_type::GRANT, &[hub.keys.director.public()], 1).is_ok()
}

/// Brings the director's grant up to the instances that exist now. Others may do so at the same time: whoever comes
/// second looks again.
async fn grant_instances(hub: &Arc<Hub>, mut cluster: Cluster) -> Result<Cluster> {
    let mut attempts = GRANT_ATTEMPTS;
    loop {
        let approved = cluster.status == ClusterStatus::Approved;
        let Some(json) = cluster.grant.as_ref().filter(|_| approved) else { return Ok(cluster) };
        let envelope = Envelope::from_json(json.as_bytes())?;
        let granted = Grant::parse(&envelope.payload)?.instances;
        if granted == granted_instances(hub, cluster.id).await? || !is_directors(hub, &envelope) {
            return Ok(cluster);
        }
        attempts -= 1;
        match approve(hub, cluster.id, ApprovalRequest::default(), &Actor::hub()).await {
            Err(refusal) if refusal.code == Code::Conflict && attempts > 0 => {
                let unknown =
                    || Refusal::new(Code::NotFound, format!("cluster {} is gone", cluster.id));
                cluster = hub.store.cluster(cluster.id).await?.ok_or_else(unknown)?;
            }
            other => return other,
        }
    }
}

async fn granted_instances(hub: &Hub, cluster: ClusterId) -> Result<Vec<GrantedInstance>> {
    let mut instances = Vec::new();
    for instance in hub.store.instances(cluster).await? {
        let report_key = PublicKey::from_bytes(instance.report_key).map_err(Refusal::internal)?;
        instances.push(GrantedInstance { instance_id: instance.id, report_key });
    }
    instances.sort_by_key(|instance| instance.instance_id);
    Ok(instances)
}

async fn director_grant(
    hub: &Hub,
    cluster: &Cluster,
    labels: Labels,
) -> Result<(String, u64, Labels)> {
    let version = cluster.grant_version + 1;
    let grant = Grant {
        cluster_id: cluster.id,
        trust_domain: hub.trust_domain.to_string(),
        version,
        identity_key: PublicKey::from_bytes(cluster.identity_key).map_err(Refusal::internal)?,
        instances: granted_instances(hub, cluster.id).await?,
        labels: labels.clone(),
        issued: Timestamp::from_unix_ms(hub.clock.wall_ms()),
    };
    let mut envelope = grant.to_unsigned()?;
    envelope.add_signature(&hub.keys.director);
    Ok((envelope.to_json(), version, labels))
}

/// The hub keeps what an operator of its root signed; agents check the same.
async fn operator_grant(
    hub: &Hub,
    cluster: &Cluster,
    envelope: &Envelope,
) -> Result<(String, u64, Labels)> {
    let grant = Grant::parse(&envelope.payload)?;
    if envelope.payload_type != payload_type::GRANT || envelope.signatures.is_empty() {
        return Err(Refusal::new(Code::WrongType, "the grant is not a signed cluster grant"));
    }
    let Some(root) = newest_root(hub).await? else {
        let detail = "the hub knows no root yet, so it cannot tell who signed the grant; publish a bundle first";
        return Err(Refusal::new(Code::WrongRoot, detail));
    };
    root.verify(Role::Operator, payload_type::GRANT, envelope)?;
    root.check_expiry(Timestamp::from_unix_ms(hub.clock.wall_ms()))?;
    if grant.cluster_id != cluster.id || *grant.identity_key.as_bytes() != cluster.identity_key {
        return Err(Refusal::new(
            Code::WrongCluster,
            "the grant names another cluster or identity key",
        ));
    }
    if grant.version <= cluster.grant_version {
        let detail = format!("the grant's version must be over {}", cluster.grant_version);
        return Err(Refusal::new(Code::Older, detail));
    }
    Ok((envelope.to_json(), grant.version, grant.labels))
}
