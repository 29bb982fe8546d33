//! Opening a spool. One principle: the head file says how far the chain was announced; whatever of it
//! cannot be found and read back is declared, and nothing that was not announced is claimed.
//!
//! * Sealed generations hold what the manifest says; a damaged one shows when it is read.
//! * Generations that were open, and all of them where the manifest is lost, are scanned.
//! * Records past the head that follow on it are kept: they were durable, only never announced.
//!   What does not follow on is the rest of an append that did not return, and is forgotten. Its generation gets
//!   an end, as one gets in which an append has failed, so that it stays forgotten without the manifest.
//! * A generation that contradicts the head, itself or another is quarantined.

use std::collections::BTreeMap;

use provost_model::record::ElisionReason;

use super::ledger::{Generation, Lane, Ledger, Run};
use super::volume::{Error, Name, Volume};
use super::{Anchor, Tally, frame};

/// What is known apart from the volume: the head file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub epoch: u64,
    pub last: Anchor,
    pub acked: Anchor,
}

pub struct Recovered<V> {
    pub volume: V,
    pub ledger: Ledger,
    pub elisions_made: u64,
}

/// Of the manifest, and of all that stands in generations: a change of frames or packs raises it, too, so that an older
/// version sets the whole aside rather than taking it for damaged.
pub const MANIFEST_VERSION: u32 = 1;
const MANIFEST_NAME: &str = "provost-spool-manifest ";
const SCAN_STEP_BYTES: usize = 1024 * 1024;

#[must_use]
pub fn encode_manifest(ledger: &Ledger) -> Vec<u8> {
    // A ledger is plain data with string keys: it always serialises.
    let json = serde_json::to_vec(ledger).unwrap_or_default();
    let crc = crc32c::crc32c(&json);
    let mut bytes = format!("{MANIFEST_NAME}{MANIFEST_VERSION} {crc:08x}\n").into_bytes();
    bytes.extend(json);
    bytes
}

