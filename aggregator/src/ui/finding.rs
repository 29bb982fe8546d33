//! One finding: evidence, fix, its four gates, where else, and what happened to it.

mod gates;
mod patch;

use askama::Template;
use axum::extract::State;
use provost_model::{ClusterId, PolicyMeta};
use serde_json::Value;

use self::gates::{Gate, gates};
use self::patch::{PatchLine, patch_lines};
use super::chip::{Chip, Face};
use super::findings::{chip, object_name};
use super::shell::{Html, PageError, PageResult, Section, Shell, surroundings};
use super::words::{counted, number, visible};
use crate::api::findings::{FindingKey, path_text, state_of};
use crate::api::hub::Hub;
use crate::api::page::PathOf;
use crate::api::query::RowQuery;
use crate::api::view::FleetView;
use crate::auth::Principal;
use crate::stamp::Stamp;
use crate::store::findings::{FindingFilter, FindingRow};
use crate::store::history::{ObjectName, TransitionRow};

const MAX_PLACES: u32 = 20;
const MAX_TRANSITIONS: u32 = 100;
const MAX_ADMISSIONS: u32 = 20;

#[derive(Template)]
#[template(path = "finding.html")]
pub struct FindingPage {
    shell: Shell,
    title: String,
    object: String,
    code_or_policy: String,
    policy_href: String,
    chip: Chip,
    severity: String,
    message: String,
    spread: String,
    others_href: Option<String>,
    others_text: String,
    gates: Vec<Gate>,
    location: String,
    path: String,
    evidence: String,
    patch: Vec<PatchLine>,
    remediation: String,
    where_text: String,
    where_total: String,
    places: Vec<Place>,
    facts: Vec<Line>,
    history: Vec<Change>,
}

struct Place {
    cluster: String,
    href: String,
    chip: Chip,
    away: bool,
    since: String,
    heard: String,
}

struct Line {
    name: &'static str,
    value: String,
    mono: bool,
}

struct Change {
    when: String,
    iso: String,
    from: Option<Chip>,
    to: Option<Chip>,
    why: String,
    received: String,
}

pub async fn page(
    State(hub): State<Hub>,
    principal: Principal,
    PathOf(key): PathOf<FindingKey>,
) -> PageResult<FindingPage> {
    let row = key.find(&hub).await?;
    let fleet = surroundings(&hub).await?;
    let stale = fleet.stale_ids();
    let away = stale.contains(&row.cluster);
    let meta = policy_meta(&hub, &row).await?;
    let (places, total) = places(&hub, &row, &fleet, &stale).await?;
    let object = ObjectName {
        group: row.group.clone(),
        kind: row.kind.clone(),
        namespace: row.namespace.clone(),
        name: row.name.clone(),
    };
    let admissions = hub.store.admissions(Some(row.cluster), Some(&object), MAX_ADMISSIONS).await?;
    let history = hub
        .store
        .transitions(row.cluster, &row.subject_key, &row.policy, &row.binding, MAX_TRANSITIONS)
        .await?;
    let query = RowQuery { fingerprint: Some(row.fingerprint.to_string()), ..RowQuery::default() };
    let others = query.link("/findings").to_string();
    let policy = RowQuery { policy: Some(row.policy.to_string()), ..RowQuery::default() };
    let address = format!("/findings/{}/{}/{}", row.cluster, row.binding, row.fingerprint);
    let title = visible(&row.policy_title);
    let code = &row.policy_code;
    let attributes: Value = serde_json::from_str(&row.attributes).unwrap_or_default();
    Ok(Html(FindingPage {
        shell: Shell::new(
            format!("{code} {}", visible(&row.name)),
            Section::Findings,
            &principal,
            &fleet,
        )
        .twins(
            format!("provost fleet findings --fingerprint {}", row.fingerprint),
            format!("/api/v1{address}"),
        ),
        object: object_name(&row.kind, &row.namespace, &row.name),
        code_or_policy: if code.is_empty() { row.policy.to_string() } else { code.clone() },
        policy_href: policy.link("/findings").to_string(),
        chip: chip(&row, away),
        severity: row.severity.to_string(),
        message: visible(&row.message),
        spread: spread(total),
        others_href: (total > 0).then_some(others),
        others_text: format!("Everywhere it stands ({})", number(total)),
        gates: gates(&row, &attributes, away, &admissions, fleet.now),
        location: location(&attributes, row.line),
        path: evidence_path(&row),
        evidence: visible(&row.message),
        patch: patch_lines(row.patch.as_deref()),
        remediation: remediation(meta.as_ref()),
        where_text: counted(total, "open finding"),
        where_total: number(total),
        places,
        facts: facts(&row, &attributes, meta.as_ref(), &fleet),
        history: history.iter().map(change).collect(),
        title,
    }))
}

