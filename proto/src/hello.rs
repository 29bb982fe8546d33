//! Hello: what an agent says of itself when a session starts.

use bytes::Bytes;
use provost_model::{Digest, InstanceId};

use crate::fields::{
    MAX_TEXT_BYTES, acked_seq, digest, digest_bytes, fixed, id, optional_digest,
    optional_digest_bytes, text, within,
};
use crate::{Error, v1};

/// Digests of blobs that one Hello lists.
pub const MAX_BLOBS_HELD: usize = 4096;
const MAX_WORDS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub protocol_version: u32,
    pub agent_version: String,
    pub capabilities: Vec<String>,
    pub payload_types: Vec<String>,
    pub instance: InstanceId,
    /// An assignment names it, so that none can be replayed.
    pub nonce: [u8; 32],
    pub root_version: u64,
    pub epoch: u64,
    pub last_seq: u64,
    pub head: Digest,
    /// What the hub acknowledged of this epoch; 0 before the first.
    pub acked_seq: u64,
    /// 0: the spool holds none.
    pub first_held_seq: u64,
    /// Of the active bundle's manifest.
    pub bundle: Option<Digest>,
    pub config: Option<Digest>,
    pub wall_ms: i64,
    pub server_version: String,
    pub node_versions: Vec<String>,
    pub blobs_held: Vec<Digest>,
}

#[must_use]
pub fn to_wire(hello: Hello) -> v1::Hello {
    v1::Hello {
        protocol_version: hello.protocol_version,
        agent_version: hello.agent_version,
        capabilities: hello.capabilities,
        payload_types: hello.payload_types,
        instance_id: Bytes::copy_from_slice(hello.instance.as_bytes()),
        nonce: Bytes::copy_from_slice(&hello.nonce),
        root_version: hello.root_version,
        epoch: hello.epoch,
        last_seq: hello.last_seq,
        head: digest_bytes(&hello.head),
        first_held_seq: hello.first_held_seq,
        bundle_digest: optional_digest_bytes(hello.bundle.as_ref()),
        config_digest: optional_digest_bytes(hello.config.as_ref()),
        wall_ms: hello.wall_ms,
        server_version: hello.server_version,
        node_versions: hello.node_versions,
        blobs_held: hello.blobs_held.iter().map(digest_bytes).collect(),
        acked_seq: hello.acked_seq,
    }
}

pub fn from_wire(wire: v1::Hello) -> Result<Hello, Error> {
    within("hello.blobs_held", wire.blobs_held.len(), MAX_BLOBS_HELD)?;
    if wire.protocol_version != crate::PROTOCOL_VERSION {
        let value = i32::try_from(wire.protocol_version).unwrap_or(i32::MAX);
        return Err(Error::Unknown { field: "hello.protocol_version", value });
    }
    Ok(Hello {
        protocol_version: wire.protocol_version,
        agent_version: text("hello.agent_version", wire.agent_version)?,
        capabilities: words("hello.capabilities", wire.capabilities)?,
        payload_types: words("hello.payload_types", wire.payload_types)?,
        instance: id("hello.instance_id", &wire.instance_id)?,
        nonce: fixed("hello.nonce", &wire.nonce)?,
        root_version: wire.root_version,
        epoch: wire.epoch,
        last_seq: wire.last_seq,
        head: digest("hello.head", &wire.head)?,
        acked_seq: acked_seq("hello.acked_seq", wire.acked_seq, wire.last_seq)?,
        first_held_seq: wire.first_held_seq,
        bundle: optional_digest("hello.bundle_digest", &wire.bundle_digest)?,
        config: optional_digest("hello.config_digest", &wire.config_digest)?,
        wall_ms: wire.wall_ms,
        server_version: text("hello.server_version", wire.server_version)?,
        node_versions: words("hello.node_versions", wire.node_versions)?,
        blobs_held: wire
            .blobs_held
            .iter()
            .map(|bytes| digest("hello.blobs_held", bytes))
            .collect::<Result<_, _>>()?,
    })
}

fn words(field: &'static str, words: Vec<String>) -> Result<Vec<String>, Error> {
    within(field, words.len(), MAX_WORDS)?;
    for word in &words {
        within(field, word.len(), MAX_TEXT_BYTES)?;
    }
    Ok(words)
}
