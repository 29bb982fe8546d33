//! The commit of a batch, as part of the trace of each change that it holds.
//!
//! The agent decides what is traced. Whatever it says, no more than [`MAX_TRACED`] spans come of one batch.

use provost_runtime::telemetry::trace::{self, Kind, Moment, Span};

use super::Speaker;
use crate::store::batch::{Batch, ItemBody};

const MAX_TRACED: usize = 32;

/// Spans of the traced records of `batch`, from `received` until they are dropped. Each names the batch's own span.
pub(super) fn commits(
    batch: &Batch,
    speaker: Speaker,
    received: Moment,
    ingest: &Span,
) -> Vec<Span> {
    if !trace::is_enabled() {
        return Vec::new();
    }
    let own = ingest.trace_parent();
    let traced = batch.items.iter().filter_map(|item| match &item.body {
        ItemBody::Record { record, .. } if !record.header.trace_parent.is_empty() => {
            Some((item.first_seq, &record.header.trace_parent))
        }
        _ => None,
    });
    let span = |(seq, parent): (u64, &String)| {
        let span = trace::span("commit").kind(Kind::Consumer).since(received).follow(parent);
        span.set("provost.cluster", &speaker.cluster.to_string());
        span.set("provost.epoch", batch.epoch);
        span.set("provost.seq", seq);
        span.link(&own);
        span
    };
    traced.take(MAX_TRACED).map(span).collect()
}
