//! The table of clusters.

use askama::Template;
use axum::extract::State;
use provost_model::{ClusterId, Severity};

use super::chip::{Chip, Face};
use super::fleet::{heard, worst};
use super::shell::{Html, PageResult, Section, Shell, surroundings};
use super::words::{counted, number, visible};
use crate::api::clusters::ClusterQuery;
use crate::api::cursor::Scope;
use crate::api::hub::Hub;
use crate::api::page::{Paging, Query};
use crate::api::view::ClusterView;
use crate::auth::Principal;
use crate::link::Link;
use crate::stamp::Stamp;
use crate::store::identity::ClusterStatus;
use crate::tally::percent;

#[derive(Template)]
#[template(path = "clusters.html")]
pub struct ClustersPage {
    shell: Shell,
    headline: String,
    name: String,
    label: String,
    state: String,
    words: Vec<&'static str>,
    filtered: bool,
    total_text: String,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    name: String,
    labels: String,
    href: String,
    chip: Chip,
    away: bool,
    score: String,
    severities: Vec<Count>,
    coverage: String,
    heard: String,
    agent: String,
    bundle: String,
    bundle_href: Option<String>,
}

struct Count {
    count: String,
    href: String,
}

pub async fn page(
    State(hub): State<Hub>,
    principal: Principal,
    Query(query): Query<ClusterQuery>,
    Query(paging): Query<Paging>,
) -> PageResult<ClustersPage> {
    let scope = Scope::new("clusters", &query);
    let limit = usize::try_from(paging.limit()?).unwrap_or(usize::MAX);
    let after: Option<(String, ClusterId)> = paging.position(&scope)?;
    let fleet = surroundings(&hub).await?;
    let mut selected = query.select(&fleet)?;
    let total = u64::try_from(selected.len()).unwrap_or(u64::MAX);
    if let Some(after) = after {
        selected.retain(|view| view.position() > after);
    }
    let more = selected.len() > limit;
    selected.truncate(limit);
    let link = || {
        Link::to("/clusters")
            .maybe("name", query.name.as_deref())
            .maybe("label", query.label.as_deref())
            .maybe("state", query.state.as_deref())
    };
    let next = selected.last().filter(|_| more);
    let next = next.map(|view| link().with("cursor", scope.encode(&view.position())).to_string());
    let api = link().to_string().replacen("/clusters", "/api/v1/clusters", 1);
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Ok(Html(ClustersPage {
        shell: Shell::new("Clusters", Section::Clusters, &principal, &fleet)
            .twins("provost fleet clusters", api),
        headline: headline(&fleet),
        filtered: [&query.name, &query.label, &query.state]
            .iter()
            .any(|field| field.as_deref().is_some_and(|text| !text.is_empty())),
        name: text(&query.name),
        label: text(&query.label),
        state: text(&query.state),
        words: vec!["fresh", "stale", "pending", "approved", "rejected", "revoked"],
        total_text: counted(total, "cluster"),
        rows: selected.into_iter().map(|view| row(view, fleet.now)).collect(),
        next,
    }))
}

fn headline(fleet: &crate::api::view::FleetView) -> String {
    let approved = fleet.count(|v| v.cluster.status == ClusterStatus::Approved);
    let fresh = fleet.count(|v| v.fresh);
    let pending = fleet.count(|v| v.is_in("pending"));
    let waiting = match pending {
        0 => String::new(),
        n => format!(" {} waiting for approval.", counted(n, "cluster")),
    };
    format!("{} of {} reporting.{waiting}", number(fresh), counted(approved, "cluster"))
}

fn row(view: &ClusterView, now: Stamp) -> Row {
    let cluster = &view.cluster;
    let id = cluster.id.to_string();
    let findings = |severities: &[Severity]| {
        let words: Vec<&str> = severities.iter().map(|s| s.as_str()).collect();
        let href = Link::to("/findings").with("cluster", &id).with("severity", words.join(","));
        let count = severities.iter().map(|severity| view.open_of(*severity)).sum();
        Count { count: number(count), href: href.to_string() }
    };
    let labels: Vec<String> = cluster.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    Row {
        name: visible(&cluster.display_name),
        labels: visible(&labels.join(" ")),
        href: format!("/clusters/{id}"),
        chip: chip(view, now),
        away: !view.fresh,
        score: percent(view.tally.score()),
        severities: vec![
            findings(&[Severity::Critical]),
            findings(&[Severity::High]),
            findings(&[Severity::Medium]),
            findings(&[Severity::Low, Severity::Info]),
        ],
        coverage: percent(view.tally.coverage()),
        heard: cluster.last_heard_at_ms.map_or_else(|| "never".to_owned(), |at| Stamp(at).ago(now)),
        agent: visible(&cluster.agent_version),
        bundle: match (cluster.active_version, cluster.active_manifest) {
            (Some(version), Some(digest)) => format!("v{version} {}", digest.short()),
            (None, Some(digest)) => digest.short(),
            _ => "none".to_owned(),
        },
        bundle_href: cluster.active_manifest.map(|digest| format!("/bundles#{digest}")),
    }
}

/// A cluster's state in a word: its standing, else whether it is heard, else its worst verdict.
pub fn chip(view: &ClusterView, now: Stamp) -> Chip {
    match view.cluster.status {
        ClusterStatus::Pending => Chip::new(Face::NotEvaluated, "waits for approval"),
        ClusterStatus::Rejected => Chip::new(Face::Skip, "rejected"),
        ClusterStatus::Revoked => Chip::new(Face::Skip, "revoked"),
        ClusterStatus::Approved if !view.fresh => Chip::new(Face::Stale, heard(view, now)),
        ClusterStatus::Approved => {
            let (face, words) = worst(view, now);
            Chip::new(face, words)
        }
    }
}
