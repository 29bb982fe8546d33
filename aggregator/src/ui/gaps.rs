//! Gaps: what was dropped, and whether the agent said so.

use askama::Template;
use axum::extract::State;
use serde_json::Value;

use super::chip::{Chip, Face};
use super::shell::{Html, PageResult, Section, Shell, surroundings};
use super::words::{counted, number, visible};
use crate::api::cluster_detail::GapJson;
use crate::api::hub::Hub;
use crate::api::view::FleetView;
use crate::auth::Principal;

const MAX_GAPS: u32 = 500;

#[derive(Template)]
#[template(path = "gaps.html")]
pub struct GapsPage {
    shell: Shell,
    headline: String,
    gaps: Vec<GapView>,
}

pub struct GapView {
    pub cluster: String,
    pub href: String,
    pub chip: Chip,
    pub range: String,
    pub chain: String,
    pub reason: String,
    pub counts: String,
    pub detected: String,
    pub detected_iso: String,
    pub resolved: String,
}

pub async fn page(State(hub): State<Hub>, principal: Principal) -> PageResult<GapsPage> {
    let fleet = surroundings(&hub).await?;
    let counts = hub.store.count_gaps().await?;
    let rows: Vec<GapJson> = hub
        .store
        .all_gaps(None, MAX_GAPS)
        .await?
        .into_iter()
        .map(|(_, row)| GapJson::from(row))
        .collect();
    let (declared, undeclared) = words(counts.declared, counts.open);
    let cut = counts.declared + counts.undeclared > u64::from(MAX_GAPS);
    let shown = if cut { format!("; the newest {MAX_GAPS} are here") } else { String::new() };
    Ok(Html(GapsPage {
        shell: Shell::new("Gaps", Section::Gaps, &principal, &fleet)
            .twins(String::new(), "/api/v1/gaps"),
        headline: format!("{declared}, {undeclared}{shown}"),
        gaps: rows.iter().map(|gap| view(gap, &fleet)).collect(),
    }))
}

/// `2 declared gaps`, `0 undeclared gaps open`.
pub fn totals(gaps: &[GapJson]) -> (String, String) {
    let count = |wanted: &dyn Fn(&&GapJson) -> bool| {
        u64::try_from(gaps.iter().filter(wanted).count()).unwrap_or(u64::MAX)
    };
    let declared = count(&|gap| gap.declared);
    let open = count(&|gap| !gap.declared && gap.resolved.is_none());
    words(declared, open)
}

fn words(declared: u64, open: u64) -> (String, String) {
    (counted(declared, "declared gap"), format!("{} open", counted(open, "undeclared gap")))
}

pub fn view(gap: &GapJson, fleet: &FleetView) -> GapView {
    let cluster = fleet.clusters.iter().find(|v| v.cluster.id.to_string() == gap.cluster);
    let records = gap.to_seq.saturating_sub(gap.from_seq).saturating_add(1);
    let chip = match (gap.declared, gap.resolved) {
        (true, _) => Chip::new(Face::Warn, "declared"),
        (false, None) => Chip::new(Face::Fail, "undeclared"),
        (false, Some(_)) => Chip::new(Face::Closed, "undeclared, resolved"),
    };
    GapView {
        cluster: cluster.map_or_else(|| gap.cluster.clone(), |v| visible(&v.cluster.display_name)),
        href: format!("/clusters/{}#gaps", gap.cluster),
        chip,
        range: format!("{} to {} ({})", gap.from_seq, gap.to_seq, counted(records, "record")),
        chain: format!("epoch {}, instance {}", gap.epoch, gap.instance.get(..8).unwrap_or("")),
        reason: visible(&gap.reason),
        counts: counts_text(&gap.counts),
        detected: gap.detected.full(),
        detected_iso: gap.detected.iso(),
        resolved: gap.resolved.map_or_else(String::new, |at| at.full()),
    }
}

/// `12 P1 fail high, 3 P2`.
fn counts_text(counts: &Value) -> String {
    let Some(entries) = counts.as_array() else { return String::new() };
    let words: Vec<String> = entries
        .iter()
        .map(|entry| {
            let word = |key| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let count = entry.get("count").and_then(Value::as_u64).unwrap_or(0);
            let parts = [number(count), word("class"), word("outcome"), word("severity")];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        })
        .collect();
    visible(&words.join(", "))
}
