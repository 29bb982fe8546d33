//! Which generation holds which run of seqs, what is elided, and where the chain stands at each edge.
//!
//! Pure bookkeeping, no I/O. Saved as the manifest, in JSON under a checksum. Invariants:
//!
//! * each seq in `floor.seq + 1 ..= last.seq` lies in exactly one run or one Elision, except
//!   between a loss and [`Ledger::fill_holes`];
//! * runs of one generation are disjoint and sorted; P0 and other records are never in one
//!   generation; the P1 and P2 generations do not overlap;
//! * `floor.seq <= acked.seq <= last.seq`.

use std::collections::BTreeMap;

use provost_model::Digest;
use provost_model::record::{Class, Elision, ElisionReason};
use provost_trust::chain::GENESIS;
use serde::{Deserialize, Serialize};

use super::{Anchor, Entry, Tally};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub epoch: u64,
    pub next_id: u64,
    /// Everything up to here was acknowledged and is gone, or is not served any more.
    pub floor: Anchor,
    pub acked: Anchor,
    pub last: Anchor,
    pub checkpoint: u64,
    pub generations: BTreeMap<u64, Generation>,
    /// Sorted, disjoint.
    pub elided: Vec<Elided>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub lane: Lane,
    /// No more is appended; what it holds is exactly its runs, whatever else its store shows.
    pub sealed: bool,
    /// Unix time at which its last record was known to be acknowledged.
    pub acked_ms: Option<i64>,
    pub bytes: u64,
    pub runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    P0,
    Data,
}

/// Consecutive seqs, with the chain value before the first and after the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub from: u64,
    pub to: u64,
    pub before: Digest,
    pub after: Digest,
    pub tally: Tally,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elided {
    pub run: Run,
    pub reason: ElisionReason,
    /// Chain values inside the run where a batch that was sent has ended, so that a hub that stored
    /// it before the loss can go on from there.
    pub points: Vec<Anchor>,
}

/// Who answers for a seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder<'a> {
    Generation(u64, &'a Run),
    Elided(&'a Elided),
}

impl Lane {
    #[must_use]
    pub const fn of(class: Class) -> Self {
        match class {
            Class::P0 => Self::P0,
            Class::P1 | Class::P2 => Self::Data,
        }
    }
}

impl Run {
    fn between(start: Anchor, next_from: u64, next_before: Digest) -> Self {
        Self {
            from: start.seq + 1,
            to: next_from - 1,
            before: start.head,
            after: next_before,
            tally: Tally::default(),
        }
    }

    const fn len(&self) -> u64 {
        self.to - self.from + 1
    }
}

impl Elided {
    /// From `from` on, where the chain is known just before it; else the whole.
    #[must_use]
    pub fn to_elision(&self, from: u64) -> Elision {
        let known = self.points.iter().find(|point| point.seq + 1 == from);
        let run = &self.run;
        let (from_seq, chain_before, tally) = match known {
            Some(point) => (from, point.head, Tally::unknown(Class::P1, run.to - from + 1)),
            None => (run.from, run.before, run.tally.clone()),
        };
        Elision {
            from_seq,
            to_seq: run.to,
            chain_before,
            chain_after: run.after,
            reason: self.reason,
            counts: tally.to_counts(),
        }
    }
}

impl Generation {
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.to)
    }

    pub fn push(&mut self, entry: &Entry, tally: &Tally) {
        match self.runs.last_mut() {
            Some(run) if run.to + 1 == entry.seq => {
                run.to = entry.seq;
                run.after = entry.after;
                run.tally.merge(tally);
            }
            _ => self.runs.push(Run {
                from: entry.seq,
                to: entry.seq,
                before: entry.before,
                after: entry.after,
                tally: tally.clone(),
            }),
        }
    }
}

impl Ledger {
    #[must_use]
    pub fn new(epoch: u64, next_id: u64) -> Self {
        let start = Anchor { seq: 0, head: GENESIS };
        Self {
            epoch,
            next_id,
            floor: start,
            acked: start,
            last: start,
            checkpoint: 0,
            generations: BTreeMap::new(),
            elided: Vec::new(),
        }
    }

