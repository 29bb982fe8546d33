//! Another epoch, at the hub's word or over a spool that a newer version left: an empty chain that begins with the policy
//! set and a snapshot.

use provost_model::record::{ModeEvent, SnapshotReason};

use super::outbox::Position;
use super::recorder::Recorder;
use crate::spool::newer::{self, Newer};

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

    /// What it holds is in no epoch from now on; a snapshot follows as after every start.
    pub(super) fn declare_newer(&mut self, newer: &Newer) {
        let Newer { version, path, epoch } = newer;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        tracing::error!(version, path = %path.display(), epoch,
            "the spool of a newer version is set aside; another epoch begins");
        let detail = format!(
            "epoch {epoch} begins; the spool was written in format {version} and is set aside as {name}; what was not \
             acknowledged is in it alone"
        );
        self.mode(ModeEvent::Degraded, "spool", &detail);
    }

    /// A spool of a newer version that nobody has taken away yet.
    pub(super) fn newer_kept(&self) -> Option<String> {
        let kept = newer::kept(&self.spool_folder);
        let first = kept.first()?;
        Some(format!(
            "the spool of a newer version is set aside; look at it with that version, then: rm -r '{}'",
            first.display()
        ))
    }
}
