//! The first page: are we compliant now, what is worst, who is away.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::State;
use provost_model::{Outcome, Severity};

use super::causes::{CauseView, cause};
use super::chip::{Chip, Face};
use super::shell::{Html, PageResult, Section, Shell};
use super::words::{counted, number, visible};
use crate::api::fleet::{FleetJson, ImpairedJson, load};
use crate::api::hub::Hub;
use crate::api::query::RowQuery;
use crate::api::view::{ClusterView, FleetView};
use crate::auth::Principal;
use crate::link::Link;
use crate::stamp::{Stamp, span};
use crate::tally::{States, Tally, percent, ratio};

/// Cells of one group's strip; the table has the rest.
const MAX_CELLS: usize = 400;
const MAX_AWAY: usize = 10;
/// A label with more values than this makes no groups.
const MAX_GROUPS: usize = 12;

#[derive(Template)]
#[template(path = "fleet.html")]
pub struct FleetPage {
    shell: Shell,
    headline: String,
    detail: String,
    first_step: Option<String>,
    pending: u64,
    pending_text: String,
    undeclared: u64,
    undeclared_text: String,
    impaired: Vec<Impaired>,
    impaired_text: String,
    facts: Vec<Fact>,
    states: Vec<Chip>,
    causes: Vec<CauseView>,
    causes_text: String,
    groups: Vec<Group>,
    groups_text: String,
    away: Vec<Away>,
    away_total: u64,
}

/// A number, what it is, and the rows that make it.
pub struct Fact {
    pub value: String,
    pub label: String,
    pub href: String,
}

struct Group {
    name: String,
    href: String,
    count: String,
    cells: Vec<Cell>,
    more: String,
    score: String,
    freshness: String,
}

struct Cell {
    face: Face,
    href: String,
    label: String,
}

/// A cluster that is heard and does not see everything.
struct Impaired {
    name: String,
    href: String,
    detail: String,
}

struct Away {
    name: String,
    href: String,
    chip: Chip,
    heard: String,
}

pub async fn page(State(hub): State<Hub>, principal: Principal) -> PageResult<FleetPage> {
    let (json, view) = load(&hub).await?;
    let shell = Shell::new("Fleet", Section::Fleet, &principal, &view)
        .twins("provost fleet status", "/api/v1/fleet");
    let (groups, groups_text) = groups(&view);
    let causes = json.worst.iter().map(|c| cause(c, &RowQuery::default(), view.now)).collect();
    let clusters = json.clusters;
    Ok(Html(FleetPage {
        shell,
        headline: headline(&json),
        detail: detail(&json),
        first_step: (clusters.approved + clusters.pending == 0).then(|| {
            "provost fleet token create --root root.json --hub https://HUB:PORT".to_owned()
        }),
        pending: clusters.pending,
        pending_text: format!("{} waiting", counted(clusters.pending, "cluster")),
        undeclared: json.undeclared_gaps,
        undeclared_text: counted(json.undeclared_gaps, "undeclared gap"),
        impaired: json.impaired.iter().take(MAX_AWAY).map(impaired).collect(),
        impaired_text: impaired_text(clusters.impaired),
        facts: facts(&json, &view.tally()),
        states: state_chips(&json.states, &RowQuery::default()),
        causes,
        causes_text: causes_text(&json),
        groups,
        groups_text,
        away: away(&view),
        away_total: clusters.stale,
    }))
}

fn headline(json: &FleetJson) -> String {
    let clusters = json.clusters;
    if clusters.approved == 0 {
        return match clusters.pending {
            0 => "No cluster has joined yet.".to_owned(),
            n => format!("{} for approval; none is in yet.", waiting(n)),
        };
    }
    let reporting = format!(
        "{} of {} reporting.",
        number(clusters.fresh),
        counted(clusters.approved, "cluster")
    );
    match json.score {
        None if clusters.fresh == 0 => format!("{reporting} Nothing can be said of now."),
        None => format!("{reporting} Nothing is scored yet."),
        Some(_) => {
            format!("{reporting} {} compliant. {}", percent(json.score), cause_sentence(json))
        }
    }
}

fn waiting(n: u64) -> String {
    if n == 1 { "1 cluster waits".to_owned() } else { format!("{} clusters wait", number(n)) }
}

fn cause_sentence(json: &FleetJson) -> String {
    if json.open_findings == 0 {
        return "Nothing is open.".to_owned();
    }
    // Said only where every cause was looked at: the biggest of some may not be the biggest.
    if json.causes > u64::try_from(json.worst.len()).unwrap_or(0) {
        return format!("{} are behind what is open.", counted(json.causes, "cause"));
    }
    let mut sizes: Vec<u64> = json.worst.iter().map(|c| c.findings).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let top: u64 = sizes.iter().take(2).sum();
    let share = percent(ratio(top, json.open_findings));
    match sizes.len() {
        1 => "One cause is behind all that is open.".to_owned(),
        2 => "Two causes are behind all that is open.".to_owned(),
        _ => format!("Two causes explain {share} of what is open."),
    }
}

