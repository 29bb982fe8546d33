//! DSSE envelopes: a payload, its type, and signatures over both.
//!
//! What is signed is the pre-authentication encoding of type and payload, so that no signature
//! can be moved to an object of another type. The payload's bytes are kept as they came and are
//! never written anew; the digest of a signed object is that of its payload. A key id only tells
//! which key to try: what counts is the key, and each key counts once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provost_model::Digest;
use provost_model::limits::{MAX_SIGNATURES, MAX_SIGNED_PAYLOAD_BYTES};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::key::{KeyId, KeyPair, PublicKey};
use crate::strict;
use crate::verified::Verified;

/// One type for each signed object and major version.
pub mod payload_type {
    pub const ROOT: &str = "application/vnd.provost.root.v1+json";
    pub const POLICY_MANIFEST: &str = "application/vnd.provost.policy-manifest.v1+json";
    pub const EXEMPTIONS: &str = "application/vnd.provost.exemptions.v1+json";
    pub const ASSIGNMENT: &str = "application/vnd.provost.assignment.v1+json";
    pub const GRANT: &str = "application/vnd.provost.cluster-grant.v1+json";
    pub const BATCH: &str = "application/vnd.provost.batch.v1+protobuf";
    pub const HEARTBEAT: &str = "application/vnd.provost.heartbeat.v1+protobuf";
    pub const ENROL: &str = "application/vnd.provost.enrol.v1+protobuf";
    pub const REENTER: &str = "application/vnd.provost.reenter.v1+protobuf";

    /// All that this version understands, as Hello lists them.
    pub const ALL: [&str; 9] =
        [ROOT, POLICY_MANIFEST, EXEMPTIONS, ASSIGNMENT, GRANT, BATCH, HEARTBEAT, ENROL, REENTER];

    /// The object's name in messages for people.
    pub(crate) fn noun(payload_type: &str) -> &'static str {
        match payload_type {
            ROOT => "root",
            POLICY_MANIFEST => "policy manifest",
            EXEMPTIONS => "exemption set",
            ASSIGNMENT => "assignment",
            GRANT => "cluster grant",
            BATCH => "batch",
            HEARTBEAT => "heartbeat",
            ENROL => "enrolment",
            REENTER => "re-entry",
            _ => "envelope",
        }
    }
}

/// As it came; nothing about it is known before [`Envelope::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub payload_type: String,
    pub payload: Vec<u8>,
    pub signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub key_id: KeyId,
    pub signature: Vec<u8>,
}

impl Envelope {
    /// Without a signature yet.
    #[must_use]
    pub fn unsigned(payload_type: &str, payload: Vec<u8>) -> Self {
        Self { payload_type: payload_type.to_owned(), payload, signatures: Vec::new() }
    }

    #[must_use]
    pub fn sign(payload_type: &str, payload: Vec<u8>, keys: &[&KeyPair]) -> Self {
        let mut envelope = Self::unsigned(payload_type, payload);
        for key in keys {
            envelope.add_signature(key);
        }
        envelope
    }

    /// Adds the key's signature, in place of one that it made before.
    pub fn add_signature(&mut self, key: &KeyPair) {
        let signature = key.sign(&self.signed_bytes());
        let key_id = key.id();
        self.signatures.retain(|signature| signature.key_id != key_id);
        self.signatures.push(Signature { key_id, signature });
    }

