//! The parts of a cluster's page: instances, configuration, alarms, events.

use provost_model::Labels;

use crate::api::cluster_detail::{AlarmJson, ClusterDetail, EventJson, InstanceJson};
use crate::link::Link;
use crate::stamp::{Stamp, span};
use crate::ui::chip::{Chip, Face};
use crate::ui::words::{counted, number, visible};

/// Longest detail of an event that a row shows.
const MAX_DETAIL_CHARS: usize = 400;

pub struct Label {
    pub text: String,
    pub href: String,
}

pub struct Alarm {
    pub code: String,
    pub text: String,
}

pub struct InstanceView {
    pub id: String,
    pub auditing: bool,
    pub quarantine: String,
    pub heard: String,
    pub beat: Option<Beat>,
    pub health: Vec<Health>,
}

pub struct Beat {
    pub epoch: u64,
    pub seq: String,
    pub spool: String,
}

pub struct Health {
    pub name: String,
    pub chip: Chip,
    pub detail: String,
}

pub struct Line {
    pub name: &'static str,
    pub value: String,
    pub mono: bool,
    pub href: Option<String>,
}

pub struct Event {
    pub when: String,
    pub iso: String,
    pub what: String,
    pub detail: String,
}

pub fn labels(labels: &Labels) -> Vec<Label> {
    let label = |(key, value): (&String, &String)| {
        let text = format!("{key}={value}");
        Label { href: Link::to("/clusters").with("label", &text).to_string(), text: visible(&text) }
    };
    labels.iter().map(label).collect()
}

pub fn alarm(json: &AlarmJson, now: Stamp) -> Alarm {
    let times =
        if json.times > 1 { format!(", {} times", number(json.times)) } else { String::new() };
    Alarm {
        code: json.code.clone(),
        text: format!("{} ({}{times})", visible(&json.detail), json.last.ago(now)),
    }
}

pub fn instance(json: &InstanceJson, now: Stamp) -> InstanceView {
    let beat = json.heartbeat.as_ref();
    let health = |part: &crate::api::cluster_detail::HealthJson| Health {
        name: visible(&part.capability),
        chip: if part.healthy {
            Chip::new(Face::Pass, "ok")
        } else {
            Chip::new(Face::Fail, "not ok")
        },
        detail: visible(&part.detail),
    };
    InstanceView {
        id: json.id.clone(),
        auditing: json.auditing,
        quarantine: json.quarantine.clone().unwrap_or_default(),
        heard: json.last_heard.map_or_else(|| "never".to_owned(), |at| at.ago(now)),
        beat: beat.map(|beat| Beat {
            epoch: beat.epoch,
            seq: number(beat.last_seq),
            spool: spool(beat.spool_records, beat.spool_bytes, beat.spool_oldest_age_ms),
        }),
        health: beat.map_or_else(Vec::new, |beat| beat.health.iter().map(health).collect()),
    }
}

fn spool(records: u64, bytes: u64, oldest_ms: u64) -> String {
    if records == 0 {
        return "empty: everything is acknowledged".to_owned();
    }
    let age = span(i64::try_from(oldest_ms).unwrap_or(i64::MAX));
    format!("{}, {} KiB, oldest {age}", counted(records, "record"), number(bytes.div_ceil(1024)))
}

pub fn configuration(detail: &ClusterDetail) -> Vec<Line> {
    let line = |name, value: Option<String>, mono| Line {
        name,
        value: value.map_or_else(|| "none".to_owned(), |text| visible(&text)),
        mono,
        href: None,
    };
    let (cluster, trust) = (&detail.cluster, &detail.trust);
    let bundle = Line {
        href: cluster.bundle.as_ref().map(|digest| format!("/bundles#{digest}")),
        ..line("manifest", cluster.bundle.clone(), true)
    };
    let decided = match (&trust.decided_by, trust.decided) {
        (Some(by), Some(at)) => Some(format!("{by}, {}", at.full())),
        _ => None,
    };
    vec![
        line("version", cluster.bundle_version.map(|v| v.to_string()), false),
        bundle,
        line("policy set", trust.policy_set.clone(), true),
        line("snapshot", cluster.snapshot.map(|at| at.full()), false),
        line("agent", Some(cluster.agent_version.clone()).filter(|t| !t.is_empty()), true),
        line("Kubernetes", Some(cluster.server_version.clone()).filter(|t| !t.is_empty()), true),
        line("clock offset", Some(format!("{} ms", cluster.clock_offset_ms)), false),
        line("cluster id", Some(cluster.id.clone()), true),
        line("cluster uid", Some(trust.cluster_uid.clone()), true),
        line("identity key", Some(trust.identity_key.clone()), true),
        line("grant", Some(format!("version {}", trust.grant_version)), false),
        line(
            "certificate",
            trust.certificate_until.map(|at| format!("until {}", at.full())),
            false,
        ),
        line("decided by", decided, false),
        line("enrolled", Some(cluster.enrolled.full()), false),
    ]
}

pub fn event(json: &EventJson) -> Event {
    let text = match &json.detail {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    Event {
        when: json.valid.full(),
        iso: json.valid.iso(),
        what: visible(&format!("{} {}", json.kind, json.event)),
        detail: visible(&text.chars().take(MAX_DETAIL_CHARS).collect::<String>()),
    }
}
