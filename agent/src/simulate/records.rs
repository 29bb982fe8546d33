//! What simulated agents report: objects that appear, and after that verdicts that change.
//!
//! Sizes and shapes are those of a real agent: an object states every binding, a change states one.

use provost_model::id::BootId;
use provost_model::path::{Path, Segment};
use provost_model::policy::Checkpoint;
use provost_model::record::{
    Class, ClockQuality, Record, RecordBody, RecordHeader, ReportedVerdict, VerdictRecord,
};
use provost_model::subject::{Controller, ResourceRef};
use provost_model::{
    Attributes, Digest, Finding, Fingerprint, Outcome, PolicySet, PolicySetEntry, Subject,
};
use provost_runtime::clock::Clock;

/// Objects of one agent, and the policy set that their verdicts point into.
pub struct World {
    pub set: PolicySet,
    pub digest: Digest,
    /// At least one.
    pub objects: u64,
}

impl World {
    /// The body of the `count`th record, from 0. The first of each object states all its verdicts,
    /// one of them failing; each one after that turns this verdict around.
    #[must_use]
    pub fn body(&self, count: u64) -> RecordBody {
        let object = count % self.objects;
        let round = count / self.objects;
        let subject = subject(object);
        let attributes = attributes(object);
        let bindings = self.set.entries.len() as u64;
        let turning = if bindings == 0 { 0 } else { object % bindings };
        let is_failing = round.is_multiple_of(2);
        let mut passes: Vec<u32> = Vec::new();
        let mut verdicts = Vec::new();
        for (index, entry) in (0u32..).zip(&self.set.entries) {
            let turns = u64::from(index) == turning;
            match (turns, is_failing) {
                (true, true) => verdicts.push(failing(index, entry, &subject, round)),
                (true, false) => passes.push(index),
                (false, _) if round == 0 => passes.push(index),
                (false, _) => {}
            }
        }
        RecordBody::Verdict(VerdictRecord {
            subject,
            attributes,
            verdicts,
            passes,
            withdrawn: Vec::new(),
            snapshot: None,
        })
    }
}

/// With the time of now; the caller numbers it.
#[must_use]
pub fn record(seq: u64, body: RecordBody, set: Option<Digest>, clock: &dyn Clock) -> Record {
    let class = match &body {
        RecordBody::Verdict(_) => Class::P1,
        _ => Class::P0,
    };
    let header = RecordHeader {
        seq,
        class,
        boot: BootId::from_bytes(clock.boot()),
        monotonic_ms: clock.monotonic_ms(),
        wall_ms: clock.wall_ms(),
        clock_quality: ClockQuality::Local,
        policy_set: set,
        coalesced: 1,
        exemption_id: String::new(),
        trace_parent: String::new(),
    };
    Record { header, body }
}

fn subject(object: u64) -> Subject {
    Subject::Kubernetes(ResourceRef {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: format!("team-{}", object % 20),
        name: format!("service-{object}"),
    })
}

fn attributes(object: u64) -> Attributes {
    let name = format!("service-{object}");
    Attributes {
        api_version: "apps/v1".to_owned(),
        uid: format!("00000000-0000-4000-8000-{object:012x}"),
        resource_version: format!("{}", 1_000_000 + object),
        controller: Some(Controller {
            group: "example.com".to_owned(),
            kind: "Service".to_owned(),
            name: name.clone(),
        }),
        labels: [("app.kubernetes.io/name".to_owned(), name)].into_iter().collect(),
        ..Attributes::at(Checkpoint::Run)
    }
}

fn failing(index: u32, entry: &PolicySetEntry, subject: &Subject, round: u64) -> ReportedVerdict {
    let key = |text: &str| Segment::Key(text.to_owned());
    let path = Path(vec![
        key("spec"),
        key("template"),
        key("spec"),
        key("containers"),
        Segment::Index(0),
        key("securityContext"),
    ]);
    let named = "/spec/template/spec/containers/[name=main]/securityContext";
    let finding = Finding {
        fingerprint: Fingerprint::new(&entry.policy, subject, named, 0),
        path,
        message: format!("container main of {subject} does not keep to {}", entry.policy),
        patch: None,
        line: None,
    };
    ReportedVerdict {
        binding: index,
        outcome: Outcome::Fail,
        previous: (round > 0).then_some(Outcome::Pass),
        action: entry.action,
        severity: entry.severity,
        findings: vec![finding],
        findings_total: 1,
        message: String::new(),
        code: String::new(),
        underlying: None,
    }
}
