//! Enrolment, re-entry and renewal: the signed payloads and the hub's answers.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use provost_model::limits::MAX_ENROL_MESSAGE_BYTES;
use provost_model::{ClusterId, Digest, InstanceId};
use provost_trust::{Envelope, PublicKey};
use zeroize::Zeroizing;

use crate::fields::{decode, digest, digest_bytes, fixed, id, non_empty, text, within};
use crate::session::roots_from_wire;
use crate::{Error, envelope, v1};

const MAX_CERTIFICATES: usize = 8;
const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// What an agent enrols with; signed by its identity key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrol {
    pub token_secret: Zeroizing<String>,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    pub identity_key: PublicKey,
    pub report_key: PublicKey,
    pub instance: InstanceId,
    pub facts: Facts,
    pub display_name: String,
    pub wall_ms: i64,
    /// The root that the token pins: a hub without it refuses with WRONG_ROOT.
    pub root: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// uid of kube-system, or the instance id of an agent over a directory.
    pub cluster_uid: String,
    pub version_hash: Vec<u8>,
    pub server_version: String,
}

/// What an agent re-enters with; signed by its identity key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reenter {
    pub identity_key: PublicKey,
    pub csr: Vec<u8>,
    pub report_key: PublicKey,
    pub instance: InstanceId,
    pub join_counter: u64,
    pub wall_ms: i64,
    pub nonce: [u8; 32],
}

/// The hub's answer to both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: Status,
    pub reason: String,
    /// None before the cluster is known.
    pub cluster: Option<ClusterId>,
    pub trust_domain: String,
    /// DER, leaf first; not empty when issued.
    pub certificates: Vec<Vec<u8>>,
    pub grant: Option<Envelope>,
    pub roots: Vec<Envelope>,
    pub join_counter: u64,
    pub retry_after: Option<Duration>,
    pub hub_time_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Issued,
    Pending,
    Rejected,
}

impl Enrol {
    /// The payload to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        v1::EnrolPayload {
            token_secret: self.token_secret.to_string(),
            csr: Bytes::copy_from_slice(&self.csr),
            identity_key: key_bytes(&self.identity_key),
            report_key: key_bytes(&self.report_key),
            instance_id: Bytes::copy_from_slice(self.instance.as_bytes()),
            facts: Some(v1::ClusterFacts {
                cluster_uid: self.facts.cluster_uid.clone(),
                version_hash: Bytes::copy_from_slice(&self.facts.version_hash),
                server_version: self.facts.server_version.clone(),
            }),
            display_name: self.display_name.clone(),
            wall_ms: self.wall_ms,
            root_digest: digest_bytes(&self.root),
        }
        .encode_to_vec()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        within("enrol", bytes.len(), MAX_ENROL_MESSAGE_BYTES)?;
        let wire: v1::EnrolPayload = decode("enrol payload", bytes)?;
        let facts = wire.facts.ok_or(Error::Missing { field: "enrol.facts" })?;
        within("enrol.facts.version_hash", facts.version_hash.len(), 64)?;
        Ok(Self {
            token_secret: Zeroizing::new(non_empty("enrol.token_secret", wire.token_secret)?),
            csr: wire.csr.into(),
            identity_key: key("enrol.identity_key", &wire.identity_key)?,
            report_key: key("enrol.report_key", &wire.report_key)?,
            instance: id("enrol.instance_id", &wire.instance_id)?,
            facts: Facts {
                cluster_uid: non_empty("enrol.facts.cluster_uid", facts.cluster_uid)?,
                version_hash: facts.version_hash.into(),
                server_version: text("enrol.facts.server_version", facts.server_version)?,
            },
            display_name: text("enrol.display_name", wire.display_name)?,
            wall_ms: wire.wall_ms,
            root: digest("enrol.root_digest", &wire.root_digest)?,
        })
    }
}