#[must_use]
pub fn decode_manifest(bytes: &[u8]) -> Option<Ledger> {
    let start = format!("{MANIFEST_NAME}{MANIFEST_VERSION} ");
    let rest = bytes.strip_prefix(start.as_bytes())?;
    let (line, json) = rest.split_at_checked(9)?;
    if line != format!("{:08x}\n", crc32c::crc32c(json)).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// The version that a manifest's first bytes name.
#[must_use]
pub fn manifest_version(bytes: &[u8]) -> Option<u32> {
    let rest = bytes.strip_prefix(MANIFEST_NAME.as_bytes())?;
    let number = rest.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

pub fn recover<V: Volume>(mut volume: V, known: Option<&Known>) -> Result<Recovered<V>, Error> {
    let manifest = volume.load_manifest()?.as_deref().and_then(decode_manifest);
    // A head file of another epoch belongs to a reset that did not finish, or is older than it.
    let (mut ledger, known) = match (manifest, known) {
        (Some(ledger), None) => (ledger, None),
        (Some(ledger), Some(known)) if ledger.epoch > known.epoch => (ledger, None),
        (Some(ledger), Some(known)) if ledger.epoch == known.epoch => (ledger, Some(known)),
        (_, Some(known)) => (lost_manifest(&mut volume, known.epoch)?, Some(known)),
        (None, None) => (lost_manifest(&mut volume, 1)?, None),
    };
    remove_strangers(&mut volume, &ledger)?;
    scan_unsealed(&mut volume, &mut ledger)?;
    let last = announced_end(&ledger, known);
    if known.is_some() && contradicts(&ledger, last) {
        quarantine_all(&mut volume, &mut ledger)?;
    }
    let end = follow(&ledger, last);
    let clipped = ledger.clip_after(end.seq);
    ledger.last = end;
    if let Some(known) = known
        && known.acked.seq >= ledger.floor.seq
    {
        ledger.acked = known.acked;
    }
    let elisions_made = ledger.fill_holes(ElisionReason::Corrupt);
    ledger.advance_floor();
    ledger.emptied();
    for id in clipped {
        if let Some(generation) = ledger.generations.get(&id) {
            volume.save_end(Name { epoch: ledger.epoch, id, lane: generation.lane }, end.seq)?;
        }
    }
    volume.save_manifest(&encode_manifest(&ledger))?;
    remove_strangers(&mut volume, &ledger)?;
    Ok(Recovered { volume, ledger, elisions_made })
}

/// Everything on the volume that is of `epoch`, to be scanned.
fn lost_manifest<V: Volume>(volume: &mut V, epoch: u64) -> Result<Ledger, Error> {
    let names = volume.list()?;
    let next_id = names.iter().map(|name| name.id + 1).max().unwrap_or(0);
    let mut ledger = Ledger::new(epoch, next_id);
    for name in names.iter().filter(|name| name.epoch == epoch) {
        let generation = Generation {
            lane: name.lane,
            sealed: false,
            acked_ms: None,
            bytes: 0,
            runs: Vec::new(),
        };
        ledger.generations.insert(name.id, generation);
    }
    Ok(ledger)
}

/// Stores that the manifest does not know are left from a removal that did not finish.
fn remove_strangers<V: Volume>(volume: &mut V, ledger: &Ledger) -> Result<(), Error> {
    for name in volume.list()? {
        if name.epoch != ledger.epoch || !ledger.generations.contains_key(&name.id) {
            volume.remove(name)?;
        }
    }
    Ok(())
}

fn scan_unsealed<V: Volume>(volume: &mut V, ledger: &mut Ledger) -> Result<(), Error> {
    let open: Vec<(u64, Lane)> = {
        let unsealed = ledger.generations.iter().filter(|(_, g)| !g.sealed);
        unsealed.map(|(&id, g)| (id, g.lane)).collect()
    };
    let mut newest: BTreeMap<Lane, u64> = BTreeMap::new();
    for (id, lane) in open {
        let name = Name { epoch: ledger.epoch, id, lane };
        match scan(volume, name, ledger.floor.seq) {
            Ok(mut generation) => {
                generation.bytes = volume.bytes(name)?;
                ledger.generations.insert(id, generation);
                newest.insert(lane, id);
            }
            Err(Error::Damaged { what, .. }) => {
                tracing::error!(generation = id, what, "spool generation set aside at open");
                ledger.generations.remove(&id);
                volume.quarantine(name)?;
            }
            Err(error) => return Err(error),
        }
    }
    for (&id, generation) in &mut ledger.generations {
        generation.sealed |= newest.get(&generation.lane) != Some(&id);
    }
    Ok(())
}

fn scan<V: Volume>(volume: &mut V, name: Name, floor: u64) -> Result<Generation, Error> {
    let damaged =
        |what: &dyn std::fmt::Display| Error::Damaged { id: name.id, what: what.to_string() };
    let end = volume.load_end(name)?;
    let (sealed, end) = (end.is_some(), end.unwrap_or(u64::MAX));
    let mut generation =
        Generation { lane: name.lane, sealed, acked_ms: None, bytes: 0, runs: Vec::new() };
    // Seqs and keys start at 1.
    let (mut last_key, mut at) = (0, 0);
    loop {
        let packs = volume.read(name, at + 1, SCAN_STEP_BYTES)?;
        let mut new = packs.range(last_key + 1..).take_while(|(key, _)| **key <= end).peekable();
        if new.peek().is_none() {
            return Ok(generation);
        }
        for (&key, pack) in new {
            last_key = key;
            let entries = frame::unpack(pack).map_err(|damage| damaged(&damage))?;
            for entry in entries.into_iter().filter(|entry| entry.seq <= end) {
                if entry.seq <= at || Lane::of(entry.class) != name.lane {
                    return Err(damaged(&"records are out of order"));
                }
                at = entry.seq;
                let broken = |run: &Run| run.to + 1 == entry.seq && run.after != entry.before;
                if generation.runs.last().is_some_and(broken) {
                    return Err(damaged(&"the chain is broken"));
                }
                if entry.seq > floor {
                    let tally = Tally::of_bytes(entry.class, &entry.record);
                    generation.push(&entry, &tally);
                }
            }
        }
    }
}

fn announced_end(ledger: &Ledger, known: Option<&Known>) -> Anchor {
    match known {
        Some(known) if known.last.seq >= ledger.floor.seq => known.last,
        _ => ledger.floor,
    }
}

/// A run that passes the announced end must have its chain value there.
fn contradicts(ledger: &Ledger, last: Anchor) -> bool {
    let runs = ledger.generations.values().flat_map(|g| &g.runs);
    let edge = |run: &Run| {
        (run.to == last.seq && run.after != last.head)
            || (run.from == last.seq + 1 && run.before != last.head)
    };
    runs.into_iter().any(edge)
}

fn quarantine_all<V: Volume>(volume: &mut V, ledger: &mut Ledger) -> Result<(), Error> {
    tracing::error!("the spool contradicts the head file; all of it is set aside");
    for (&id, generation) in &ledger.generations {
        volume.quarantine(Name { epoch: ledger.epoch, id, lane: generation.lane })?;
    }
    ledger.generations.clear();
    Ok(())
}

/// The end of the records that follow on `last` without a hole.
fn follow(ledger: &Ledger, last: Anchor) -> Anchor {
    let held = ledger.generations.values().flat_map(|g| &g.runs);
    let mut runs: Vec<_> = held.chain(ledger.elided.iter().map(|e| &e.run)).collect();
    runs.sort_by_key(|run| run.from);
    let mut at = last;
    for run in runs {
        let follows = run.from <= at.seq + 1 && run.to > at.seq;
        if follows && (run.from <= at.seq || run.before == at.head) {
            at = Anchor { seq: run.to, head: run.after };
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use provost_model::Digest;
    use provost_model::record::Class;

    use super::super::Entry;
    use super::*;

    #[test]
    fn the_manifest_is_golden_and_a_flipped_bit_is_seen() {
        let mut ledger = Ledger::new(2, 0);
        let id = ledger.start_generation(Lane::Data);
        let (before, after) = (Digest::of(b"before"), Digest::of(b"after"));
        let record = bytes::Bytes::new();
        let entry = Entry { seq: 1, class: Class::P1, before, after, record };
        ledger.appended(id, &entry, &Tally::unknown(Class::P1, 1));
        ledger.last = Anchor { seq: 1, head: after };
        let bytes = encode_manifest(&ledger);
        insta::assert_snapshot!(String::from_utf8_lossy(&bytes));
        assert_eq!(decode_manifest(&bytes), Some(ledger));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(decode_manifest(&flipped), None, "at {at}");
        }
    }
}
