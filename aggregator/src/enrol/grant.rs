//! Grants of clusters: what the director signs of them, and what an operator may put in its place.
//!
//! Invariant: once an operator's grant is held, no other is made by the director, as agents would refuse it.

use provost_model::{ClusterId, Code, Labels};
use provost_proto::enrol::Reenter;
use provost_trust::dsse::payload_type;
use provost_trust::grant::{Grant, GrantedInstance};
use provost_trust::root::Role;
use provost_trust::{Envelope, PublicKey, Timestamp};

use crate::bundles::roots;
use crate::hub::Hub;
use crate::refusal::{Refusal, Result};
use crate::store::identity::Cluster;

/// An operator's grant names the instances and report keys that may speak: nobody else is let in, before anything
/// changes. The director's grant follows who comes.
pub fn check_grant(hub: &Hub, cluster: &Cluster, request: &Reenter) -> Result<()> {
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
pub fn check_replaceable(hub: &Hub, cluster: &Cluster) -> Result<()> {
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

pub fn is_directors(hub: &Hub, grant: &Envelope) -> bool {
    grant.verify(payload_type::GRANT, &[hub.keys.director.public()], 1).is_ok()
}

pub async fn granted_instances(hub: &Hub, cluster: ClusterId) -> Result<Vec<GrantedInstance>> {
    let mut instances = Vec::new();
    for instance in hub.store.instances(cluster).await? {
        let report_key = PublicKey::from_bytes(instance.report_key).map_err(Refusal::internal)?;
        instances.push(GrantedInstance { instance_id: instance.id, report_key });
    }
    instances.sort_by_key(|instance| instance.instance_id);
    Ok(instances)
}

pub async fn director_grant(
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
pub async fn operator_grant(
    hub: &Hub,
    cluster: &Cluster,
    envelope: &Envelope,
) -> Result<(String, u64, Labels)> {
    let grant = Grant::parse(&envelope.payload)?;
    if envelope.payload_type != payload_type::GRANT || envelope.signatures.is_empty() {
        return Err(Refusal::new(Code::WrongType, "the grant is not a signed cluster grant"));
    }
    let Some(root) = roots::newest(hub).await? else {
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
