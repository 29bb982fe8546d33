//! Elisions: what stands in a batch in place of records that are gone.

use provost_model::record::{Class, Elision, ElisionCount, ElisionReason};
use provost_model::{Outcome, Severity};

use crate::enums::{Word as _, optional_to_wire};
use crate::fields::{digest, digest_bytes, within};
use crate::{Error, v1};

/// All combinations of class, outcome and severity, and none of either.
const MAX_COUNTS: usize = 3 * 7 * 6;

#[must_use]
pub fn to_wire(elision: &Elision) -> v1::Elision {
    v1::Elision {
        from_seq: elision.from_seq,
        to_seq: elision.to_seq,
        chain_before: digest_bytes(&elision.chain_before),
        chain_after: digest_bytes(&elision.chain_after),
        reason: elision.reason.to_wire(),
        counts: elision.counts.iter().map(count_to_wire).collect(),
    }
}

pub fn from_wire(wire: v1::Elision) -> Result<Elision, Error> {
    within("elision.counts", wire.counts.len(), MAX_COUNTS)?;
    if wire.from_seq == 0 || wire.from_seq > wire.to_seq {
        return Err(Error::bad("elision", "its range is empty or starts before 1"));
    }
    Ok(Elision {
        from_seq: wire.from_seq,
        to_seq: wire.to_seq,
        chain_before: digest("elision.chain_before", &wire.chain_before)?,
        chain_after: digest("elision.chain_after", &wire.chain_after)?,
        reason: ElisionReason::required("elision.reason", wire.reason)?,
        counts: wire.counts.into_iter().map(count_from_wire).collect::<Result<_, _>>()?,
    })
}

fn count_to_wire(count: &ElisionCount) -> v1::ElisionCount {
    v1::ElisionCount {
        class: count.class.to_wire(),
        outcome: optional_to_wire(count.outcome),
        severity: optional_to_wire(count.severity),
        count: count.count,
    }
}

fn count_from_wire(wire: v1::ElisionCount) -> Result<ElisionCount, Error> {
    Ok(ElisionCount {
        class: Class::required("elision.counts.class", wire.class)?,
        outcome: Outcome::optional("elision.counts.outcome", wire.outcome)?,
        severity: Severity::optional("elision.counts.severity", wire.severity)?,
        count: wire.count,
    })
}
