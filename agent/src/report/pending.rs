//! Changes that have no seq yet. Of one key only the first old and the last new are kept, with how many
//! changes that were; so a link that is down costs one record per subject, not one per change.
//!
//! Events (P0 records, admissions) do not coalesce and go before the changes that are pending with
//! them: a policy set stands in the chain before the verdicts that name it.

use std::collections::{BTreeMap, HashMap};

use provost_model::record::{
    Class, Record, RecordBody, RecordHeader, ReportedVerdict, VerdictRecord,
};
use provost_model::{Attributes, Outcome, Subject};

use super::records::{Indexed, Stated, split};
use crate::key::Key;
use crate::state::table::Difference;

#[derive(Default)]
pub struct Pending {
    events: Vec<Record>,
    order: Vec<Key>,
    changes: HashMap<Key, Change>,
}

struct Change {
    header: RecordHeader,
    subject: Subject,
    attributes: Option<Attributes>,
    /// The uid under which the subject, reported before, was removed within this time.
    removed: Option<String>,
    /// Something was reported of it before the first of these changes.
    was_reported: bool,
    count: u32,
    verdicts: BTreeMap<u16, Slot>,
}

struct Slot {
    previous: Option<Outcome>,
    now: Now,
}

enum Now {
    Verdict(Box<ReportedVerdict>),
    Pass(u32),
    Withdrawn(Option<u32>),
}

impl Pending {
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len() + self.changes.len()
    }

    pub fn event(&mut self, record: Record) {
        self.events.push(record);
    }

    /// The subject says something else. `header` is of this change.
    pub fn changed(
        &mut self,
        key: Key,
        header: RecordHeader,
        stated: &Stated,
        difference: &Difference,
        indexed: &Indexed,
    ) {
        let subject = stated.subject.clone();
        let first = !difference.changed.iter().all(|(_, previous)| previous.is_none())
            || !difference.withdrawn.is_empty();
        let change = self.change(key, &header, subject, first);
        change.header = header;
        change.count += 1;
        change.attributes = Some(stated.attributes.clone());
        let index = |number: u16| {
            let found = indexed.numbers.iter().position(|n| *n == number);
            found.and_then(|index| u32::try_from(index).ok())
        };
        for &(number, previous) in &difference.changed {
            let Some(index) = index(number) else { continue };
            let verdict = stated.verdicts.iter().find(|verdict| verdict.binding == index);
            let now = match verdict {
                Some(verdict) => Now::Verdict(Box::new(verdict.clone())),
                None => Now::Pass(index),
            };
            change.set(number, previous, now);
        }
        for &(number, previous) in &difference.withdrawn {
            change.set(number, Some(previous), Now::Withdrawn(index(number)));
        }
    }

    /// The subject is gone.
    pub fn removed(&mut self, key: &Key, header: RecordHeader, subject: Subject, uid: String) {
        let change = self.change(key.clone(), &header, subject, true);
        if !change.was_reported && change.removed.is_none() {
            // It came and went without a word; nobody is to hear of it.
            self.changes.remove(key);
            self.order.retain(|other| other != key);
            return;
        }
        change.header = header;
        change.count += 1;
        change.verdicts.clear();
        change.attributes = None;
        change.removed.get_or_insert(uid);
    }

    /// Everything, as records without seqs, in the order in which it is to have them.
    pub fn take(&mut self) -> Vec<Record> {
        let mut records = std::mem::take(&mut self.events);
        for key in std::mem::take(&mut self.order) {
            if let Some(change) = self.changes.remove(&key) {
                records.extend(change.into_records());
            }
        }
        records
    }

    fn change(
        &mut self,
        key: Key,
        header: &RecordHeader,
        subject: Subject,
        was_reported: bool,
    ) -> &mut Change {
        self.changes.entry(key.clone()).or_insert_with(|| {
            self.order.push(key);
            Change {
                header: header.clone(),
                subject,
                attributes: None,
                removed: None,
                was_reported,
                count: 0,
                verdicts: BTreeMap::new(),
            }
        })
    }
}

impl Change {
    fn set(&mut self, number: u16, previous: Option<Outcome>, now: Now) {
        // After a removal nothing stood before.
        let previous =
            previous.filter(|_| self.removed.is_none() || self.verdicts.contains_key(&number));
        match self.verdicts.get_mut(&number) {
            Some(slot) => slot.now = now,
            None => drop(self.verdicts.insert(number, Slot { previous, now })),
        }
    }

    fn into_records(self) -> Vec<Record> {
        let Self { header, subject, attributes, removed, was_reported: _, count, verdicts } = self;
        let mut records = Vec::new();
        let coalesced = count.max(1);
        if let Some(uid) = removed {
            let header = RecordHeader { class: Class::P1, coalesced, ..header.clone() };
            let body = RecordBody::SubjectRemoved { subject: subject.clone(), uid };
            records.push(Record { header, body });
        }
        let Some(attributes) = attributes else { return records };
        let mut body = VerdictRecord {
            subject,
            attributes,
            verdicts: Vec::new(),
            passes: Vec::new(),
            withdrawn: Vec::new(),
            snapshot: None,
        };
        let mut class = Class::P2;
        for slot in verdicts.into_values() {
            let was_pass = matches!(slot.previous, None | Some(Outcome::Pass));
            if !was_pass || matches!(slot.now, Now::Verdict(_)) {
                class = Class::P1;
            }
            match slot.now {
                Now::Pass(index) => body.passes.push(index),
                Now::Verdict(verdict) => {
                    body.verdicts.push(ReportedVerdict { previous: slot.previous, ..*verdict });
                }
                // A binding that left the set is known to be gone by the set itself.
                Now::Withdrawn(index) => body.withdrawn.extend(index),
            }
        }
        if body.verdicts.is_empty() && body.passes.is_empty() && body.withdrawn.is_empty() {
            return records;
        }
        let header = RecordHeader { class, coalesced, ..header };
        records.extend(split(Record { header, body: RecordBody::Verdict(body) }));
        records
    }
}
