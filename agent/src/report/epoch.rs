//! Another epoch at the hub's word: an empty chain that begins with the policy set and a snapshot.

use provost_model::record::{ModeEvent, SnapshotReason};

use super::outbox::Position;
use super::recorder::Recorder;

impl Recorder {
    pub(super) async fn new_epoch(&mut self) -> Option<Position> {
        self.seal().await;
        let before = self.spool.announced().borrow().extent;
        if let Err(error) = self.spool.new_epoch().await {
            tracing::error!(%error, "no new epoch could begin");
            return None;
        }
        let unacked = before.last.seq - before.acked.seq;
        let detail = format!(
            "epoch {} begins; {unacked} records of epoch {} were not acknowledged",
            before.epoch + 1,
            before.epoch
        );
        self.announced_set = None;
        self.mode(ModeEvent::Started, "epoch", &detail);
        self.announce_set();
        self.seal().await;
        self.write_checkpoint().await;
        self.snapshot_due = Some(SnapshotReason::Requested);
        self.snapshot_if_due().await;
        Some(Position::of(&self.spool.announced().borrow()))
    }
}