fn detail(json: &FleetJson) -> String {
    let stale = match (json.clusters.stale, json.away.first()) {
        (0, _) | (_, None) => "Every cluster was heard within its time.".to_owned(),
        (n, Some(oldest)) => {
            let heard = match oldest.age_ms {
                Some(age_ms) => format!("was last heard {} ago", span(age_ms.max(0))),
                None => "was never heard".to_owned(),
            };
            let who = match n {
                1 => "1 cluster is stale: it".to_owned(),
                n => format!("{} clusters are stale: the one away longest", number(n)),
            };
            format!("{who} {heard} and keeps its last verdicts, greyed.")
        }
    };
    let gaps = match json.undeclared_gaps {
        0 => "Nothing was dropped unsaid: 0 undeclared gaps.".to_owned(),
        n => format!("{} open.", counted(n, "undeclared gap")),
    };
    format!("{stale} {gaps}")
}

fn impaired(part: &ImpairedJson) -> Impaired {
    Impaired {
        name: visible(&part.name),
        href: format!("/clusters/{}", part.id),
        detail: format!("{}: {}", part.capability, visible(&part.detail)),
    }
}

fn impaired_text(n: u64) -> String {
    match n {
        0 => String::new(),
        1 => "1 cluster is heard and does not tell everything".to_owned(),
        n => format!("{} clusters are heard and do not tell everything", number(n)),
    }
}

fn facts(json: &FleetJson, tally: &Tally) -> Vec<Fact> {
    let fact =
        |value: String, label: String, href: &str| Fact { value, label, href: href.to_owned() };
    let scored = tally.scored_pass + tally.scored_fail;
    vec![
        fact(
            percent(json.score),
            format!("score: {} of {} pass", number(tally.scored_pass), number(scored)),
            "/verdicts?state=pass%2Cfail&scored=true",
        ),
        fact(
            percent(json.coverage),
            format!("coverage; {} not evaluated", number(json.states.not_evaluated)),
            "/not-evaluated",
        ),
        fact(
            percent(json.freshness),
            format!("freshness; {} not heard in time", number(json.clusters.stale)),
            "/clusters?state=stale",
        ),
        fact(
            number(json.open_findings),
            format!("open findings, {}", counted(json.causes, "cause")),
            "/findings",
        ),
        fact(number(json.states.exempt), "exempt verdicts".to_owned(), "/verdicts?state=exempt"),
    ]
}

/// A chip for each state with its number, linked to its rows; states of none stay, without a link.
pub fn state_chips(states: &States, query: &RowQuery) -> Vec<Chip> {
    let States { pass, fail, warn, error, skip, exempt, not_evaluated, stale } = *states;
    let chip = |face: Face, n: u64| {
        let chip = Chip::count(face, n, face.word());
        if n == 0 {
            return chip;
        }
        let href = match face {
            Face::NotEvaluated => match &query.cluster {
                Some(cluster) => format!("/clusters/{cluster}#not-evaluated"),
                None => "/not-evaluated".to_owned(),
            },
            _ => RowQuery { state: Some(face.class().to_owned()), ..query.clone() }
                .link("/verdicts")
                .to_string(),
        };
        chip.link(href)
    };
    vec![
        chip(Face::Pass, pass),
        chip(Face::Fail, fail),
        chip(Face::Warn, warn),
        chip(Face::Error, error),
        chip(Face::Skip, skip),
        chip(Face::Exempt, exempt),
        chip(Face::NotEvaluated, not_evaluated),
        chip(Face::Stale, stale),
    ]
}

fn causes_text(json: &FleetJson) -> String {
    let shown = u64::try_from(json.worst.len()).unwrap_or(u64::MAX);
    if json.causes > shown {
        format!("{} of {}", number(shown), counted(json.causes, "cause"))
    } else {
        counted(json.causes, "cause")
    }
}

/// One group a value of the label that splits the fleet into a few; else one group.
fn groups(view: &FleetView) -> (Vec<Group>, String) {
    let clusters: Vec<&ClusterView> = view.approved().collect();
    if clusters.is_empty() {
        return (Vec::new(), String::new());
    }
    let Some(key) = grouping_label(&clusters) else {
        let all = group("all", "/clusters".to_owned(), &clusters, view.now);
        return (vec![all], "worst state of each".to_owned());
    };
    let mut members: BTreeMap<&str, Vec<&ClusterView>> = BTreeMap::new();
    for cluster in clusters {
        let value = cluster.cluster.labels.get(&key).map_or("", String::as_str);
        members.entry(value).or_default().push(cluster);
    }
    let group_of = |(value, members): (&str, Vec<&ClusterView>)| {
        if value.is_empty() {
            return group(&format!("without {key}"), "/clusters".to_owned(), &members, view.now);
        }
        let href = Link::to("/clusters").with("label", format!("{key}={value}")).to_string();
        group(value, href, &members, view.now)
    };
    let groups = members.into_iter().map(group_of).collect();
    (groups, format!("by label {}", visible(&key)))
}

