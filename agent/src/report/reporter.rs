//! The receiving end: what happened, from whoever saw it.

use provost_model::record::{
    AdmissionRecord, BundleRecord, ClockQuality, ModeRecord, SnapshotReason, TrustRecord,
};
use provost_runtime::metrics::Registry;
use provost_runtime::telemetry::trace::Span;
use tokio::sync::{mpsc, watch};

use super::append::Admitted;
use super::recorder::Control;
use crate::metrics::watch_queue;

/// An admission event found no room. The recorder counts what was lost and declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for the admission event")]
pub struct AdmissionLost;

/// Cheap to clone. The async methods wait for room in a bounded queue, never for the hub. After the
/// recorder has ended they do nothing: the process is about to end.
#[derive(Clone)]
pub struct Reporter {
    control: mpsc::Sender<Control>,
    admissions: mpsc::Sender<Admitted>,
    lost: watch::Sender<u64>,
}

impl Reporter {
    pub(super) const fn new(
        control: mpsc::Sender<Control>,
        admissions: mpsc::Sender<Admitted>,
        lost: watch::Sender<u64>,
    ) -> Self {
        Self { control, admissions, lost }
    }

    /// Shows how full the queues are.
    pub fn watch_queues(&self, registry: &Registry) {
        watch_queue(registry, "control", &self.control);
        watch_queue(registry, "admission", &self.admissions);
    }

    /// To be called before a new compiled set goes into force, so that the set stands in the chain
    /// before the verdicts that name it.
    pub async fn bundle(&self, event: BundleRecord) {
        self.tell(Control::Bundle(event)).await;
    }

    pub async fn trust(&self, event: TrustRecord) {
        self.tell(Control::Trust(event)).await;
    }

    pub async fn mode(&self, event: ModeRecord) {
        self.tell(Control::Mode(event)).await;
    }

    /// A measured clock offset: it corrects the wall time of later records, and a step is recorded.
    pub async fn clock(&self, offset_ms: i64, quality: ClockQuality) {
        self.tell(Control::Clock(offset_ms, quality)).await;
    }

    pub async fn request_snapshot(&self, reason: SnapshotReason) {
        self.tell(Control::Snapshot(reason)).await;
    }

    /// Never waits: admission does not stop for the spool. `span` is of the review.
    pub fn admission(&self, record: AdmissionRecord, span: &Span) -> Result<(), AdmissionLost> {
        let admitted = Admitted { record, trace_parent: span.trace_parent() };
        self.admissions.try_send(admitted).map_err(|_| self.admission_lost())
    }

    /// One that is not recorded, for the recorder to count and declare.
    pub fn admission_lost(&self) -> AdmissionLost {
        self.lost.send_modify(|lost| *lost += 1);
        AdmissionLost
    }

    async fn tell(&self, control: Control) {
        if self.control.send(control).await.is_err() {
            tracing::debug!("an event came after the recorder had ended");
        }
    }
}
