//! The receiving end: what happened, from whoever saw it.

use provost_model::record::{
    AdmissionRecord, BundleRecord, ClockQuality, ModeRecord, SnapshotReason, TrustRecord,
};

/// The queue of admission events is full. The recorder counts what was lost and declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of admission events is full")]
pub struct AdmissionLost;

/// Cheap to clone. The async methods wait for room in a bounded queue, never for the hub.
#[derive(Clone)]
pub struct Reporter {}

#[expect(clippy::todo, reason = "lands with the recorder")]
#[expect(clippy::unused_async, reason = "lands with the recorder")]
impl Reporter {
    /// To be called before a new compiled set goes into force, so that the set stands in the chain
    /// before the verdicts that name it.
    pub async fn bundle(&self, event: BundleRecord) {
        todo!("{event:?}")
    }

    pub async fn trust(&self, event: TrustRecord) {
        todo!("{event:?}")
    }

    pub async fn mode(&self, event: ModeRecord) {
        todo!("{event:?}")
    }

    /// A measured clock offset: it corrects the wall time of later records, and a step is recorded.
    pub async fn clock(&self, offset_ms: i64, quality: ClockQuality) {
        todo!("{offset_ms} {quality:?}")
    }

    pub async fn request_snapshot(&self, reason: SnapshotReason) {
        todo!("{reason:?}")
    }

    #[expect(clippy::needless_pass_by_value, reason = "lands with the recorder")]
    /// Never waits: admission does not stop for the spool.
    pub fn admission(&self, record: AdmissionRecord) -> Result<(), AdmissionLost> {
        todo!("{record:?}")
    }
}