/// The label that most clusters have, among those with 2 to 12 values.
fn grouping_label(clusters: &[&ClusterView]) -> Option<String> {
    let mut values: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for cluster in clusters {
        for (key, value) in &cluster.cluster.labels {
            let entry = values.entry(key).or_default();
            entry.0 += 1;
            entry.1.insert(value);
        }
    }
    let splits = |(_, (_, values)): &(&&str, &(usize, BTreeSet<&str>))| {
        (2..=MAX_GROUPS).contains(&values.len()) && values.len() < clusters.len()
    };
    let best = values
        .iter()
        .filter(splits)
        .max_by_key(|(_, (clusters, values))| (*clusters, MAX_GROUPS - values.len()));
    best.map(|(key, _)| (*key).to_owned())
}

fn group(name: &str, href: String, members: &[&ClusterView], now: Stamp) -> Group {
    let mut tally = Tally::default();
    for member in members {
        tally.merge(&member.tally);
    }
    let count = u64::try_from(members.len()).unwrap_or(u64::MAX);
    let fresh = u64::try_from(members.iter().filter(|m| m.fresh).count()).unwrap_or(u64::MAX);
    let hidden = members.len().saturating_sub(MAX_CELLS);
    Group {
        name: visible(name),
        href,
        count: counted(count, "cluster"),
        cells: members.iter().take(MAX_CELLS).map(|member| cell(member, now)).collect(),
        more: if hidden == 0 { String::new() } else { format!("and {hidden} more") },
        score: percent(tally.score()),
        freshness: percent(ratio(fresh, count)),
    }
}

fn cell(view: &ClusterView, now: Stamp) -> Cell {
    let (face, words) = worst(view, now);
    Cell {
        face,
        href: format!("/clusters/{}", view.cluster.id),
        label: format!("{}: {words}", visible(&view.cluster.display_name)),
    }
}

/// The worst state in a cluster, and words for it.
pub fn worst(view: &ClusterView, now: Stamp) -> (Face, String) {
    if !view.fresh {
        return (Face::Stale, heard(view, now));
    }
    let severe = Severity::ALL.iter().rev().find(|severity| view.open_of(**severity) > 0);
    let states = &view.tally.states;
    match severe {
        _ if states.fail > 0 => {
            let worst = severe.map_or_else(String::new, |severity| format!(", worst {severity}"));
            (Face::from(Outcome::Fail), format!("{} fail{worst}", number(states.fail)))
        }
        _ if !view.impaired.is_empty() => {
            (Face::Error, "its agent does not tell everything".to_owned())
        }
        _ if states.error > 0 => (Face::Error, format!("{} error", number(states.error))),
        _ if states.warn > 0 => (Face::Warn, format!("{} warn", number(states.warn))),
        _ if states.pass > 0 => (Face::Pass, format!("{} pass", number(states.pass))),
        _ => (Face::NotEvaluated, "no verdicts yet".to_owned()),
    }
}

/// `heard 4 s ago`, `stale, heard 3 h ago`.
pub fn heard(view: &ClusterView, now: Stamp) -> String {
    let last = view.cluster.last_heard_at_ms.map(|at| Stamp(at).ago(now));
    match (view.fresh, last) {
        (true, Some(ago)) => format!("heard {ago}"),
        (true, None) => "heard".to_owned(),
        (false, Some(ago)) => format!("stale, heard {ago}"),
        (false, None) => "stale, never heard".to_owned(),
    }
}

fn away(view: &FleetView) -> Vec<Away> {
    let mut away: Vec<_> = view.approved().filter(|v| !v.fresh).collect();
    away.sort_by_key(|v| v.cluster.last_heard_at_ms.unwrap_or(i64::MIN));
    away.truncate(MAX_AWAY);
    away.into_iter()
        .map(|v| Away {
            name: visible(&v.cluster.display_name),
            href: format!("/clusters/{}", v.cluster.id),
            chip: Chip::new(Face::Stale, format!("{} stale", number(v.tally.states.stale)))
                .link(stale_rows(v)),
            heard: v
                .cluster
                .last_heard_at_ms
                .map_or_else(|| "never".to_owned(), |at| Stamp(at).ago(view.now)),
        })
        .collect()
}

fn stale_rows(view: &ClusterView) -> String {
    let cluster = view.cluster.id.to_string();
    Link::to("/verdicts").with("state", "stale").with("cluster", cluster).to_string()
}
