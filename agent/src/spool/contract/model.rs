//! A spool as the contract sees it: a list of records, and what a head file would say.

use std::collections::BTreeMap;

use provost_trust::chain;

use super::super::recovery::Known;
use super::super::*;
use super::Then;
use super::fixture::Fixture;

/// What was appended, and what a head file would say.
pub(super) struct Model {
    pub(super) records: BTreeMap<u64, Entry>,
    pub(super) known: Known,
    pub(super) noise: u64,
    /// Records of one seq differ between attempts.
    pub(super) attempt: u64,
    /// Records of appends that failed or did not return since the last one that did: an open may give them.
    pub(super) refused: Vec<Entry>,
}

impl Model {
    pub(super) fn new<F: Fixture>() -> Self {
        let start = Anchor { seq: 0, head: chain::GENESIS };
        Self {
            records: BTreeMap::new(),
            known: Known { epoch: 1, last: start, acked: start },
            noise: F::NOISE,
            attempt: 0,
            refused: Vec::new(),
        }
    }

    /// The next entries: of these classes, of noise that does not compress.
    pub(super) fn next(&self, classes: &[Class]) -> Vec<Entry> {
        let mut at = self.known.last;
        let mut entries = Vec::new();
        for &class in classes {
            let seq = at.seq + 1;
            let noise = (0..self.noise)
                .map(|i| [self.attempt, seq, i].map(u64::to_be_bytes).concat())
                .flat_map(|bytes| *Digest::of(&bytes).as_bytes());
            let record: Bytes = noise.collect();
            let after = chain::next(&at.head, &chain::leaf(&record));
            entries.push(Entry { seq, class, before: at.head, after, record });
            at = Anchor { seq, head: after };
        }
        entries
    }

    pub(super) fn appended(&mut self, entries: Vec<Entry>) {
        if let Some(last) = entries.last() {
            self.known.last = Anchor { seq: last.seq, head: last.after };
            self.refused.clear();
        }
        self.records.extend(entries.into_iter().map(|entry| (entry.seq, entry)));
    }

    pub(super) fn was_refused(&mut self, entries: Vec<Entry>) {
        self.refused.extend(entries);
    }

    /// Rule 6: of the refused what follows on, and of the rest nothing ever again.
    pub(super) fn reopened(&mut self, spool: &mut dyn Spool) {
        let refused = std::mem::take(&mut self.refused);
        while self.known.last.seq < spool.extent().last.seq {
            let last = self.known.last;
            let follows = |entry: &&Entry| entry.seq == last.seq + 1 && entry.before == last.head;
            // More than one with the same bytes may differ in their class.
            let read = spool.read(last.seq + 1, Limit { records: 1, bytes: 1 }).unwrap();
            let came_back = refused.iter().filter(follows);
            let came_back = came_back.into_iter().find(|e| read == [Item::Record((*e).clone())]);
            self.appended(vec![came_back.expect("nobody appended this").clone()]);
        }
        spool.checkpointed(self.known.last.seq).unwrap();
    }

    pub(super) fn head_at(&self, seq: u64) -> Digest {
        self.records.get(&seq).map_or(chain::GENESIS, |entry| entry.after)
    }

    pub(super) fn anchor(&self, seq: u64) -> Anchor {
        Anchor { seq, head: self.head_at(seq) }
    }

    pub(super) fn append(&mut self, spool: &mut dyn Spool, classes: &[Class]) {
        let entries = self.next(classes);
        spool.append(&entries, Room::Shed).unwrap();
        self.appended(entries);
        spool.checkpointed(self.known.last.seq).unwrap();
    }

    /// Where it fails, what it led to is open until the next.
    pub(super) fn try_append(&mut self, spool: &mut dyn Spool, classes: &[Class]) {
        let entries = self.next(classes);
        match spool.append(&entries, Room::Shed) {
            Ok(()) => self.appended(entries),
            Err(_) => self.was_refused(entries),
        }
    }

    /// After [`Model::try_append`] of these.
    pub(super) fn append_after(&mut self, spool: &mut dyn Spool, classes: &[Class], then: Then) {
        match then {
            Then::Same => self.append(spool, classes),
            Then::Few => self.append(spool, &[Class::P2, Class::P0]),
            Then::Other => {
                self.attempt += 1;
                self.append(spool, &[Class::P2, Class::P0]);
            }
            Then::Nothing => self.attempt += 1,
        }
    }

    pub(super) fn ack(&mut self, spool: &mut dyn Spool, seq: u64) {
        let acked = self.anchor(seq);
        spool.acknowledge(acked, 0).unwrap();
        self.known.acked = acked;
    }

    /// Reads everything held and checks rule 2 against the model. Gives the Elisions.
    pub(super) fn check(&self, spool: &mut dyn Spool) -> Vec<Elision> {
        let mut elisions = Vec::new();
        let mut at = spool.extent().first_held;
        assert!(at <= self.known.acked.seq + 1, "what is not acknowledged is held or elided");
        loop {
            let items = spool.read(at, Limit { records: 50, bytes: 40_000 }).unwrap();
            if items.is_empty() {
                break;
            }
            for item in items {
                match item {
                    Item::Record(entry) => {
                        assert_eq!(entry.seq, at);
                        assert_eq!(Some(&entry), self.records.get(&at));
                        at += 1;
                    }
                    Item::Elision(elision) => {
                        assert_eq!(elision.from_seq, at);
                        assert_eq!(elision.chain_before, self.head_at(at - 1));
                        assert_eq!(elision.chain_after, self.head_at(elision.to_seq));
                        at = elision.to_seq + 1;
                        elisions.push(elision);
                    }
                }
            }
        }
        assert_eq!(at, self.known.last.seq + 1);
        let extent = spool.extent();
        assert_eq!((extent.last, extent.acked), (self.known.last, self.known.acked));
        elisions
    }
}
