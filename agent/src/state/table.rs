//! The verdict table in memory: some 300 bytes per subject.
//!
//! Invariants: cells of an entry are sorted by binding; what is dirty is newer than the checkpoint; an entry
//! without a stamp is evaluated again when its object is next seen.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use provost_model::record::ReportedVerdict;
use provost_model::{BindingId, Digest, Outcome, PolicyId, PolicySet};
use sha2::{Digest as _, Sha256};

use crate::key::Key;
use crate::source::Scope;

/// Which object, under which set, a verdict was given on; all zero: to be evaluated again.
pub type Stamp = [u8; 16];

/// One verdict in eight bytes: 16 bits of binding, 8 of outcome, 40 of a hash over all else that
/// travels, so that a change of findings goes unseen once in 10^12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub stamp: Stamp,
    pub uid: Box<str>,
    pub cells: Box<[Cell]>,
    /// Listing in which the subject was last seen.
    seen: u32,
}

/// The difference that a new evaluation makes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Bindings that say something else, with the outcome before.
    pub changed: Vec<(u16, Option<Outcome>)>,
    /// Bindings that say nothing any more.
    pub withdrawn: Vec<(u16, Outcome)>,
}

/// Encoded records that together state everything of a subject.
pub type Parts = Vec<Bytes>;

#[derive(Debug, Default)]
pub struct Table {
    entries: HashMap<Key, Entry>,
    /// Not in the checkpoint yet, or not any more (None).
    dirty: HashMap<Key, Option<Parts>>,
    dirty_bytes: usize,
    listing: u32,
    names: Vec<(PolicyId, BindingId)>,
    numbers: HashMap<(PolicyId, BindingId), u16>,
    /// By digest, the numbers of a policy set's bindings in its order.
    sets: BTreeMap<Digest, Vec<u16>>,
}

impl Cell {
    #[must_use]
    pub fn pass(binding: u16) -> Self {
        Self::new(binding, Outcome::Pass, 0)
    }

    #[must_use]
    pub fn of(binding: u16, verdict: &ReportedVerdict) -> Self {
        Self::new(binding, verdict.outcome, hash(verdict))
    }

    #[must_use]
    pub const fn binding(self) -> u16 {
        (self.0 >> 48) as u16
    }

    #[must_use]
    pub fn outcome(self) -> Outcome {
        let number = (self.0 >> 40) as usize & 0xff;
        Outcome::ALL.get(number).copied().unwrap_or(Outcome::Error)
    }

    fn new(binding: u16, outcome: Outcome, hash: u64) -> Self {
        let number = Outcome::ALL.iter().position(|o| *o == outcome).unwrap_or(0) as u64;
        Self(u64::from(binding) << 48 | number << 40 | hash & 0xff_ffff_ffff)
    }
}

