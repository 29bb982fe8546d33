//! Enrolment tokens by API: what `provost fleet token create` makes an agent's token of.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use provost_model::Labels;
use serde::{Deserialize, Serialize};

use super::cursor::Scope;
use super::hub::Hub;
use super::page::{Body, Page, Paging, Query};
use super::ports::EnrolTokenRequest;
use super::problem::Problem;
use super::tokens::name;
use crate::auth::Principal;
use crate::stamp::Stamp;
use crate::store::identity::TokenRow;

#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrolTokenBody {
    /// Name of the cluster; empty: the agent's own.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub labels: Labels,
    /// Seconds; 15 minutes where missing and at most.
    #[serde(default)]
    pub ttl_s: Option<u64>,
}

/// What `provost fleet token create` puts into the string that an agent is given; the root's hash
/// it adds from the operator's own file.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedEnrolTokenJson {
    pub secret: String,
    pub trust_domain: String,
    pub ca_digest: String,
    /// Where agents reach the hub.
    pub hubs: Vec<String>,
    pub expires: Stamp,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolTokenJson {
    /// First digits of the hash, for people.
    pub id: String,
    pub name: String,
    pub labels: Labels,
    pub created: Stamp,
    pub created_by: String,
    pub expires: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_by: Option<String>,
}

#[utoipa::path(get, path = "/api/v1/enrol-tokens", tag = "access",
    params(Paging),
    responses((status = 200, body = Page<EnrolTokenJson>), (status = "default", body = Problem)))]
pub async fn list_enrol(
    State(hub): State<Hub>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<EnrolTokenJson>>, Problem> {
    let rows = hub.store.tokens().await?;
    let show = |row: TokenRow| EnrolTokenJson {
        id: row.token.short(),
        name: row.display_name,
        labels: row.labels,
        created: Stamp(row.created_at_ms),
        created_by: row.created_by,
        expires: Stamp(row.expires_at_ms),
        used: row.used_at_ms.map(Stamp),
        used_by: row.used_by.map(|cluster| cluster.to_string()),
    };
    let key = |row: &TokenRow| (row.created_at_ms, row.token.short());
    Page::of_whole(rows, &paging, &Scope::new("enrol-tokens", &()), key, show).map(Json)
}

#[utoipa::path(post, path = "/api/v1/enrol-tokens", tag = "access", request_body = EnrolTokenBody,
    responses((status = 201, body = IssuedEnrolTokenJson), (status = "default", body = Problem)))]
pub async fn create_enrol(
    State(hub): State<Hub>,
    principal: Principal,
    Body(body): Body<EnrolTokenBody>,
) -> Result<(StatusCode, Json<IssuedEnrolTokenJson>), Problem> {
    let display_name = if body.name.is_empty() { String::new() } else { name(&body.name)? };
    let request = EnrolTokenRequest { display_name, labels: body.labels, life_s: body.ttl_s };
    let issued = hub.operate.create_enrol_token(request, &principal.actor()).await?;
    let facts = hub.operate.facts();
    let json = IssuedEnrolTokenJson {
        secret: issued.secret,
        trust_domain: facts.trust_domain,
        ca_digest: facts.ca_digest,
        hubs: facts.agent_urls,
        expires: Stamp(issued.expires_at_ms),
    };
    Ok((StatusCode::CREATED, Json(json)))
}