async fn policy_meta(hub: &Hub, row: &FindingRow) -> Result<Option<PolicyMeta>, PageError> {
    let text = hub.store.policy_meta(row.policy.as_str()).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Open findings of the fingerprint in every cluster, and how many there are.
async fn places(
    hub: &Hub,
    row: &FindingRow,
    fleet: &FleetView,
    stale: &[ClusterId],
) -> Result<(Vec<Place>, u64), PageError> {
    let filter =
        FindingFilter { fingerprint: Some(row.fingerprint.to_string()), ..Default::default() };
    let total = hub.store.count_findings(&filter, stale).await?;
    let rows = hub.store.findings(&filter, stale, None, MAX_PLACES).await?;
    let place = |finding: &FindingRow| {
        let away = stale.contains(&finding.cluster);
        let cluster = fleet.clusters.iter().find(|v| v.cluster.id == finding.cluster);
        let heard = cluster.and_then(|v| v.cluster.last_heard_at_ms);
        Place {
            cluster: visible(&finding.cluster_name),
            href: format!(
                "/findings/{}/{}/{}",
                finding.cluster, finding.binding, finding.fingerprint
            ),
            chip: chip(finding, away),
            away,
            since: Stamp(finding.opened_valid_at_ms).brief(fleet.now),
            heard: heard.map_or_else(|| "never".to_owned(), |at| Stamp(at).ago(fleet.now)),
        }
    };
    Ok((rows.iter().map(place).collect(), total))
}

fn spread(total: u64) -> String {
    match total {
        0 => "It is open nowhere.".to_owned(),
        1 => "It is open in this one place.".to_owned(),
        n => format!("The same finding is open in {} places.", number(n)),
    }
}

fn location(attributes: &Value, line: Option<i64>) -> String {
    let text = |key: &str| {
        attributes.pointer(&format!("/location/{key}")).and_then(Value::as_str).unwrap_or_default()
    };
    let file = text("file");
    if file.is_empty() {
        return String::new();
    }
    let line = line.or_else(|| attributes.pointer("/location/line").and_then(Value::as_i64));
    let line = line.filter(|line| *line > 0).map_or_else(String::new, |line| format!(":{line}"));
    visible(&format!("{file}{line}"))
}

fn evidence_path(row: &FindingRow) -> String {
    match path_text(&row.path).as_str() {
        "" => "the object itself".to_owned(),
        path => visible(path),
    }
}

fn remediation(meta: Option<&PolicyMeta>) -> String {
    match meta {
        Some(meta) if !meta.remediation.is_empty() => visible(&meta.remediation),
        _ => "The policy offers no fix in words.".to_owned(),
    }
}

fn facts(
    row: &FindingRow,
    attributes: &Value,
    meta: Option<&PolicyMeta>,
    fleet: &FleetView,
) -> Vec<Line> {
    let line = |name, value: String, mono| Line { name, value: visible(&value), mono };
    let mut lines = Vec::new();
    if let Some(meta) = meta {
        lines.push(line("asks for", meta.description.clone(), false));
        let controls: Vec<String> = meta
            .controls
            .iter()
            .map(|c| format!("{} {} {}", c.framework, c.version, c.id))
            .collect();
        if !controls.is_empty() {
            lines.push(line("satisfies", controls.join(", "), false));
        }
    }
    lines.push(line("severity", row.severity.to_string(), false));
    lines.push(line("action", row.action.to_string(), false));
    lines.push(line("policy", row.policy.to_string(), true));
    lines.push(line("binding", row.binding.to_string(), true));
    let cluster = fleet.clusters.iter().find(|v| v.cluster.id == row.cluster);
    let bundle = cluster.and_then(|v| {
        Some(format!(
            "v{} sha256:{}",
            v.cluster.active_version?,
            v.cluster.active_manifest?.short()
        ))
    });
    lines.push(line("decided by", bundle.unwrap_or_else(|| "no bundle".to_owned()), true));
    lines.push(line("saw", evidence_path(row), true));
    lines.push(line("template", row.template.clone(), false));
    let owner = attributes.get("owner").and_then(Value::as_str).unwrap_or_default();
    if !owner.is_empty() {
        lines.push(line("owner", owner.to_owned(), false));
    }
    lines.push(line("fingerprint", row.fingerprint.to_string(), true));
    lines.push(line("first seen", Stamp(row.first_valid_at_ms).full(), false));
    if let Some(closed) = row.closed_valid_at_ms {
        let why = row.close_reason.clone().unwrap_or_default();
        lines.push(line("closed", format!("{} {why}", Stamp(closed).full()), false));
    }
    lines
}

fn change(row: &TransitionRow) -> Change {
    let valid = Stamp(row.valid_at_ms);
    let times =
        if row.coalesced > 1 { format!(" ({} changes)", row.coalesced) } else { String::new() };
    Change {
        when: valid.full(),
        iso: valid.iso(),
        from: row.from_outcome.as_deref().map(outcome_chip),
        to: row.to_outcome.as_deref().map(outcome_chip),
        why: format!("{}{times}", visible(&row.reason)),
        received: Stamp(row.received_at_ms).full(),
    }
}

fn outcome_chip(word: &str) -> Chip {
    match word.parse::<provost_model::Outcome>() {
        Ok(outcome) => Chip::new(Face::from(outcome), word),
        Err(_) => Chip::new(Face::Closed, visible(word)),
    }
}

/// The state of a finding in the words of its run gate.
fn run_words(row: &FindingRow, away: bool) -> &'static str {
    match state_of(row, away) {
        "closed" => "closed",
        "stale" => "was failing when last heard",
        "warn" => "warns now",
        "exempt" => "exempt",
        _ => "failing now",
    }
}