impl Table {
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.keys()
    }

    /// Numbers the bindings of a set, in its order.
    pub fn number(&mut self, digest: Digest, set: &PolicySet) -> Vec<u16> {
        let names = set.entries.iter().map(|e| (e.policy.clone(), e.binding.clone()));
        let numbers: Vec<u16> = names.map(|name| self.number_of(name)).collect();
        self.sets.insert(digest, numbers.clone());
        numbers
    }

    #[must_use]
    pub fn numbers(&self, set: &Digest) -> Option<&[u16]> {
        self.sets.get(set).map(Vec::as_slice)
    }

    /// Forgets all policy sets but these.
    pub fn keep_sets(&mut self, keep: &[Digest]) {
        self.sets.retain(|digest, _| keep.contains(digest));
    }

    pub(super) fn names(&self) -> &[(PolicyId, BindingId)] {
        &self.names
    }

    pub(super) const fn sets(&self) -> &BTreeMap<Digest, Vec<u16>> {
        &self.sets
    }

    pub(super) fn set_names(
        &mut self,
        names: Vec<(PolicyId, BindingId)>,
        sets: BTreeMap<Digest, Vec<u16>>,
    ) {
        for name in names {
            self.number_of(name);
        }
        self.sets = sets;
    }

    fn number_of(&mut self, name: (PolicyId, BindingId)) -> u16 {
        if let Some(&number) = self.numbers.get(&name) {
            return number;
        }
        // A bundle has at most 4,096 files: 65,535 bindings are never reached. If they were, the
        // last would share a number and report changes too often, never too rarely.
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    /// A listing begins: what it does not show is found by [`Table::unseen`].
    pub fn begin_listing(&mut self) {
        self.listing += 1;
    }

    /// Marks the subject as seen. True: it is known as it stands.
    pub fn see(&mut self, key: &Key, stamp: Option<&Stamp>) -> bool {
        let listing = self.listing;
        self.entries.get_mut(key).is_some_and(|entry| {
            entry.seen = listing;
            stamp == Some(&entry.stamp)
        })
    }

    /// Subjects of the scope that the listing did not show.
    #[must_use]
    pub fn unseen(&self, scope: &Scope) -> Vec<Key> {
        let unseen = self.entries.iter().filter(|(_, entry)| entry.seen < self.listing);
        let covered = unseen.filter(|(key, _)| scope.covers(&key.subject()));
        covered.map(|(key, _)| key.clone()).collect()
    }

    /// Takes an evaluation; `cells` sorted by binding. Without cells the subject is forgotten.
    pub fn put(
        &mut self,
        key: Key,
        stamp: Stamp,
        uid: &str,
        cells: Vec<Cell>,
        parts: Parts,
    ) -> Difference {
        let before = self.entries.get(&key).map(|entry| &*entry.cells).unwrap_or_default();
        let difference = difference(before, &cells);
        if cells.is_empty() {
            self.remove(&key);
            return difference;
        }
        let entry = Entry { stamp, uid: uid.into(), cells: cells.into(), seen: self.listing };
        self.set_dirty(key.clone(), Some(parts));
        self.entries.insert(key, entry);
        difference
    }

    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.set_dirty(key.clone(), None);
        Some(entry)
    }

    /// From disk: as it was, and not dirty.
    pub(super) fn restore(&mut self, key: Key, stamp: Stamp, uid: &str, cells: Vec<Cell>) {
        debug_assert!(cells.is_sorted());
        self.entries.insert(key, Entry { stamp, uid: uid.into(), cells: cells.into(), seen: 0 });
    }

    /// Known from the spool alone: the checkpoint has nothing of it yet.
    pub(super) fn restore_new(&mut self, key: Key, uid: &str, cells: Vec<Cell>) {
        self.set_dirty(key.clone(), Some(Parts::new()));
        self.restore(key, Stamp::default(), uid, cells);
    }

    /// Every object is evaluated again when it is seen.
    pub fn distrust(&mut self) {
        for entry in self.entries.values_mut() {
            entry.stamp = Stamp::default();
        }
    }

    #[must_use]
    pub const fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(super) fn take_dirty(&mut self) -> HashMap<Key, Option<Parts>> {
        self.dirty_bytes = 0;
        std::mem::take(&mut self.dirty)
    }

    /// A checkpoint failed: what it should have taken is dirty still.
    pub(super) fn put_back(&mut self, dirty: HashMap<Key, Option<Parts>>) {
        for (key, parts) in dirty {
            if !self.dirty.contains_key(&key) {
                self.set_dirty(key, parts);
            }
        }
    }

    fn set_dirty(&mut self, key: Key, parts: Option<Parts>) {
        let size = |parts: &Option<Parts>| -> usize {
            64 + parts.iter().flatten().map(Bytes::len).sum::<usize>()
        };
        self.dirty_bytes += size(&parts);
        if let Some(old) = self.dirty.insert(key, parts) {
            self.dirty_bytes -= size(&old);
        }
    }
}

