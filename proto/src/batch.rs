//! Batches: a run of the chain, compressed inside what is signed.
//!
//! A decompressor is never let produce more than the declared size, and the declared size is
//! checked first. Records stay bytes: [`crate::record::decode`] reads them one by one.

use bytes::Bytes;
use prost::Message as _;
use provost_model::limits::{
    MAX_BATCH_BODY_BYTES, MAX_BATCH_RECORDS, MAX_MESSAGE_ON_WIRE_BYTES, MAX_SET_RECORD_BYTES,
};
use provost_model::record::Elision;
use provost_model::{ClusterId, Digest, InstanceId};
use provost_trust::chain;

use crate::fields::{decode as decode_message, digest, digest_bytes, id, required, within};
use crate::{Error, elision, v1};

const ZSTD_LEVEL: i32 = 3;

/// The payload of a Batch envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub epoch: u64,
    /// Chain value before `first_seq` and after `last_seq`.
    pub prev_head: Digest,
    pub head: Digest,
    pub first_seq: u64,
    pub last_seq: u64,
    /// Never empty, at most [`MAX_BATCH_RECORDS`].
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record as it was encoded, once.
    Record(Bytes),
    Elision(Elision),
}

/// The payload to sign.
pub fn encode(batch: &Batch) -> Result<Vec<u8>, Error> {
    check_size(batch)?;
    let items = batch.items.iter().map(item_to_wire).collect();
    let plain = v1::BatchBody { items }.encode_to_vec();
    within("batch.body", plain.len(), MAX_BATCH_BODY_BYTES)?;
    let compressed = zstd::bulk::compress(&plain, ZSTD_LEVEL)
        .map_err(|error| Error::bad("batch.body", error))?;
    let (compression, body) = if compressed.len() < plain.len() {
        (v1::Compression::Zstd, &compressed)
    } else {
        (v1::Compression::None, &plain)
    };
    let payload = v1::BatchPayload {
        cluster_id: Bytes::copy_from_slice(batch.cluster.as_bytes()),
        instance_id: Bytes::copy_from_slice(batch.instance.as_bytes()),
        epoch: batch.epoch,
        prev_head: digest_bytes(&batch.prev_head),
        head: digest_bytes(&batch.head),
        first_seq: batch.first_seq,
        last_seq: batch.last_seq,
        compression: compression.into(),
        body_size: u32::try_from(plain.len()).unwrap_or(u32::MAX),
        body: Bytes::copy_from_slice(body),
    };
    Ok(payload.encode_to_vec())
}

pub fn decode(bytes: &[u8]) -> Result<Batch, Error> {
    within("batch", bytes.len(), MAX_MESSAGE_ON_WIRE_BYTES)?;
    let wire: v1::BatchPayload = decode_message("batch payload", bytes)?;
    let body: v1::BatchBody = decode_message("batch body", &body_of(&wire)?)?;
    within("batch.items", body.items.len(), MAX_BATCH_RECORDS)?;
    let batch = Batch {
        cluster: id("batch.cluster_id", &wire.cluster_id)?,
        instance: id("batch.instance_id", &wire.instance_id)?,
        epoch: wire.epoch,
        prev_head: digest("batch.prev_head", &wire.prev_head)?,
        head: digest("batch.head", &wire.head)?,
        first_seq: wire.first_seq,
        last_seq: wire.last_seq,
        items: body.items.into_iter().map(item_from_wire).collect::<Result<_, _>>()?,
    };
    check_size(&batch)?;
    Ok(batch)
}

impl Batch {
    /// Whether the items lead from `prev_head` to `head`: records hash into the chain, an elision
    /// carries it over.
    #[must_use]
    pub fn chain_holds(&self) -> bool {
        let mut head = self.prev_head;
        for item in &self.items {
            match item {
                Item::Record(bytes) => head = chain::next(&head, &chain::leaf(bytes)),
                Item::Elision(elision) if elision.chain_before == head => {
                    head = elision.chain_after;
                }
                Item::Elision(_) => return false,
            }
        }
        head == self.head
    }
}

fn check_size(batch: &Batch) -> Result<(), Error> {
    within("batch.items", batch.items.len(), MAX_BATCH_RECORDS)?;
    if batch.items.is_empty() {
        return Err(Error::Missing { field: "batch.items" });
    }
    if batch.first_seq == 0 || batch.first_seq > batch.last_seq {
        return Err(Error::bad("batch", "its range is empty or starts before 1"));
    }
    // Counted without adding, so that no range overflows.
    let mut next = batch.first_seq;
    let mut complete = false;
    for item in &batch.items {
        let last = match item {
            Item::Record(_) => next,
            Item::Elision(elision) if elision.from_seq == next => elision.to_seq,
            Item::Elision(_) => return Err(Error::bad("batch", "an elision is out of place")),
        };
        if complete || last > batch.last_seq {
            return Err(Error::bad("batch", "more items than its range has"));
        }
        complete = last == batch.last_seq;
        next = last.saturating_add(1);
    }
    if complete { Ok(()) } else { Err(Error::bad("batch", "fewer items than its range has")) }
}

fn body_of(wire: &v1::BatchPayload) -> Result<Bytes, Error> {
    let declared = usize::try_from(wire.body_size).unwrap_or(usize::MAX);
    within("batch.body_size", declared, MAX_BATCH_BODY_BYTES)?;
    let body = match v1::Compression::try_from(wire.compression) {
        Ok(v1::Compression::None) => wire.body.clone(),
        Ok(v1::Compression::Zstd) => zstd::bulk::decompress(&wire.body, declared)
            .map_err(|error| Error::bad("batch.body", error))?
            .into(),
        Ok(v1::Compression::Unspecified) => {
            return Err(Error::Missing { field: "batch.compression" });
        }
        Err(_) => {
            let value = wire.compression;
            return Err(Error::Unknown { field: "batch.compression", value });
        }
    };
    if body.len() != declared {
        return Err(Error::bad("batch.body", "its size is not the declared one"));
    }
    Ok(body)
}

fn item_to_wire(item: &Item) -> v1::BatchItem {
    use v1::batch_item::Item as Wire;
    let item = match item {
        Item::Record(bytes) => Wire::Record(bytes.clone()),
        Item::Elision(elision) => Wire::Elision(elision::to_wire(elision)),
    };
    v1::BatchItem { item: Some(item) }
}

fn item_from_wire(wire: v1::BatchItem) -> Result<Item, Error> {
    use v1::batch_item::Item as Wire;
    Ok(match required("batch.item", wire.item)? {
        Wire::Record(bytes) => {
            // Which kind it is, and whether it may be that large, is seen when it is decoded.
            within("record", bytes.len(), MAX_SET_RECORD_BYTES)?;
            Item::Record(bytes)
        }
        Wire::Elision(wire) => Item::Elision(elision::from_wire(wire)?),
    })
}
