//! Published bundles, and what the instances said to them.

use askama::Template;
use axum::extract::State;

use super::chip::{Chip, Face};
use super::shell::{Html, PageResult, Section, Shell, surroundings};
use super::words::{counted, number, visible};
use crate::api::hub::Hub;
use crate::api::view::FleetView;
use crate::auth::Principal;
use crate::stamp::Stamp;
use crate::store::bundles::{BundleAnswerRow, BundleRow, BundleStatus};

const MAX_BUNDLES: usize = 50;

#[derive(Template)]
#[template(path = "bundles.html")]
pub struct BundlesPage {
    shell: Shell,
    headline: String,
    rows: Vec<Row>,
    refusals: Vec<Refusal>,
}

struct Row {
    channel: String,
    version: u64,
    digest: String,
    short: String,
    policies: String,
    answers: Vec<Chip>,
    published: String,
    by: String,
    expires: String,
}

struct Refusal {
    cluster: String,
    href: String,
    bundle: String,
    chip: Chip,
    detail: String,
    when: String,
}

pub async fn page(State(hub): State<Hub>, principal: Principal) -> PageResult<BundlesPage> {
    let fleet = surroundings(&hub).await?;
    let bundles = hub.store.bundles().await?;
    let total = u64::try_from(bundles.len()).unwrap_or(u64::MAX);
    let mut rows = Vec::new();
    let mut refusals = Vec::new();
    for bundle in bundles.into_iter().take(MAX_BUNDLES) {
        let answers = hub.store.bundle_answers(bundle.manifest).await?;
        let refused = answers.iter().filter(|a| a.status == BundleStatus::Refused);
        refusals.extend(refused.map(|answer| refusal(&bundle, answer, &fleet)));
        rows.push(row(&bundle, &answers));
    }
    let newest = rows.first().map_or_else(
        || "No bundle is published".to_owned(),
        |row| format!("{} is at version {}", row.channel, row.version),
    );
    Ok(Html(BundlesPage {
        shell: Shell::new("Bundles", Section::Bundles, &principal, &fleet)
            .twins(String::new(), "/api/v1/bundles"),
        headline: format!("{newest}; {}", counted(total, "published bundle")),
        rows,
        refusals,
    }))
}

fn row(bundle: &BundleRow, answers: &[BundleAnswerRow]) -> Row {
    let count = |status| {
        u64::try_from(answers.iter().filter(|a| a.status == status).count()).unwrap_or(u64::MAX)
    };
    let chip = |face, status, word: &str| Chip::count(face, count(status), word);
    Row {
        short: format!("{}…", bundle.manifest.short()),
        digest: bundle.manifest.to_string(),
        channel: visible(&bundle.channel),
        version: bundle.version,
        policies: number(bundle.policies),
        answers: vec![
            chip(Face::Pass, BundleStatus::Active, "active"),
            chip(Face::NotEvaluated, BundleStatus::Offered, "offered"),
            chip(Face::Fail, BundleStatus::Refused, "refused"),
        ],
        published: Stamp(bundle.published_at_ms).full(),
        by: visible(&bundle.published_by),
        expires: Stamp(bundle.expires_at_ms).full(),
    }
}

fn refusal(bundle: &BundleRow, answer: &BundleAnswerRow, fleet: &FleetView) -> Refusal {
    let cluster = fleet.clusters.iter().find(|v| v.cluster.id == answer.cluster);
    let errors: Vec<String> =
        answer.errors.iter().map(|e| format!("{} {} {}", e.path, e.code, e.message)).collect();
    Refusal {
        cluster: cluster
            .map_or_else(|| answer.cluster.to_string(), |v| visible(&v.cluster.display_name)),
        href: format!("/clusters/{}", answer.cluster),
        bundle: format!("{} v{}", visible(&bundle.channel), bundle.version),
        chip: Chip::new(Face::Fail, visible(&answer.code)),
        detail: visible(&errors.join("; ")),
        when: Stamp(answer.at_ms).full(),
    }
}
