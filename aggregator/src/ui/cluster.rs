//! One cluster: namespaces by category, its agent, its bundle, what is missing.

mod matrix;
mod parts;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Redirect;
use provost_model::ClusterId;
use serde::Deserialize;

use self::matrix::{MatrixRow, matrix};
use self::parts::{Alarm, Event, InstanceView, Label, Line};
use super::chip::Chip;
use super::clusters::chip;
use super::fleet::{Fact, heard, state_chips};
use super::gaps::{self, GapView};
use super::shell::{Html, PageError, PageResult, Section, Shell, surroundings};
use super::verdicts::{NotEvaluatedView, unevaluated};
use super::words::{counted, number, visible};
use crate::api::cluster_detail::{self, ClusterDetail};
use crate::api::hub::Hub;
use crate::api::page::PathOf;
use crate::api::ports::ApproveRequest;
use crate::api::problem::Problem;
use crate::api::query::RowQuery;
use crate::api::view::{ClusterView, FleetView};
use crate::auth::Principal;
use crate::link::Link;
use crate::store::identity::ClusterStatus;
use crate::tally::percent;

#[derive(Template)]
#[template(path = "cluster.html")]
pub struct ClusterPage {
    shell: Shell,
    id: String,
    name: String,
    chip: Chip,
    labels: Vec<Label>,
    sentence: String,
    pending: bool,
    revocable: bool,
    identity_key: String,
    alarms: Vec<Alarm>,
    facts: Vec<Fact>,
    away: bool,
    away_text: String,
    states: Vec<Chip>,
    verdicts_href: String,
    categories: Vec<String>,
    matrix: Vec<MatrixRow>,
    instances: Vec<InstanceView>,
    instances_text: String,
    configuration: Vec<Line>,
    not_evaluated: Vec<NotEvaluatedView>,
    not_evaluated_text: String,
    gaps: Vec<GapView>,
    gaps_text: String,
    events: Vec<Event>,
}

pub async fn page(
    State(hub): State<Hub>,
    principal: Principal,
    PathOf(id): PathOf<ClusterId>,
) -> PageResult<ClusterPage> {
    let fleet = surroundings(&hub).await?;
    let view = fleet.clusters.iter().find(|v| v.cluster.id == id);
    let view = view.ok_or_else(|| Problem::not_found("cluster"))?;
    let detail = cluster_detail::load(&hub, id).await?;
    let counts = hub.store.namespace_counts(Some(id)).await?;
    let policies = hub.store.policies().await?;
    let (categories, rows) = matrix(view, &counts, &policies);
    let id = id.to_string();
    let shell =
        Shell::new(visible(&view.cluster.display_name), Section::Clusters, &principal, &fleet)
            .twins(
                format!("provost fleet status --cluster {id}"),
                format!("/api/v1/clusters/{id}"),
            );
    let of_cluster = RowQuery { cluster: Some(id.clone()), ..RowQuery::default() };
    let (declared, undeclared) = gaps::totals(&detail.gaps);
    let status = view.cluster.status;
    let away = view.is_stale();
    Ok(Html(ClusterPage {
        shell,
        name: visible(&view.cluster.display_name),
        chip: chip(view, fleet.now),
        labels: parts::labels(&view.cluster.labels),
        sentence: sentence(view, &fleet),
        pending: status == ClusterStatus::Pending,
        revocable: status == ClusterStatus::Approved,
        identity_key: detail.trust.identity_key.clone(),
        alarms: detail
            .alarms
            .iter()
            .filter(|a| a.resolved.is_none())
            .map(|a| parts::alarm(a, fleet.now))
            .collect(),
        facts: facts(view, &detail, &fleet),
        away,
        away_text: heard(view, fleet.now),
        states: state_chips(&view.tally.states, &of_cluster),
        verdicts_href: of_cluster.link("/verdicts").to_string(),
        categories,
        matrix: rows,
        instances_text: counted(len(&detail.instances), "instance"),
        instances: detail.instances.iter().map(|i| parts::instance(i, fleet.now)).collect(),
        configuration: parts::configuration(&detail),
        not_evaluated_text: counted(len(&detail.not_evaluated), "row"),
        gaps_text: format!("{declared}, {undeclared}"),
        gaps: detail.gaps.iter().map(|gap| gaps::view(gap, &fleet)).collect(),
        events: detail.events.iter().map(parts::event).collect(),
        not_evaluated: detail
            .not_evaluated
            .into_iter()
            .map(|row| unevaluated(row, &fleet))
            .collect(),
        id,
    }))
}

fn len<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

fn sentence(view: &ClusterView, fleet: &FleetView) -> String {
    match view.cluster.status {
        ClusterStatus::Pending => "It asked to join and waits for an operator.".to_owned(),
        ClusterStatus::Rejected => "It was not let in.".to_owned(),
        ClusterStatus::Revoked => {
            "It was let go: its sessions are closed, its verdicts count nowhere.".to_owned()
        }
        ClusterStatus::Approved if !view.fresh => {
            format!(
                "It is away ({}). What stands here is what it said last.",
                heard(view, fleet.now)
            )
        }
        ClusterStatus::Approved => match view.cluster.snapshot_at_ms {
            None => {
                "Its first snapshot has not ended: the numbers are not complete yet.".to_owned()
            }
            Some(_) => format!(
                "{} compliant, {} open.",
                percent(view.tally.score()),
                counted(view.open_total(), "finding")
            ),
        },
    }
}

fn facts(view: &ClusterView, detail: &ClusterDetail, fleet: &FleetView) -> Vec<Fact> {
    let id = view.cluster.id.to_string();
    let fact =
        |value: String, label: &str, href: String| Fact { value, label: label.to_owned(), href };
    let of = |path: &str| Link::to(path).with("cluster", &id);
    let bundle = match (view.cluster.active_version, view.cluster.active_manifest) {
        (Some(version), Some(_)) => format!("v{version}"),
        (None, Some(digest)) => digest.short(),
        _ => "none".to_owned(),
    };
    vec![
        fact(
            percent(view.tally.score()),
            "score, pass of pass + fail",
            of("/verdicts").with("state", "pass,fail").with("scored", "true").into(),
        ),
        fact(percent(view.tally.coverage()), "coverage", "#not-evaluated".to_owned()),
        fact(
            detail.cluster.last_heard.map_or_else(|| "never".to_owned(), |at| at.ago(fleet.now)),
            "last heard",
            "#agent".to_owned(),
        ),
        fact(number(view.open_total()), "open findings", of("/findings").into()),
        fact(bundle, "bundle in force", "#bundle".to_owned()),
    ]
}

#[derive(Deserialize)]
pub struct RevokeForm {
    #[serde(default)]
    reason: String,
}

pub async fn approve(
    State(hub): State<Hub>,
    principal: Principal,
    PathOf(cluster): PathOf<ClusterId>,
) -> Result<Redirect, PageError> {
    let request = ApproveRequest { cluster, display_name: None, labels: None, grant: None };
    hub.operate.approve(request, &principal.actor()).await?;
    Ok(Redirect::to(&format!("/clusters/{cluster}")))
}

pub async fn revoke(
    State(hub): State<Hub>,
    principal: Principal,
    PathOf(cluster): PathOf<ClusterId>,
    Form(form): Form<RevokeForm>,
) -> Result<Redirect, PageError> {
    hub.operate.dismiss(cluster, &form.reason, &principal.actor()).await?;
    Ok(Redirect::to(&format!("/clusters/{cluster}")))
}
