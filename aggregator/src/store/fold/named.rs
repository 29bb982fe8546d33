//! What of current state a batch names, found before anything is loaded.
//!
//! It only spares work: where it names too little, [`Step::Load`](super::Step::Load) asks for the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use provost_model::record::VerdictRecord;
use provost_model::{Digest, PolicySet, PolicySetEntry, RecordBody};

use super::records;
use crate::store::batch::Batch;
use crate::store::current::{BindingKey, SubjectKey};

/// How much of what is stored about a subject stands in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// All its verdicts and open findings. What is not stored at all is whole.
    #[default]
    Whole,
    /// The verdicts of these bindings and their open findings; of others nothing is known.
    Bindings(BTreeSet<BindingKey>),
}

/// What a batch says of one subject, as far as it tells what to load.
#[derive(Clone, Debug, Default)]
pub struct Named {
    is_whole: bool,
    /// Of the records that name one.
    uid: Option<String>,
    bindings: BTreeSet<BindingKey>,
}

/// Every subject whose state the batch's records may change. `sets` are those that are stored.
#[must_use]
pub fn named(batch: &Batch, sets: &HashMap<Digest, Arc<PolicySet>>) -> BTreeMap<SubjectKey, Named> {
    let mut all: BTreeMap<SubjectKey, Named> = BTreeMap::new();
    for record in records(batch) {
        match &record.body {
            RecordBody::Verdict(verdict) => {
                let set = record.header.policy_set.and_then(|digest| sets.get(&digest));
                let named = all.entry(SubjectKey::of(&verdict.subject)).or_default();
                named.verdict(verdict, set.map(|set| &**set));
            }
            // It may end every verdict.
            RecordBody::SubjectRemoved { subject, .. } => {
                all.entry(SubjectKey::of(subject)).or_default().is_whole = true;
            }
            _ => {}
        }
    }
    all
}

impl Named {
    /// Everything about a subject.
    #[must_use]
    pub fn whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// How much of the subject that is stored with this uid the batch needs.
    #[must_use]
    pub fn extent(self, stored_uid: &str) -> Extent {
        let is_replaced = self.uid.is_some_and(|uid| uid != stored_uid);
        if self.is_whole || is_replaced {
            return Extent::Whole;
        }
        Extent::Bindings(self.bindings)
    }

    fn verdict(&mut self, record: &VerdictRecord, set: Option<&PolicySet>) {
        let uid = &record.attributes.uid;
        match &self.uid {
            _ if uid.is_empty() => {}
            None => self.uid = Some(uid.clone()),
            // One of them replaces the other.
            Some(other) => self.is_whole |= other != uid,
        }
        let count = record.verdicts.len() + record.passes.len() + record.withdrawn.len();
        match set {
            // By its key alone a subject costs less than by most of its bindings.
            Some(set) if record.snapshot.is_none() && count * 2 < set.entries.len() => {
                self.bindings.extend(bindings(record, set).map(key));
            }
            _ => self.is_whole = true,
        }
    }
}

/// What the record's indexes point to, as far as they point anywhere.
pub(super) fn bindings<'a>(
    record: &'a VerdictRecord,
    set: &'a PolicySet,
) -> impl Iterator<Item = &'a PolicySetEntry> {
    let said = record.verdicts.iter().map(|verdict| verdict.binding);
    let indexes = said.chain(record.passes.iter().copied()).chain(record.withdrawn.iter().copied());
    indexes.filter_map(|index| set.entries.get(index as usize))
}

pub(super) fn key(entry: &PolicySetEntry) -> BindingKey {
    (entry.policy.clone(), entry.binding.clone())
}
