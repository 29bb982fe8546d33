//! The fleet's numbers by policy and by control.
//!
//! Invariants: the rows by policy add up to the fleet's own numbers; a control's row adds up its
//! policies, so that a policy behind several controls counts in each of them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use provost_model::{PolicyId, Severity};
use serde::Serialize;

use super::hub::Hub;
use super::problem::Problem;
use super::view::FleetView;
use crate::stamp::Stamp;
use crate::store::rollups::PolicyRow;
use crate::tally::{States, Tally};

/// Of these answers' shape.
const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRollups {
    pub version: u32,
    pub as_of: Stamp,
    /// Share of approved clusters heard within their time: what the numbers are made from.
    pub freshness: Option<f64>,
    /// In order of policy.
    pub items: Vec<PolicyRollup>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRollup {
    pub policy: String,
    /// Empty, as title and category, where nothing but its verdicts is known of the policy.
    pub code: String,
    pub title: String,
    pub category: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub severity: Option<Severity>,
    pub states: States,
    /// pass / (pass + fail), 0 to 1, over clusters that are heard; null where nothing is scored.
    pub score: Option<f64>,
    /// Evaluated of expected.
    pub coverage: Option<f64>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlRollups {
    pub version: u32,
    pub as_of: Stamp,
    pub freshness: Option<f64>,
    /// In order of framework, its version and control.
    pub items: Vec<ControlRollup>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlRollup {
    pub framework: String,
    pub framework_version: String,
    pub control: String,
    /// Those that check it, wholly or in part, also where none has a verdict yet.
    pub policies: Vec<ControlPolicy>,
    pub states: States,
    pub score: Option<f64>,
    pub coverage: Option<f64>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPolicy {
    pub policy: String,
    /// How much of the control the policy checks.
    pub strength: String,
    /// `proposed` while no control owner has confirmed the mapping.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub review: String,
}

#[utoipa::path(get, path = "/api/v1/rollups/policies", tag = "fleet",
    responses((status = 200, body = PolicyRollups), (status = "default", body = Problem)))]
pub async fn policies(State(hub): State<Hub>) -> Result<Json<PolicyRollups>, Problem> {
    let view = FleetView::load(&hub).await?;
    let known = hub.store.policies().await?;
    let items = view.policies.iter().map(|(id, tally)| by_policy(id, known.get(id), tally));
    Ok(Json(PolicyRollups {
        version: VERSION,
        as_of: view.now,
        freshness: view.freshness(),
        items: items.collect(),
    }))
}

#[utoipa::path(get, path = "/api/v1/rollups/controls", tag = "fleet",
    responses((status = 200, body = ControlRollups), (status = "default", body = Problem)))]
pub async fn controls(State(hub): State<Hub>) -> Result<Json<ControlRollups>, Problem> {
    let view = FleetView::load(&hub).await?;
    let known = hub.store.policies().await?;
    Ok(Json(ControlRollups {
        version: VERSION,
        as_of: view.now,
        freshness: view.freshness(),
        items: by_control(known.values(), &view.policies),
    }))
}

fn by_policy(id: &PolicyId, known: Option<&PolicyRow>, tally: &Tally) -> PolicyRollup {
    let known_text = |of: fn(&PolicyRow) -> &String| known.map(of).cloned().unwrap_or_default();
    PolicyRollup {
        policy: id.to_string(),
        code: known_text(|row| &row.code),
        title: known_text(|row| &row.title),
        category: known_text(|row| &row.category),
        severity: known.map(|row| row.severity),
        states: tally.states,
        score: tally.score(),
        coverage: tally.coverage(),
    }
}

fn by_control<'a>(
    known: impl Iterator<Item = &'a PolicyRow>,
    tallies: &BTreeMap<PolicyId, Tally>,
) -> Vec<ControlRollup> {
    let mut controls: BTreeMap<_, (Vec<ControlPolicy>, Tally)> = BTreeMap::new();
    for policy in known {
        for control in &policy.controls {
            let key = (&control.framework, &control.version, &control.id);
            let (policies, tally) = controls.entry(key).or_default();
            policies.push(ControlPolicy {
                policy: policy.id.to_string(),
                strength: control.strength.to_string(),
                review: control.review.clone(),
            });
            if let Some(of_policy) = tallies.get(&policy.id) {
                tally.merge(of_policy);
            }
        }
    }
    let mut items = Vec::new();
    for ((framework, version, control), (policies, tally)) in controls {
        items.push(ControlRollup {
            framework: framework.clone(),
            framework_version: version.clone(),
            control: control.clone(),
            policies,
            states: tally.states,
            score: tally.score(),
            coverage: tally.coverage(),
        });
    }
    items
}
