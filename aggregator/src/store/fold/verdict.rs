//! What a verdict record does to its subject.

use std::collections::BTreeSet;

use provost_model::record::{RecordHeader, ReportedVerdict, VerdictRecord};
use provost_model::{Fingerprint, Outcome, PolicySet, PolicySetEntry};

use super::named::{self, Extent};
use super::{Entry, Fold, Moment, Step};
use crate::store::current::{
    BindingKey, Closed, CurrentSubject, CurrentVerdict, FindingRow, Reason, SubjectKey, Transition,
};

impl Fold {
    pub(super) fn verdict(&mut self, header: &RecordHeader, record: &VerdictRecord) -> Step {
        let Some(set) = self.policy_set(header) else { return Step::Next };
        if !self.auditing {
            return Step::Next;
        }
        let key = SubjectKey::of(&record.subject);
        if !self.holds(&key, record, &set) {
            return Step::Load(key);
        }
        let moment = Moment::of(header);
        let statement = self.enter(&key, record, moment);
        let reason = if statement { Reason::Snapshot } else { Reason::Change };
        for verdict in &record.verdicts {
            match set.entries.get(verdict.binding as usize) {
                Some(entry) => self.say(&key, entry, verdict, reason, moment),
                None => {
                    self.invalid(format!(
                        "record {} names binding {}",
                        header.seq, verdict.binding
                    ));
                }
            }
            if statement {
                self.tally(verdict.binding, verdict.outcome);
            }
        }
        for &index in &record.passes {
            match set.entries.get(index as usize) {
                Some(entry) => self.say(&key, entry, &pass(index, entry), reason, moment),
                None => self.invalid(format!("record {} names binding {index}", header.seq)),
            }
            if statement {
                self.tally(index, Outcome::Pass);
            }
        }
        for &index in &record.withdrawn {
            if let Some(entry) = set.entries.get(index as usize) {
                self.end_verdict(&key, &named::key(entry), Reason::Withdrawn, moment);
            }
        }
        Step::Next
    }

    /// Whether everything that the record may change is in memory.
    fn holds(&self, key: &SubjectKey, record: &VerdictRecord, set: &PolicySet) -> bool {
        let Some(entry) = self.subjects.get(key) else { return false };
        let Extent::Bindings(loaded) = &entry.extent else { return true };
        !entry.now.as_ref().is_some_and(|now| is_replaced(now, record))
            && named::bindings(record, set).all(|entry| loaded.contains(&named::key(entry)))
    }

    /// Ends one verdict: its row goes, its findings close, a transition stays.
    pub(super) fn end_verdict(
        &mut self,
        key: &SubjectKey,
        binding: &BindingKey,
        reason: Reason,
        moment: Moment,
    ) {
        let Some(subject) = self.subjects.get_mut(key).and_then(|entry| entry.now.as_mut()) else {
            return;
        };
        let Some(verdict) = subject.verdicts.remove(binding) else { return };
        self.transition(Transition {
            subject_key: key.clone(),
            policy: binding.0.clone(),
            binding: binding.1.clone(),
            from: Some(verdict.outcome),
            to: None,
            severity: verdict.severity,
            reason,
            coalesced: moment.coalesced,
            seq: moment.seq,
            valid_at_ms: moment.valid_at_ms,
        });
        self.close_findings(key, binding, &BTreeSet::new(), reason, moment);
    }

    /// Brings the subject's own row up to date. Says whether the record is a statement of the open snapshot.
    fn enter(&mut self, key: &SubjectKey, record: &VerdictRecord, moment: Moment) -> bool {
        let uid = &record.attributes.uid;
        let known = self.subjects.get(key).and_then(|entry| entry.now.as_ref());
        if known.is_some_and(|now| is_replaced(now, record)) {
            self.end_subject(key, Reason::Replaced, moment);
        }
        let now_ms = self.now_ms;
        let Entry { now, .. } = self.subjects.entry(key.clone()).or_default();
        let subject = now.get_or_insert_with(|| CurrentSubject {
            subject: record.subject.clone(),
            uid: uid.clone(),
            attributes: record.attributes.clone(),
            first_seen_at_ms: now_ms,
            updated_at_ms: now_ms,
            seen_snapshot: String::new(),
            stated_snapshot: String::new(),
            verdicts: std::collections::BTreeMap::new(),
            open: std::collections::BTreeMap::new(),
        });
        subject.uid.clone_from(uid);
        subject.attributes.clone_from(&record.attributes);
        subject.updated_at_ms = now_ms;
        let Some(open) = &mut self.snapshot else { return false };
        subject.seen_snapshot.clone_from(&open.id);
        let statement = record.snapshot.is_some_and(|id| id.to_string() == open.id);
        if statement && subject.stated_snapshot != open.id {
            subject.stated_snapshot.clone_from(&open.id);
            open.stated_subjects += 1;
        }
        statement
    }

