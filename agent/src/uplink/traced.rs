//! The traces that a batch is part of: its own, which the hub goes on with, and those of the records in it.
//!
//! A batch whose records are not traced is not traced, and costs nothing.

use provost_runtime::telemetry::trace::{self, Kind, Moment, Span};

use crate::report::{Item, MAX_TRACED, SealedBatch};

/// Ends when the batch is on its way.
pub(super) struct Traced {
    batch: Span,
    _records: Vec<Span>,
}

impl Traced {
    pub(super) fn of(sealed: &SealedBatch) -> Self {
        let parents = if trace::is_enabled() { parents(sealed) } else { Vec::new() };
        if parents.is_empty() {
            return Self { batch: Span::none(), _records: Vec::new() };
        }
        let now = Moment::now();
        let batch = trace::span("batch").kind(Kind::Producer).since(now).linked(&parents);
        batch.set("provost.epoch", sealed.epoch);
        batch.set("provost.first_seq", sealed.first_seq);
        batch.set("provost.last_seq", sealed.last_seq);
        let own = batch.trace_parent();
        let record = |parent: &String| {
            let span = trace::span("send").kind(Kind::Producer).since(now).follow(parent);
            span.link(&own);
            span
        };
        let records = parents.iter().map(record).collect();
        Self { batch, _records: records }
    }

    /// Travels beside the batch.
    pub(super) fn trace_parent(&self) -> String {
        self.batch.trace_parent()
    }
}

fn parents(sealed: &SealedBatch) -> Vec<String> {
    let parent = |item: &Item| match item {
        Item::Record(bytes) => provost_proto::record::trace_parent(bytes),
        Item::Elision(_) => None,
    };
    sealed.items.iter().filter_map(parent).take(MAX_TRACED).collect()
}