impl Reenter {
    /// The payload to sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        v1::ReenterPayload {
            identity_key: key_bytes(&self.identity_key),
            csr: Bytes::copy_from_slice(&self.csr),
            report_key: key_bytes(&self.report_key),
            instance_id: Bytes::copy_from_slice(self.instance.as_bytes()),
            join_counter: self.join_counter,
            wall_ms: self.wall_ms,
            nonce: Bytes::copy_from_slice(&self.nonce),
        }
        .encode_to_vec()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        within("reenter", bytes.len(), MAX_ENROL_MESSAGE_BYTES)?;
        let wire: v1::ReenterPayload = decode("reenter payload", bytes)?;
        Ok(Self {
            identity_key: key("reenter.identity_key", &wire.identity_key)?,
            csr: wire.csr.into(),
            report_key: key("reenter.report_key", &wire.report_key)?,
            instance: id("reenter.instance_id", &wire.instance_id)?,
            join_counter: wire.join_counter,
            wall_ms: wire.wall_ms,
            nonce: fixed("reenter.nonce", &wire.nonce)?,
        })
    }
}

impl From<Answer> for v1::EnrolResponse {
    fn from(answer: Answer) -> Self {
        let status = match answer.status {
            Status::Issued => v1::EnrolStatus::Issued,
            Status::Pending => v1::EnrolStatus::Pending,
            Status::Rejected => v1::EnrolStatus::Rejected,
        };
        let cluster = answer.cluster.map(|id| Bytes::copy_from_slice(id.as_bytes()));
        let ms = |after: Duration| u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
        Self {
            status: status.into(),
            reason: answer.reason,
            cluster_id: cluster.unwrap_or_default(),
            trust_domain: answer.trust_domain,
            certificates: answer.certificates.into_iter().map(Into::into).collect(),
            grant: answer.grant.map(envelope::to_wire),
            roots: answer.roots.into_iter().map(envelope::to_wire).collect(),
            join_counter: answer.join_counter,
            retry_after_ms: answer.retry_after.map_or(0, ms),
            hub_time_ms: answer.hub_time_ms,
        }
    }
}

impl TryFrom<v1::EnrolResponse> for Answer {
    type Error = Error;

    fn try_from(wire: v1::EnrolResponse) -> Result<Self, Error> {
        let status = match v1::EnrolStatus::try_from(wire.status) {
            Ok(v1::EnrolStatus::Issued) => Status::Issued,
            Ok(v1::EnrolStatus::Pending) => Status::Pending,
            Ok(v1::EnrolStatus::Rejected) => Status::Rejected,
            Ok(v1::EnrolStatus::Unspecified) => {
                return Err(Error::Missing { field: "enrol_response.status" });
            }
            Err(_) => {
                let value = wire.status;
                return Err(Error::Unknown { field: "enrol_response.status", value });
            }
        };
        let cluster = match wire.cluster_id.is_empty() {
            true => None,
            false => Some(id("enrol_response.cluster_id", &wire.cluster_id)?),
        };
        let certificates = certificates_from_wire(wire.certificates)?;
        if status == Status::Issued && (cluster.is_none() || certificates.is_empty()) {
            return Err(Error::Missing { field: "enrol_response.certificates" });
        }
        let after = Duration::from_millis(wire.retry_after_ms.into());
        Ok(Self {
            status,
            reason: text("enrol_response.reason", wire.reason)?,
            cluster,
            trust_domain: text("enrol_response.trust_domain", wire.trust_domain)?,
            certificates,
            grant: envelope::optional_from_wire(wire.grant)?,
            roots: roots_from_wire(wire.roots)?,
            join_counter: wire.join_counter,
            retry_after: Some(after).filter(|after| !after.is_zero()),
            hub_time_ms: wire.hub_time_ms,
        })
    }
}

/// Certificates of a response, DER, leaf first.
pub fn certificates_from_wire(certificates: Vec<Bytes>) -> Result<Vec<Vec<u8>>, Error> {
    within("certificates", certificates.len(), MAX_CERTIFICATES)?;
    for certificate in &certificates {
        within("certificates", certificate.len(), MAX_CERTIFICATE_BYTES)?;
    }
    Ok(certificates.into_iter().map(Into::into).collect())
}

fn key_bytes(key: &PublicKey) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

fn key(field: &'static str, bytes: &[u8]) -> Result<PublicKey, Error> {
    PublicKey::try_from(bytes).map_err(|error| Error::bad(field, error))
}
