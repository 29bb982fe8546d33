//! Findings: filters by address, causes before rows, exact counts.

use askama::Template;
use axum::extract::State;
use provost_model::ClusterId;

use super::causes::{CauseView, cause};
use super::chip::{Chip, Face};
use super::shell::{Html, PageError, PageResult, Section, Shell, surroundings};
use super::words::{counted, number, visible};
use crate::api::cursor::Scope;
use crate::api::findings::{CauseJson, path_text, state_of};
use crate::api::hub::Hub;
use crate::api::page::{Paging, Query};
use crate::api::query::RowQuery;
use crate::auth::Principal;
use crate::stamp::Stamp;
use crate::store::findings::FindingRow;
use crate::store::identity::Cluster;

const MAX_CAUSES: u32 = 20;

#[derive(Template)]
#[template(path = "findings.html")]
pub struct FindingsPage {
    shell: Shell,
    headline: String,
    states: Vec<&'static str>,
    severities: Vec<&'static str>,
    state: String,
    severity: String,
    cluster: String,
    policy: String,
    namespace: String,
    text: String,
    kept: Vec<Hidden>,
    filtered: bool,
    facets: Vec<Chip>,
    causes: Vec<CauseView>,
    causes_text: String,
    rows_text: String,
    rows: Vec<Row>,
    paged: bool,
    next: Option<String>,
    first: String,
}

/// A filter that the form does not show and must not lose.
pub struct Hidden {
    pub name: &'static str,
    pub value: String,
}

struct Row {
    chip: Chip,
    away: bool,
    severity: String,
    href: String,
    title: String,
    code: String,
    object: String,
    path: String,
    message: String,
    cluster: String,
    cluster_href: String,
    since: String,
    since_iso: String,
}

impl Hidden {
    /// The set filters besides those that the form has fields for.
    pub fn of(query: &RowQuery, shown: &[&str]) -> Vec<Self> {
        let text = |field: &Option<String>| field.clone();
        [
            ("state", text(&query.state)),
            ("severity", text(&query.severity)),
            ("minSeverity", text(&query.min_severity)),
            ("cluster", text(&query.cluster)),
            ("policy", text(&query.policy)),
            ("binding", text(&query.binding)),
            ("category", text(&query.category)),
            ("namespace", text(&query.namespace)),
            ("kind", text(&query.kind)),
            ("template", text(&query.template)),
            ("fingerprint", text(&query.fingerprint)),
            ("q", text(&query.q)),
            ("scored", query.scored.filter(|s| *s).map(|_| "true".to_owned())),
        ]
        .into_iter()
        .filter(|(name, _)| !shown.contains(name))
        .filter_map(|(name, value)| Some(Self { name, value: value? }))
        .collect()
    }
}

pub async fn page(
    State(hub): State<Hub>,
    principal: Principal,
    Query(query): Query<RowQuery>,
    Query(paging): Query<Paging>,
) -> PageResult<FindingsPage> {
    let fleet = surroundings(&hub).await?;
    let stale = fleet.stale_ids();
    let approved: Vec<Cluster> = fleet.approved().map(|v| v.cluster.clone()).collect();
    let search = query.q.clone().unwrap_or_default();
    let query = query.normalised()?;
    let filter = query.finding_filter(&approved)?;
    let scope = Scope::new("findings", &filter);
    let (limit, after) = (paging.limit()?, paging.position(&scope)?);
    let total = hub.store.count_findings(&filter, &stale).await?;
    let mut found = hub.store.findings(&filter, &stale, after.as_ref(), limit + 1).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|row| {
        query.link("/findings").with("cursor", scope.encode(&row.position())).to_string()
    });
    let (causes, cause_total) = hub.store.causes(&filter, &stale, MAX_CAUSES).await?;
    let causes: Vec<CauseJson> = causes.into_iter().map(CauseJson::from).collect();
    let shown = u64::try_from(found.len()).unwrap_or(u64::MAX);
    let mut shell = Shell::new("Findings", Section::Findings, &principal, &fleet)
        .twins(twin(&query), query.link("/api/v1/findings").to_string());
    shell.query = search;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Ok(Html(FindingsPage {
        shell,
        headline: headline(total, cause_total, query.state.as_deref()),
        states: vec!["fail", "warn", "exempt", "stale", "closed"],
        severities: vec!["critical", "high", "medium", "low", "info"],
        filtered: query != RowQuery::default(),
        facets: facets(&hub, &query, &approved, &stale).await?,
        causes_text: cause_count(causes.len(), cause_total),
        causes: causes.iter().map(|c| cause(c, &query, fleet.now)).collect(),
        rows_text: if shown == total {
            "all rows, worst first".to_owned()
        } else {
            format!("{} of {} on this page, worst first", number(shown), number(total))
        },
        kept: Hidden::of(&query, &["state", "severity", "cluster", "policy", "namespace", "q"]),
        state: text(&query.state),
        severity: text(&query.severity),
        cluster: text(&query.cluster),
        policy: text(&query.policy),
        namespace: text(&query.namespace),
        text: text(&query.q),
        rows: found.into_iter().map(|finding| row(finding, &stale, fleet.now)).collect(),
        paged: next.is_some() || after.is_some(),
        next,
        first: query.link("/findings").to_string(),
    }))
}

