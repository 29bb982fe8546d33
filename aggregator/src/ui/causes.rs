//! Rows of causes, as the fleet and findings pages show them.

use super::chip::{Chip, Face};
use super::words::{counted, number, visible};
use crate::api::findings::CauseJson;
use crate::api::query::RowQuery;
use crate::stamp::Stamp;

pub struct CauseView {
    pub chip: Chip,
    pub severity: String,
    pub title: String,
    pub code: String,
    pub template: String,
    pub href: String,
    pub clusters: String,
    pub objects: String,
    pub findings: String,
    /// How many of them are in clusters that are away; empty when none.
    pub stale: String,
    pub all_stale: bool,
    pub owner: String,
    pub newest: String,
    pub newest_iso: String,
}

/// `query` is the filter that the causes were made under: the link of each adds the cause to it, so
/// that it opens as many rows as the cause has findings.
pub fn cause(json: &CauseJson, query: &RowQuery, now: Stamp) -> CauseView {
    let link = RowQuery {
        policy: Some(json.policy.clone()),
        template: Some(json.template.clone()),
        ..query.clone()
    };
    let all_stale = json.findings > 0 && json.stale == json.findings;
    let chip = if all_stale {
        Chip::new(Face::Stale, "stale, was fail")
    } else if json.findings > 0 && json.unenforced == json.findings {
        Chip::new(Face::Fail, "fail, not enforced")
    } else {
        Chip::new(Face::Fail, "fail")
    };
    let namespace = match (json.namespaces, json.namespace.as_str()) {
        (0 | 1, "") => String::new(),
        (0 | 1, name) => format!(" in {name}"),
        (n, _) => format!(" in {}", counted(n, "namespace")),
    };
    CauseView {
        chip,
        severity: json.severity.clone(),
        title: visible(&json.title),
        code: json.code.clone(),
        template: visible(&format!("{}{namespace}", json.template)),
        href: link.link("/findings").to_string(),
        clusters: counted(json.clusters, "cluster"),
        objects: counted(json.subjects, "object"),
        findings: number(json.findings),
        stale: if json.stale == 0 {
            String::new()
        } else {
            format!("{} stale", number(json.stale))
        },
        all_stale,
        owner: visible(&json.owner),
        newest: json.newest.brief(now),
        newest_iso: json.newest.iso(),
    }
}
