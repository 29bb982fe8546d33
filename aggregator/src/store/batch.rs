//! A batch as the store takes it: decoded, its signature and its own chain already checked.

use bytes::Bytes;
use provost_model::record::Elision;
use provost_model::{ClusterId, Digest, InstanceId, PolicySet, Record};

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

impl Batch {
    /// Chain value after `seq`, where the batch knows it: not inside an Elision.
    #[must_use]
    pub fn head_at(&self, seq: u64) -> Option<Digest> {
        if seq.checked_add(1) == Some(self.first_seq) {
            return Some(self.prev_head);
        }
        self.items.iter().find(|item| item.last_seq == seq).map(|item| item.after)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not done")]
    Todo,
}
impl Batch {
    pub fn decode(_: Bytes) -> Result<Self, Error> {
        Err(Error::Todo)
    }
}