fn headline(total: u64, causes: u64, state: Option<&str>) -> String {
    let word = match state {
        None | Some("") => "open ".to_owned(),
        Some(state) => format!("{} ", visible(state)),
    };
    let findings = if total == 1 { "finding" } else { "findings" };
    if total == 0 {
        return format!("No {word}finding matches.");
    }
    format!("{} {word}{findings} of {}", number(total), counted(causes, "cause"))
}

fn cause_count(shown: usize, total: u64) -> String {
    let shown = u64::try_from(shown).unwrap_or(u64::MAX);
    if shown < total {
        format!("the {} worst of {}", number(shown), number(total))
    } else {
        counted(total, "cause")
    }
}

/// How many rows each state would show under the other filters.
async fn facets(
    hub: &Hub,
    query: &RowQuery,
    approved: &[Cluster],
    stale: &[ClusterId],
) -> Result<Vec<Chip>, PageError> {
    let mut chips = Vec::new();
    for (word, face) in [
        ("fail", Face::Fail),
        ("warn", Face::Warn),
        ("exempt", Face::Exempt),
        ("stale", Face::Stale),
        ("closed", Face::Closed),
    ] {
        let query = RowQuery { state: Some(word.to_owned()), ..query.clone() };
        let filter = query.finding_filter(approved)?;
        let count = hub.store.count_findings(&filter, stale).await?;
        let chip = Chip::count(face, count, word);
        chips.push(if count == 0 { chip } else { chip.link(query.link("/findings")) });
    }
    Ok(chips)
}

/// The page's twin on the command line.
fn twin(query: &RowQuery) -> String {
    let mut command = "provost fleet findings".to_owned();
    for (flag, value) in [
        ("--state", &query.state),
        ("--severity", &query.severity),
        ("--min-severity", &query.min_severity),
        ("--cluster", &query.cluster),
        ("--policy", &query.policy),
        ("--namespace", &query.namespace),
        ("--kind", &query.kind),
        ("--template", &query.template),
        ("--fingerprint", &query.fingerprint),
        ("--text", &query.q),
    ] {
        if let Some(value) = value {
            // Quoted for a shell: whoever copies the line must not run what a cluster wrote.
            command.push_str(&format!(" {flag} '{}'", visible(value).replace('\'', "'\\''")));
        }
    }
    command
}

/// A finding's chip: its state, and for one that is away or closed what it was.
pub fn chip(row: &FindingRow, stale: bool) -> Chip {
    match state_of(row, stale) {
        "stale" => Chip::new(Face::Stale, format!("stale, was {}", row.outcome)),
        "closed" => Chip::new(Face::Closed, "closed"),
        _ => Chip::new(Face::from(row.outcome), row.outcome.as_str()),
    }
}

/// `Deployment shop/cart`, as people name an object.
pub fn object_name(kind: &str, namespace: &str, name: &str) -> String {
    let text = match (kind, namespace) {
        ("", _) => name.to_owned(),
        (kind, "") => format!("{kind} {name}"),
        (kind, namespace) => format!("{kind} {namespace}/{name}"),
    };
    visible(&text)
}

fn row(finding: FindingRow, stale: &[ClusterId], now: Stamp) -> Row {
    let away = stale.contains(&finding.cluster);
    let since = Stamp(finding.closed_valid_at_ms.unwrap_or(finding.opened_valid_at_ms));
    Row {
        chip: chip(&finding, away),
        away,
        severity: finding.severity.to_string(),
        href: format!("/findings/{}/{}/{}", finding.cluster, finding.binding, finding.fingerprint),
        title: visible(&finding.policy_title),
        object: object_name(&finding.kind, &finding.namespace, &finding.name),
        path: visible(&path_text(&finding.path)),
        message: visible(&finding.message),
        cluster: visible(&finding.cluster_name),
        cluster_href: format!("/clusters/{}", finding.cluster),
        since: since.brief(now),
        since_iso: since.iso(),
        code: finding.policy_code,
    }
}
