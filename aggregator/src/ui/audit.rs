//! The audit log: who did what, when, with which result.

use askama::Template;
use axum::extract::State;

use super::shell::{Html, PageResult, Section, Shell, surroundings};
use super::words::visible;
use crate::api::evidence::{AuditJson, audit_page};
use crate::api::hub::Hub;
use crate::api::page::{Paging, Query};
use crate::auth::Principal;
use crate::link::Link;

#[derive(Template)]
#[template(path = "audit.html")]
pub struct AuditLogPage {
    shell: Shell,
    rows: Vec<AuditJson>,
    next: Option<String>,
}

pub async fn page(
    State(hub): State<Hub>,
    principal: Principal,
    Query(paging): Query<Paging>,
) -> PageResult<AuditLogPage> {
    let fleet = surroundings(&hub).await?;
    let page = audit_page(&hub, &paging).await?;
    let clean = |row: AuditJson| AuditJson {
        actor: visible(&row.actor),
        action: visible(&row.action),
        target: visible(&row.target),
        result: visible(&row.result),
        detail: visible(&row.detail),
        ..row
    };
    Ok(Html(AuditLogPage {
        shell: Shell::new("Audit log", Section::Audit, &principal, &fleet)
            .twins(String::new(), "/api/v1/audit"),
        rows: page.items.into_iter().map(clean).collect(),
        next: page.next.map(|cursor| Link::to("/audit").with("cursor", cursor).to_string()),
    }))
}