    #[must_use]
    pub fn holder(&self, seq: u64) -> Option<Holder<'_>> {
        let inside = |run: &&Run| run.from <= seq && seq <= run.to;
        let elided = self.elided.iter().find(|elided| inside(&&elided.run));
        if let Some(elided) = elided {
            return Some(Holder::Elided(elided));
        }
        self.generations.iter().find_map(|(&id, generation)| {
            generation.runs.iter().find(inside).map(|run| Holder::Generation(id, run))
        })
    }

    /// The unsealed generation of a lane.
    #[must_use]
    pub fn active(&self, lane: Lane) -> Option<u64> {
        let open = |(_, g): &(&u64, &Generation)| g.lane == lane && !g.sealed;
        self.generations.iter().find(open).map(|(&id, _)| id)
    }

    pub fn start_generation(&mut self, lane: Lane) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let generation =
            Generation { lane, sealed: false, acked_ms: None, bytes: 0, runs: Vec::new() };
        self.generations.insert(id, generation);
        id
    }

    /// The entry is durable in generation `id`.
    pub fn appended(&mut self, id: u64, entry: &Entry, tally: &Tally) {
        if let Some(generation) = self.generations.get_mut(&id) {
            generation.push(entry, tally);
            generation.acked_ms = None;
        }
    }

    pub fn acknowledge(&mut self, acked: Anchor, now_ms: i64) {
        self.acked = acked;
        for generation in self.generations.values_mut() {
            let drained = generation.last_seq() <= acked.seq;
            generation.acked_ms = drained.then(|| generation.acked_ms.unwrap_or(now_ms));
        }
        for elided in &mut self.elided {
            if elided.run.from <= acked.seq && acked.seq < elided.run.to {
                elided.points.retain(|point| point.seq > acked.seq);
                elided.points.insert(0, acked);
            }
        }
    }

    #[must_use]
    pub fn bytes(&self, lane: Option<Lane>) -> u64 {
        let wanted = |g: &&Generation| lane.is_none_or(|lane| g.lane == lane);
        self.generations.values().filter(wanted).map(|g| g.bytes).sum()
    }

    /// Records held above the acknowledged seq.
    #[must_use]
    pub fn unacked(&self) -> u64 {
        let above = |run: &Run| run.to.saturating_sub(run.from.max(self.acked.seq + 1) - 1);
        self.generations.values().flat_map(|g| &g.runs).map(above).sum()
    }

    /// The oldest generation that may go as acknowledged tail.
    #[must_use]
    pub fn oldest_drained(&self) -> Option<u64> {
        let may_go = self.acked.seq.min(self.checkpoint);
        let drained = |(_, g): &(&u64, &Generation)| g.sealed && g.last_seq() <= may_go;
        let oldest = self.generations.iter().filter(drained);
        oldest.min_by_key(|(_, g)| g.last_seq()).map(|(&id, _)| id)
    }

    /// The oldest generation that may be shed, and its last seq.
    #[must_use]
    pub fn oldest_sheddable(&self) -> Option<(u64, u64)> {
        let data = |(_, g): &(&u64, &Generation)| g.lane == Lane::Data && g.sealed;
        let oldest = self.generations.iter().filter(data).min_by_key(|(_, g)| g.last_seq());
        oldest.map(|(&id, g)| (id, g.last_seq()))
    }

    /// Forgets a drained generation, and with it everything below its end. Gives every generation
    /// that holds nothing any more: they are to be removed.
    pub fn drop_drained(&mut self, id: u64) -> Vec<u64> {
        let end = self.generations.get(&id).and_then(|g| g.runs.last().cloned());
        if let Some(run) = end
            && run.to > self.floor.seq
        {
            self.raise_floor(Anchor { seq: run.to, head: run.after });
        }
        self.emptied()
    }

    /// Replaces what a generation holds above the acknowledged seq by Elisions, and forgets it.
    /// `points` are chain values inside it that may have to be known later.
    pub fn elide(&mut self, id: u64, reason: ElisionReason, points: &BTreeMap<u64, Anchor>) {
        let Some(generation) = self.generations.remove(&id) else { return };
        for mut run in generation.runs {
            if run.from <= self.acked.seq {
                // What the hub has is no loss; but the acknowledged tail is no longer whole.
                let end = run.to.min(self.acked.seq);
                let head = if end == run.to { run.after } else { self.acked.head };
                if end > self.floor.seq {
                    self.raise_floor(Anchor { seq: end, head });
                }
                if run.to <= self.acked.seq {
                    continue;
                }
                run.from = self.acked.seq + 1;
                run.before = self.acked.head;
            }
            let points = points.range(run.from..run.to).map(|(_, &point)| point).collect();
            self.insert_elided(Elided { run, reason, points });
        }
    }

    /// Declares every seq above the acknowledged one that nobody answers for; below it the floor
    /// rises past the hole. Gives how many Elisions that made.
    pub fn fill_holes(&mut self, reason: ElisionReason) -> u64 {
        let mut made = 0;
        while let Some(mut hole) = self.first_hole() {
            if hole.from <= self.acked.seq {
                let whole = hole.to <= self.acked.seq;
                let end = Anchor { seq: hole.to, head: hole.after };
                self.raise_floor(if whole { end } else { self.acked });
                continue;
            }
            hole.tally = Tally::unknown(Class::P1, hole.len());
            self.insert_elided(Elided { run: hole, reason, points: Vec::new() });
            made += 1;
        }
        made
    }

    /// The first run above the floor that is neither held nor elided.
    fn first_hole(&self) -> Option<Run> {
        let held = self.generations.values().flat_map(|g| &g.runs);
        let mut runs: Vec<&Run> = held.chain(self.elided.iter().map(|e| &e.run)).collect();
        runs.sort_by_key(|run| run.from);
        let mut at = self.floor;
        for run in runs {
            if run.from > at.seq + 1 {
                return Some(Run::between(at, run.from, run.before));
            }
            if run.to > at.seq {
                at = Anchor { seq: run.to, head: run.after };
            }
        }
        (at.seq < self.last.seq).then(|| Run::between(at, self.last.seq + 1, self.last.head))
    }

    /// Raises the floor over acknowledged Elisions that nothing held stands before.
    pub fn advance_floor(&mut self) {
        let held = self.generations.values().flat_map(|g| &g.runs);
        let needed = self.elided.iter().map(|e| &e.run).filter(|run| run.to > self.acked.seq);
        let first = held.chain(needed).min_by_key(|run| run.from);
        let floor = first.map_or(self.last, |run| Anchor { seq: run.from - 1, head: run.before });
        if floor.seq > self.floor.seq {
            self.raise_floor(floor);
        }
    }

    /// Forgets every record past `last`: those of an append that did not return. Gives the generations
    /// that held some.
    pub fn clip_after(&mut self, last: u64) -> Vec<u64> {
        let mut ids = Vec::new();
        for (&id, generation) in &mut self.generations {
            let clipped = generation.runs.iter().any(|run| run.to > last);
            generation.sealed |= clipped;
            ids.extend(clipped.then_some(id));
            // A run that crosses the end cannot be cut: its chain value there is not known.
            generation.runs.retain(|run| run.to <= last);
        }
        ids
    }

    pub fn raise_floor(&mut self, floor: Anchor) {
        self.floor = floor;
        self.elided.retain(|elided| elided.run.to > floor.seq);
        for generation in self.generations.values_mut() {
            generation.runs.retain(|run| run.to > floor.seq);
            for run in &mut generation.runs {
                if run.from <= floor.seq {
                    run.from = floor.seq + 1;
                    run.before = floor.head;
                }
            }
        }
    }

    /// Sealed generations that hold nothing.
    pub fn emptied(&mut self) -> Vec<u64> {
        let empty = |(_, g): &(&u64, &Generation)| g.sealed && g.runs.is_empty();
        let ids: Vec<u64> = self.generations.iter().filter(empty).map(|(&id, _)| id).collect();
        for id in &ids {
            self.generations.remove(id);
        }
        ids
    }

    fn insert_elided(&mut self, new: Elided) {
        let at = self.elided.partition_point(|elided| elided.run.from < new.run.from);
        self.elided.insert(at, new);
        let mut merged: Vec<Elided> = Vec::with_capacity(self.elided.len());
        for elided in self.elided.drain(..) {
            match merged.last_mut() {
                Some(before)
                    if before.run.to + 1 == elided.run.from && before.reason == elided.reason =>
                {
                    before.points.push(Anchor { seq: before.run.to, head: before.run.after });
                    before.points.extend(elided.points);
                    before.run.to = elided.run.to;
                    before.run.after = elided.run.after;
                    before.run.tally.merge(&elided.run.tally);
                }
                _ => merged.push(elided),
            }
        }
        self.elided = merged;
    }
}
