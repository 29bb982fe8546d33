//! What goes into the spool: admission events in group commits, and every append with its count and trace.

use provost_model::record::{AdmissionRecord, Class, ModeEvent, Record, RecordBody, RecordHeader};
use provost_runtime::telemetry::trace::{self, Moment};

use super::recorder::Recorder;
use super::records::split;
use crate::spool::thread::Refused;
use crate::spool::{self, Room};

/// Records that wait for one append.
const SEAL_RECORDS: usize = provost_model::limits::MAX_BATCH_RECORDS;
/// Spans of one append or batch; what is traced beyond it is recorded all the same.
pub const MAX_TRACED: usize = 32;

/// An admission event and the trace that it belongs to.
pub(super) struct Admitted {
    pub record: AdmissionRecord,
    /// Empty where there is none.
    pub trace_parent: String,
}

impl Recorder {
    /// One group commit for all that wait.
    pub(super) async fn admitted(&mut self, first: Admitted) {
        self.admission_event(first);
        while self.pending.len() < SEAL_RECORDS
            && let Ok(next) = self.admissions.try_recv()
        {
            self.admission_event(next);
        }
        self.seal().await;
    }

    fn admission_event(&mut self, Admitted { record, trace_parent }: Admitted) {
        let header = RecordHeader { trace_parent, ..self.header(Class::P1) };
        for record in split(Record { header, body: RecordBody::Admission(record) }) {
            self.pending.event(record);
        }
        self.stirred();
    }

    /// True: there was something to declare.
    pub(super) fn declare_lost(&mut self) -> bool {
        let lost = *self.admissions_lost.borrow_and_update();
        if lost <= self.admissions_declared {
            return false;
        }
        let detail = format!("{} events lost", lost - self.admissions_declared);
        self.mode(ModeEvent::Degraded, "admission-events", &detail);
        self.admissions_declared = lost;
        true
    }

    /// Durable on return.
    pub(super) async fn append(&mut self, records: Vec<Record>, room: Room) -> Result<(), Refused> {
        let traced = Traced::of(&records);
        self.metrics.recorded(&records);
        let Err(refused) = self.spool.append(records, room).await else {
            self.wake.send_modify(|count| *count += 1);
            traced.ended();
            return Ok(());
        };
        if !matches!(refused.error, spool::Error::NeedsCheckpoint) {
            return Err(refused);
        }
        // The table is a little ahead of the chain then. A kill before the records are sealed would lose a
        // transition; the snapshot after the next start states what it led to.
        self.write_checkpoint().await;
        self.spool.append(refused.records, room).await.map(|_| traced.ended())
    }
}

/// The traces that an append is part of.
struct Traced {
    since: Moment,
    parents: Vec<String>,
}

impl Traced {
    fn of(records: &[Record]) -> Self {
        let parents = records.iter().map(|record| &record.header.trace_parent);
        let parents = parents.filter(|parent| !parent.is_empty()).take(MAX_TRACED);
        Self { since: Moment::now(), parents: parents.cloned().collect() }
    }

    fn ended(self) {
        for parent in &self.parents {
            drop(trace::span("spool").since(self.since).follow(parent));
        }
    }
}