fn difference(before: &[Cell], after: &[Cell]) -> Difference {
    let old = |binding: u16| before.iter().find(|cell| cell.binding() == binding);
    let mut difference = Difference::default();
    for cell in after {
        let previous = old(cell.binding());
        if previous != Some(cell) {
            difference.changed.push((cell.binding(), previous.map(|cell| cell.outcome())));
        }
    }
    for cell in before {
        if !after.iter().any(|new| new.binding() == cell.binding()) {
            difference.withdrawn.push((cell.binding(), cell.outcome()));
        }
    }
    difference
}

/// Over everything of a verdict that travels but its binding and what was before.
fn hash(verdict: &ReportedVerdict) -> u64 {
    let ReportedVerdict {
        binding: _,
        previous: _,
        outcome,
        action,
        severity,
        findings,
        findings_total,
        message,
        code,
        underlying,
    } = verdict;
    let mut hasher = Sha256::new();
    let underlying = underlying.map(Outcome::as_str).unwrap_or_default();
    hasher.update(format!("{outcome}\0{action}\0{severity}\0{findings_total}\0{underlying}\0"));
    hasher.update(format!("{code}\0{message}\0"));
    for finding in findings {
        hasher.update(finding.fingerprint.as_bytes());
        hasher.update(format!("{}\0{}\0", finding.path.to_pointer(), finding.message));
        let patch = finding.patch.as_ref().map(ToString::to_string).unwrap_or_default();
        hasher.update(format!("{patch}\0{:?}\0", finding.line));
    }
    let digest = hasher.finalize();
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::from_text(&format!("apps\0Deployment\0shop\0{name}")).unwrap()
    }

    fn cell(binding: u16, outcome: Outcome, hash: u64) -> Cell {
        Cell::new(binding, outcome, hash)
    }

    #[test]
    fn cells_keep_their_three_parts() {
        for outcome in Outcome::ALL {
            let cell = cell(65_535, *outcome, u64::MAX);
            assert_eq!((cell.binding(), cell.outcome()), (65_535, *outcome));
        }
    }

    #[test]
    fn only_news_is_a_difference() {
        let mut table = Table::default();
        let first = vec![cell(1, Outcome::Pass, 0), cell(2, Outcome::Fail, 7)];
        let new = table.put(key("a"), [1; 16], "u", first.clone(), Vec::new());
        assert_eq!(new.changed, [(1, None), (2, None)]);
        assert_eq!(table.put(key("a"), [2; 16], "u", first, Vec::new()), Difference::default());
        let second = vec![cell(2, Outcome::Fail, 8), cell(3, Outcome::Pass, 0)];
        let change = table.put(key("a"), [3; 16], "u", second, Vec::new());
        assert_eq!(change.changed, [(2, Some(Outcome::Fail)), (3, None)]);
        assert_eq!(change.withdrawn, [(1, Outcome::Pass)]);
        assert!(table.see(&key("a"), Some(&[3; 16])));
        assert!(!table.see(&key("a"), Some(&[4; 16])));
    }

    #[test]
    fn a_listing_shows_what_is_gone_in_its_scope() {
        let mut table = Table::default();
        for name in ["a", "b"] {
            table.put(key(name), [1; 16], "", vec![Cell::pass(0)], Vec::new());
        }
        table.begin_listing();
        table.see(&key("a"), None);
        let scope = |kind: &str| Scope::Kind { group: "apps".to_owned(), kind: kind.to_owned() };
        assert_eq!(table.unseen(&Scope::Everything), [key("b")]);
        assert_eq!(table.unseen(&scope("Deployment")), [key("b")]);
        assert_eq!(table.unseen(&scope("DaemonSet")), []);
    }

    /// 10,000 subjects with 18 verdicts each stay within a few MB.
    #[test]
    fn an_entry_is_small() {
        let cells = 18 * size_of::<Cell>();
        let fixed = size_of::<(Key, Entry)>() + 36;
        let key = "networking.k8s.io\0NetworkPolicy\0some-namespace\0some-object-name".len();
        assert!((cells + fixed + key) * 10_000 < 4_000_000, "{}", cells + fixed + key);
    }
}
