//! Verdicts as rows, and what gives none: where the numbers of every other page lead.

use askama::Template;
use axum::extract::State;

use super::chip::{Chip, Face};
use super::findings::{Hidden, object_name};
use super::shell::{Html, PageResult, Section, Shell, surroundings};
use super::words::{counted, number, visible};
use crate::api::cluster_detail::{NotEvaluatedJson, not_evaluated};
use crate::api::cursor::Scope;
use crate::api::fleet::OfCluster;
use crate::api::hub::Hub;
use crate::api::page::{Paging, Query};
use crate::api::query::RowQuery;
use crate::api::view::FleetView;
use crate::auth::Principal;
use crate::stamp::Stamp;
use crate::store::identity::Cluster;
use crate::store::verdicts::VerdictRow;

#[derive(Template)]
#[template(path = "verdicts.html")]
pub struct VerdictsPage {
    shell: Shell,
    headline: String,
    states: Vec<&'static str>,
    state: String,
    cluster: String,
    policy: String,
    category: String,
    namespace: String,
    text: String,
    kept: Vec<Hidden>,
    filtered: bool,
    rows_text: String,
    rows: Vec<Row>,
    paged: bool,
    next: Option<String>,
    first: String,
}

struct Row {
    chip: Chip,
    away: bool,
    severity: String,
    title: String,
    code: String,
    binding: String,
    object: String,
    message: String,
    cluster: String,
    cluster_href: String,
    findings: String,
    since: String,
}

#[derive(Template)]
#[template(path = "not-evaluated.html")]
pub struct NotEvaluatedPage {
    shell: Shell,
    headline: String,
    rows_text: String,
    rows: Vec<NotEvaluatedView>,
}

pub struct NotEvaluatedView {
    pub cluster: String,
    pub href: String,
    pub policy: String,
    pub binding: String,
    pub kind: String,
    pub chip: Chip,
    pub detail: String,
}

pub async fn page(
    State(hub): State<Hub>,
    principal: Principal,
    Query(query): Query<RowQuery>,
    Query(paging): Query<Paging>,
) -> PageResult<VerdictsPage> {
    let fleet = surroundings(&hub).await?;
    let stale = fleet.stale_ids();
    let approved: Vec<Cluster> = fleet.approved().map(|v| v.cluster.clone()).collect();
    let query = query.normalised()?;
    let filter = query.verdict_filter(&approved, &stale)?;
    let scope = Scope::new("verdicts", &filter);
    let (limit, after) = (paging.limit()?, paging.position(&scope)?);
    let total = hub.store.count_verdicts(&filter).await?;
    let mut rows = hub.store.verdicts(&filter, after.as_ref(), limit + 1).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| {
        query.link("/verdicts").with("cursor", scope.encode(&row.position())).to_string()
    });
    let shown = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Ok(Html(VerdictsPage {
        shell: Shell::new("Verdicts", Section::Verdicts, &principal, &fleet)
            .twins(String::new(), query.link("/api/v1/verdicts").to_string()),
        headline: format!("{}{}", counted(total, "verdict"), in_state(query.state.as_deref())),
        states: vec!["pass", "fail", "warn", "error", "skip", "exempt", "stale"],
        filtered: query != RowQuery::default(),
        rows_text: if shown == total {
            "all rows".to_owned()
        } else {
            format!("{} of {} on this page", number(shown), number(total))
        },
        kept: Hidden::of(&query, &["state", "cluster", "policy", "category", "namespace", "q"]),
        state: text(&query.state),
        cluster: text(&query.cluster),
        policy: text(&query.policy),
        category: text(&query.category),
        namespace: text(&query.namespace),
        text: text(&query.q),
        rows: rows.into_iter().map(|verdict| row(verdict, &fleet)).collect(),
        paged: next.is_some() || after.is_some(),
        next,
        first: query.link("/verdicts").to_string(),
    }))
}

pub async fn without(
    State(hub): State<Hub>,
    principal: Principal,
    Query(of): Query<OfCluster>,
) -> PageResult<NotEvaluatedPage> {
    let fleet = surroundings(&hub).await?;
    let rows = not_evaluated(&hub, of.id()?).await?;
    let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    Ok(Html(NotEvaluatedPage {
        shell: Shell::new("Not evaluated", Section::Verdicts, &principal, &fleet)
            .twins(String::new(), "/api/v1/not-evaluated"),
        headline: format!("{} not evaluated", number(total)),
        rows_text: counted(total, "row"),
        rows: rows.into_iter().map(|row| unevaluated(row, &fleet)).collect(),
    }))
}

pub fn unevaluated(json: NotEvaluatedJson, fleet: &FleetView) -> NotEvaluatedView {
    let name = fleet.clusters.iter().find(|v| v.cluster.id.to_string() == json.cluster);
    let kind = match (json.group.as_str(), json.kind.as_str()) {
        ("", "") => "every kind".to_owned(),
        ("", kind) => kind.to_owned(),
        (group, kind) => format!("{kind}.{group}"),
    };
    NotEvaluatedView {
        cluster: name.map_or_else(|| json.cluster.clone(), |v| visible(&v.cluster.display_name)),
        href: format!("/clusters/{}", json.cluster),
        policy: json.policy,
        binding: json.binding,
        kind: visible(&kind),
        chip: Chip::new(Face::NotEvaluated, json.reason),
        detail: visible(&json.detail),
    }
}

fn in_state(state: Option<&str>) -> String {
    match state {
        None | Some("") => String::new(),
        Some(state) => format!(": {}", visible(state)),
    }
}

fn row(verdict: VerdictRow, fleet: &FleetView) -> Row {
    let away = fleet.clusters.iter().any(|v| v.cluster.id == verdict.cluster && v.is_stale());
    let chip = match (away, verdict.underlying) {
        (true, _) => Chip::new(Face::Stale, format!("stale, was {}", verdict.outcome)),
        (false, Some(underlying)) => Chip::new(
            Face::from(verdict.outcome),
            format!("{}, else {underlying}", verdict.outcome),
        ),
        (false, None) => Chip::new(Face::from(verdict.outcome), verdict.outcome.as_str()),
    };
    let reason = match verdict.code.as_str() {
        "" => verdict.message,
        code => format!("{code} {}", verdict.message),
    };
    Row {
        chip,
        away,
        severity: verdict.severity.to_string(),
        title: visible(&verdict.policy_title),
        code: verdict.policy_code,
        binding: if verdict.binding.is_default() {
            String::new()
        } else {
            verdict.binding.to_string()
        },
        object: object_name(&verdict.kind, &verdict.namespace, &verdict.name),
        message: visible(&reason),
        cluster: visible(&verdict.cluster_name),
        cluster_href: format!("/clusters/{}", verdict.cluster),
        findings: number(verdict.findings_total),
        since: Stamp(verdict.since_valid_at_ms).brief(fleet.now),
    }
}