    /// SHA-256 of the payload: the name of the signed object.
    #[must_use]
    pub fn payload_digest(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// Checks size, signatures and type, in this order. `keys` are those of the role that is asked
    /// for; the same key twice among them, or among the signatures, counts once.
    pub fn verify(
        &self,
        expected_type: &'static str,
        keys: &[PublicKey],
        threshold: u32,
    ) -> Result<Verified<&[u8]>, Error> {
        let what = payload_type::noun(expected_type);
        self.check_limits(what)?;
        if self.signatures.is_empty() {
            return Err(Error::Unsigned { what });
        }
        let signers = self.signers(what, keys, threshold)?;
        if self.payload_type != expected_type {
            let found = self.payload_type.chars().take(120).collect();
            return Err(Error::WrongType { expected: expected_type, found });
        }
        Ok(Verified::new(&self.payload[..], self.payload_digest(), signers))
    }

    /// The distinct keys among `keys` that signed, if they are at least `threshold`. A threshold of
    /// none is never met.
    fn signers(
        &self,
        what: &'static str,
        keys: &[PublicKey],
        threshold: u32,
    ) -> Result<Vec<KeyId>, Error> {
        let message = self.signed_bytes();
        let mut signers = Vec::new();
        let mut bad = None;
        for signature in &self.signatures {
            let Some(key) = keys.iter().find(|key| key.id() == signature.key_id) else { continue };
            if !key.verifies(&message, &signature.signature) {
                bad.get_or_insert(signature.key_id);
            } else if !signers.contains(&signature.key_id) {
                signers.push(signature.key_id);
            }
        }
        let valid = u32::try_from(signers.len()).unwrap_or(u32::MAX);
        if threshold > 0 && valid >= threshold {
            return Ok(signers);
        }
        match bad {
            Some(key_id) => Err(Error::BadSignature { what, key_id }),
            None => Err(Error::ThresholdNotMet { what, needed: threshold, valid }),
        }
    }

    fn check_limits(&self, what: &'static str) -> Result<(), Error> {
        check_size(what, self.payload.len(), MAX_SIGNED_PAYLOAD_BYTES)?;
        check_signature_count(self.signatures.len())
    }

    /// DSSE's pre-authentication encoding.
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("DSSEv1 {} {} ", self.payload_type.len(), self.payload_type);
        bytes.push_str(&self.payload.len().to_string());
        bytes.push(' ');
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// DSSE JSON, one line, as it stands in files.
    #[must_use]
    pub fn to_json(&self) -> String {
        let wire = Wire {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: self
                .signatures
                .iter()
                .map(|s| WireSignature {
                    key_id: s.key_id,
                    signature: STANDARD.encode(&s.signature),
                })
                .collect(),
        };
        // Strings and lists alone: there is nothing here that JSON could not hold.
        let mut text = serde_json::to_string(&wire).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads DSSE JSON: size first, no unknown field, none twice, canonical base64.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "envelope";
        check_size(WHAT, bytes.len(), MAX_ENVELOPE_JSON_BYTES)?;
        let wire: Wire = strict::from_json(WHAT, bytes)?;
        check_signature_count(wire.signatures.len())?;
        let decode = |text: &str| {
            STANDARD.decode(text).map_err(|error| Error::Malformed {
                what: WHAT,
                reason: format!("not base64: {error}"),
            })
        };
        let signatures = wire
            .signatures
            .iter()
            .map(|s| Ok(Signature { key_id: s.key_id, signature: decode(&s.signature)? }));
        Ok(Self {
            payload: decode(&wire.payload)?,
            signatures: signatures.collect::<Result<_, Error>>()?,
            payload_type: wire.payload_type,
        })
    }
}

/// Base64 takes 4 bytes for 3; a signature with its key id takes less than 256; the rest is names.
pub const MAX_ENVELOPE_JSON_BYTES: usize =
    MAX_SIGNED_PAYLOAD_BYTES.div_ceil(3) * 4 + MAX_SIGNATURES * 256 + 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    #[serde(rename = "keyid")]
    key_id: KeyId,
    #[serde(rename = "sig")]
    signature: String,
}

fn check_size(what: &'static str, size: usize, limit: usize) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge { what, size: size as u64, limit: limit as u64 });
    }
    Ok(())
}

fn check_signature_count(count: usize) -> Result<(), Error> {
    if count > MAX_SIGNATURES {
        return Err(Error::TooManySignatures { count, limit: MAX_SIGNATURES });
    }
    Ok(())
}