    fn say(
        &mut self,
        key: &SubjectKey,
        entry: &PolicySetEntry,
        verdict: &ReportedVerdict,
        reason: Reason,
        moment: Moment,
    ) {
        let seen_snapshot = self.snapshot.as_ref().map_or_else(String::new, |open| open.id.clone());
        let now_ms = self.now_ms;
        let Some(subject) = self.subjects.get_mut(key).and_then(|entry| entry.now.as_mut()) else {
            return;
        };
        let binding = named::key(entry);
        let before = subject.verdicts.get(&binding);
        let from = before.map(|before| before.outcome);
        let changed = from != Some(verdict.outcome);
        let since_valid_at_ms = match before {
            Some(before) if !changed => before.since_valid_at_ms,
            _ => moment.valid_at_ms,
        };
        let current = CurrentVerdict {
            outcome: verdict.outcome,
            underlying: verdict.underlying,
            action: verdict.action,
            severity: verdict.severity,
            scored: entry.scored,
            findings_total: verdict.findings_total,
            code: verdict.code.clone(),
            message: verdict.message.clone(),
            revision: entry.revision,
            since_valid_at_ms,
            valid_at_ms: moment.valid_at_ms,
            received_at_ms: now_ms,
            seen_snapshot,
        };
        subject.verdicts.insert(binding.clone(), current);
        if changed {
            self.transition(Transition {
                subject_key: key.clone(),
                policy: binding.0.clone(),
                binding: binding.1.clone(),
                from,
                to: Some(verdict.outcome),
                severity: verdict.severity,
                reason,
                coalesced: moment.coalesced,
                seq: moment.seq,
                valid_at_ms: moment.valid_at_ms,
            });
        }
        let listed = verdict.findings.iter().map(|finding| finding.fingerprint).collect();
        self.close_findings(key, &binding, &listed, reason, moment);
        self.open_findings(key, &binding, verdict, moment);
    }

    fn open_findings(
        &mut self,
        key: &SubjectKey,
        binding: &BindingKey,
        verdict: &ReportedVerdict,
        moment: Moment,
    ) {
        let Some(subject) = self.subjects.get_mut(key).and_then(|entry| entry.now.as_mut()) else {
            return;
        };
        for finding in &verdict.findings {
            let finding_key = (binding.1.clone(), finding.fingerprint);
            let opened = subject
                .open
                .get(&finding_key)
                .map_or(moment.valid_at_ms, |open| open.opened_valid_at_ms);
            let row = FindingRow {
                policy: binding.0.clone(),
                subject_key: key.clone(),
                subject: subject.subject.clone(),
                attributes: subject.attributes.clone(),
                severity: verdict.severity,
                action: verdict.action,
                outcome: verdict.outcome,
                path: finding.path.to_pointer(),
                message: finding.message.clone(),
                patch: finding.patch.as_ref().map(ToString::to_string),
                line: finding.line,
                opened_valid_at_ms: opened,
                received_at_ms: self.now_ms,
                closed: None,
            };
            subject.open.insert(finding_key.clone(), row.clone());
            self.changes.findings.insert(finding_key, row);
        }
    }

    /// Closes the binding's open findings but those listed.
    fn close_findings(
        &mut self,
        key: &SubjectKey,
        binding: &BindingKey,
        listed: &BTreeSet<Fingerprint>,
        reason: Reason,
        moment: Moment,
    ) {
        let Some(subject) = self.subjects.get_mut(key).and_then(|entry| entry.now.as_mut()) else {
            return;
        };
        let closing = subject.open.extract_if(.., |(of, fingerprint), row| {
            *of == binding.1 && row.policy == binding.0 && !listed.contains(fingerprint)
        });
        for (finding_key, mut row) in closing {
            row.closed =
                Some(Closed { valid_at_ms: moment.valid_at_ms, at_ms: self.now_ms, reason });
            self.changes.findings.insert(finding_key, row);
        }
    }

    fn tally(&mut self, binding: u32, outcome: Outcome) {
        if let Some(open) = &mut self.snapshot {
            *open.stated_counts.entry((binding, outcome)).or_default() += 1;
        }
    }
}

/// Whether the record is about another object of the same name.
fn is_replaced(now: &CurrentSubject, record: &VerdictRecord) -> bool {
    let uid = &record.attributes.uid;
    !uid.is_empty() && !now.uid.is_empty() && now.uid != *uid
}

fn pass(index: u32, entry: &PolicySetEntry) -> ReportedVerdict {
    ReportedVerdict {
        binding: index,
        outcome: Outcome::Pass,
        previous: None,
        action: entry.action,
        severity: entry.severity,
        findings: Vec::new(),
        findings_total: 0,
        message: String::new(),
        code: String::new(),
        underlying: None,
    }
}
