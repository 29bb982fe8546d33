//! A batch as the store takes it: decoded, its signature and its own chain already checked.

use bytes::Bytes;
use provost_model::record::Elision;
use provost_model::{ClusterId, Code, Digest, InstanceId, PolicySet, Record, RecordBody};
use provost_proto::batch::Item as WireItem;
use provost_proto::{Message as _, v1};
use provost_trust::chain;

#[derive(Clone, Debug)]
pub struct Batch {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub epoch: u64,
    pub prev_head: Digest,
    pub head: Digest,
    pub first_seq: u64,
    pub last_seq: u64,
    /// In seq order, without holes.
    pub items: Vec<Item>,
    /// Encoded provost.v1.Envelope, byte for byte as it came.
    pub envelope: Bytes,
}

#[derive(Clone, Debug)]
pub struct Item {
    pub first_seq: u64,
    pub last_seq: u64,
    /// Chain value after this item.
    pub after: Digest,
    pub body: ItemBody,
}

#[derive(Clone, Debug)]
pub enum ItemBody {
    Record {
        record: Box<Record>,
        /// Of a Bundle record: the set, its digest and its bytes.
        policy_set: Option<EncodedPolicySet>,
    },
    Elision(Elision),
}

#[derive(Clone, Debug)]
pub struct EncodedPolicySet {
    pub digest: Digest,
    pub encoded: Bytes,
    pub set: PolicySet,
}

/// Why bytes are no batch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Wire(#[from] provost_proto::Error),
    #[error("the items do not lead from the batch's first chain value to its last")]
    ChainBroken,
    #[error("the record at {expected} says that it is {found}")]
    WrongSeq { expected: u64, found: u64 },
}

impl Error {
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Wire(error) => error.code(),
            Self::ChainBroken => Code::HeadMismatch,
            Self::WrongSeq { .. } => Code::Invalid,
        }
    }
}

impl Batch {
    /// From a stored envelope.
    pub fn decode(envelope: Bytes) -> Result<Self, Error> {
        let wire = v1::Envelope::decode(envelope.clone())
            .map_err(|source| provost_proto::Error::Decode { what: "envelope", source })?;
        Self::of_payload(&wire.payload, envelope)
    }

    /// From the payload of an envelope; checks that its own chain holds, not who signed it.
    pub fn of_payload(payload: &[u8], envelope: Bytes) -> Result<Self, Error> {
        let batch = provost_proto::batch::decode(payload)?;
        let mut head = batch.prev_head;
        let mut seq = batch.first_seq;
        let mut items = Vec::with_capacity(batch.items.len());
        for item in &batch.items {
            let item = match item {
                WireItem::Record(bytes) => record_item(bytes, seq, &head)?,
                WireItem::Elision(elision) if elision.chain_before != head => {
                    return Err(Error::ChainBroken);
                }
                WireItem::Elision(elision) => Item {
                    first_seq: elision.from_seq,
                    last_seq: elision.to_seq,
                    after: elision.chain_after,
                    body: ItemBody::Elision(elision.clone()),
                },
            };
            head = item.after;
            seq = item.last_seq.saturating_add(1);
            items.push(item);
        }
        if head != batch.head {
            return Err(Error::ChainBroken);
        }
        Ok(Self {
            cluster: batch.cluster,
            instance: batch.instance,
            epoch: batch.epoch,
            prev_head: batch.prev_head,
            head: batch.head,
            first_seq: batch.first_seq,
            last_seq: batch.last_seq,
            items,
            envelope,
        })
    }

    /// Chain value after `seq`, where the batch knows it: not inside an Elision.
    #[must_use]
    pub fn head_at(&self, seq: u64) -> Option<Digest> {
        if seq.checked_add(1) == Some(self.first_seq) {
            return Some(self.prev_head);
        }
        self.items.iter().find(|item| item.last_seq == seq).map(|item| item.after)
    }
}

fn record_item(bytes: &Bytes, seq: u64, head: &Digest) -> Result<Item, Error> {
    let record = provost_proto::record::decode(bytes)?;
    if record.header.seq != seq {
        return Err(Error::WrongSeq { expected: seq, found: record.header.seq });
    }
    let policy_set = match &record.body {
        RecordBody::Bundle(bundle) => {
            let encoded = provost_proto::record::policy_set_bytes(bytes);
            bundle.policy_set.clone().zip(encoded).map(|(set, encoded)| EncodedPolicySet {
                digest: Digest::of(&encoded),
                encoded,
                set,
            })
        }
        _ => None,
    };
    Ok(Item {
        first_seq: seq,
        last_seq: seq,
        after: chain::next(head, &chain::leaf(bytes)),
        body: ItemBody::Record { record: Box::new(record), policy_set },
    })
}
