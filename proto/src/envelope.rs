//! DSSE envelopes between the wire and `trust`. Nothing is verified here.

use bytes::Bytes;
use prost::Message as _;
use provost_model::limits::{MAX_SIGNATURES, MAX_SIGNED_PAYLOAD_BYTES};
use provost_trust::{Envelope, Signature};

use crate::fields::{decode as decode_message, required, slug, text, within};
use crate::{Error, v1};

/// Signature schemes that this product knows are shorter.
const MAX_SIGNATURE_BYTES: usize = 512;

#[must_use]
pub fn to_wire(envelope: Envelope) -> v1::Envelope {
    let signature = |signature: Signature| v1::Signature {
        key_id: signature.key_id.to_string(),
        signature: signature.signature.into(),
    };
    v1::Envelope {
        payload_type: envelope.payload_type,
        payload: envelope.payload.into(),
        signatures: envelope.signatures.into_iter().map(signature).collect(),
    }
}

pub fn from_wire(wire: Option<v1::Envelope>) -> Result<Envelope, Error> {
    let wire = required("envelope", wire)?;
    within("envelope.payload", wire.payload.len(), MAX_SIGNED_PAYLOAD_BYTES)?;
    within("envelope.signatures", wire.signatures.len(), MAX_SIGNATURES)?;
    let signature = |wire: v1::Signature| {
        within("envelope.signature", wire.signature.len(), MAX_SIGNATURE_BYTES)?;
        Ok(Signature {
            key_id: slug("envelope.key_id", &wire.key_id)?,
            signature: wire.signature.into(),
        })
    };
    Ok(Envelope {
        payload_type: text("envelope.payload_type", wire.payload_type)?,
        payload: wire.payload.into(),
        signatures: wire.signatures.into_iter().map(signature).collect::<Result<_, Error>>()?,
    })
}

/// The bytes that a Batch or Heartbeat carries.
#[must_use]
pub fn encode(envelope: Envelope) -> Bytes {
    to_wire(envelope).encode_to_vec().into()
}

/// From the bytes that a Batch or Heartbeat carries, which stay as they came: what is stored and exported is them, not
/// an encoding of what was read.
pub fn decode(bytes: &[u8]) -> Result<Envelope, Error> {
    if bytes.is_empty() {
        return Err(Error::Missing { field: "envelope" });
    }
    from_wire(Some(decode_message("envelope", bytes)?))
}

/// As [`from_wire`], where absence is meaningful.
pub fn optional_from_wire(wire: Option<v1::Envelope>) -> Result<Option<Envelope>, Error> {
    wire.map(|wire| from_wire(Some(wire))).transpose()
}
