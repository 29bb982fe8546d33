//! The two ends of the recorder as the uplink and the bundles see them.
//!
//! Traits, so that the protocol can be tested against a chain in memory, and against one that
//! answers wrongly.

use async_trait::async_trait;
use provost_model::Digest;
use provost_model::record::{BundleRecord, ClockQuality, ModeRecord, SnapshotReason, TrustRecord};
use tokio::sync::watch;

use super::{AckError, Outbox, Position, Reporter, SealedBatch};

/// What is to be sent. See [`Outbox`], whose methods these are.
#[async_trait]
pub trait Chain: Send + Sync {
    fn position(&self) -> watch::Receiver<Position>;
    fn wake(&self) -> watch::Receiver<u64>;
    async fn batch_from(&self, seq: u64) -> Option<SealedBatch>;
    async fn ack(&self, seq: u64, head: Digest) -> Result<(), AckError>;
    async fn new_epoch(&self) -> Option<Position>;
}

/// What happened. See [`Reporter`], whose methods these are.
#[async_trait]
pub trait Journal: Send + Sync {
    async fn bundle(&self, event: BundleRecord);
    async fn trust(&self, event: TrustRecord);
    async fn mode(&self, event: ModeRecord);
    async fn clock(&self, offset_ms: i64, quality: ClockQuality);
    async fn request_snapshot(&self, reason: SnapshotReason);
}

#[async_trait]
impl Chain for Outbox {
    fn position(&self) -> watch::Receiver<Position> {
        self.position()
    }

    fn wake(&self) -> watch::Receiver<u64> {
        self.wake()
    }

    async fn batch_from(&self, seq: u64) -> Option<SealedBatch> {
        self.batch_from(seq).await
    }

    async fn ack(&self, seq: u64, head: Digest) -> Result<(), AckError> {
        self.ack(seq, head).await
    }

    async fn new_epoch(&self) -> Option<Position> {
        self.new_epoch().await
    }
}

#[async_trait]
impl Journal for Reporter {
    async fn bundle(&self, event: BundleRecord) {
        self.bundle(event).await;
    }

    async fn trust(&self, event: TrustRecord) {
        self.trust(event).await;
    }

    async fn mode(&self, event: ModeRecord) {
        self.mode(event).await;
    }

    async fn clock(&self, offset_ms: i64, quality: ClockQuality) {
        self.clock(offset_ms, quality).await;
    }

    async fn request_snapshot(&self, reason: SnapshotReason) {
        self.request_snapshot(reason).await;
    }
}
