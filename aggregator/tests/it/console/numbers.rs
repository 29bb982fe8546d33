//! Every number opens the rows that make it, with the same total; pages of a list neither repeat
//! nor skip.

use std::collections::BTreeSet;

use provost_aggregator::store::Actor;
use serde_json::Value;

use super::fleet::{Fleet, NOW_MS};
use super::html::{anchors, number, text};
use crate::chain::POLICIES;
use crate::signer::{Signer, contents};

/// The total that a page of rows says in its heading.
fn heading(html: &str) -> u64 {
    let h1 = html.split("<h1").nth(1).unwrap().split("</h1>").next().unwrap();
    let said = text(h1.split_once('>').unwrap().1);
    if said.starts_with("No ") { 0 } else { number(&said).unwrap() }
}

/// The count that a link's words name; none where they name no count. A score is a share: its words
/// end with the count that its rows come to.
fn said(words: &str) -> Option<u64> {
    let words = match words.split_once(' ') {
        // The letter of a state.
        Some((letter, rest)) if letter.len() == 1 && letter.chars().all(char::is_uppercase) => rest,
        _ => words,
    };
    if !words.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match (words.contains('%'), words.split_once(" of "), words.split_once(';')) {
        (false, ..) => number(words),
        (true, Some((_, whole)), _) => number(whole),
        (true, None, Some((_, rest))) => number(rest),
        (true, None, None) => None,
    }
}

/// Guarantee: wherever a page links a count of verdicts or findings, the page behind the link has
/// that many.
#[tokio::test]
async fn every_number_opens_as_many_rows() {
    let fleet = Fleet::seeded().await;
    let cluster = fleet.store().clusters().await.unwrap();
    let mut pages = vec!["/".to_owned(), "/clusters".to_owned(), "/findings".to_owned()];
    pages.extend(cluster.iter().map(|c| format!("/clusters/{}", c.id)));
    let mut checked = 0;
    for page in pages {
        let html = fleet.page(&page).await;
        let links: BTreeSet<_> = anchors(&html).into_iter().collect();
        for link in links {
            let rows = ["/verdicts?", "/findings?", "/not-evaluated"];
            if !rows.iter().any(|start| link.href.starts_with(start)) {
                continue;
            }
            let Some(said) = said(&link.text) else { continue };
            let behind = fleet.page(&link.href).await;
            assert_eq!(heading(&behind), said, "{page}: {link:?}");
            checked += 1;
        }
    }
    assert!(checked > 25, "only {checked} numbers were looked at");
    fleet.stop().await;
}

/// Guarantee: the numbers are those of the seeded fleet, in their eight states; what is away is
/// stale and nothing else.
#[tokio::test]
async fn eight_states_are_counted_apart() {
    let fleet = Fleet::seeded().await;
    let json = fleet.get("/api/v1/fleet").await.json();
    let states = &json["states"];
    // cloud-eu: 5 pass, 3 fail, 1 error; the hostile one: 2 pass, 1 fail; store-12: 12, away.
    let count = |name: &str| states[name].as_u64().unwrap();
    assert_eq!(
        ["pass", "fail", "warn", "error", "skip", "exempt", "notEvaluated", "stale"].map(count),
        [7, 4, 0, 1, 0, 0, 2, 12]
    );
    // Without the unscored first policy: 4 pass (cart 2, node-agent 1, hostile 1), 3 fail.
    assert_eq!(json["score"].as_f64().unwrap(), 4.0 / 7.0);
    assert_eq!(json["clusters"]["stale"], 1);
    assert_eq!(json["openFindings"], 4 + 12 + 3);
    assert_eq!(json["away"][0]["name"], "store-12");
    fleet.stop().await;
}

/// Guarantee: walking by cursor gives every row once, in order, and its total is the number of
/// rows; a cursor of another filter is refused.
#[tokio::test]
async fn pages_of_a_list_neither_repeat_nor_skip() {
    let fleet = Fleet::seeded().await;
    for (list, key) in [
        ("/api/v1/findings", ["cluster", "fingerprint"]),
        ("/api/v1/verdicts", ["cluster", "subject"]),
        ("/api/v1/clusters", ["id", "name"]),
    ] {
        let whole = fleet.get(&format!("{list}?limit=500")).await.json();
        let rows = whole["items"].as_array().unwrap();
        assert_eq!(whole["total"].as_u64().unwrap(), rows.len() as u64, "{list}");
        let mut walked: Vec<Value> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = fleet.get(&format!("{list}?limit=2&cursor={cursor}")).await.json();
            walked.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            cursor = next.to_owned();
        }
        let keys = |rows: &[Value]| -> Vec<String> {
            rows.iter().map(|row| format!("{} {}", row[key[0]], row[key[1]])).collect()
        };
        assert_eq!(keys(rows), keys(&walked), "{list}");
    }
    let page = fleet.get("/api/v1/findings?limit=1").await.json();
    let cursor = page["next"].as_str().unwrap();
    let other = fleet.get(&format!("/api/v1/findings?severity=low&cursor={cursor}")).await;
    assert_eq!((other.status, &other.json()["code"]), (400, &Value::from("INVALID")));
    for bad in ["limit=0", "limit=501", "limit=x", "cursor=x", "state=red", "severity=bad"] {
        let answer = fleet.get(&format!("/api/v1/findings?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{bad}");
    }
    fleet.stop().await;
}

/// Guarantee: filters mean what they say, by API as on pages.
#[tokio::test]
async fn filters_narrow_by_what_they_name() {
    let fleet = Fleet::seeded().await;
    for (query, expected) in [
        ("", 19),
        ("state=stale", 12),
        ("state=fail", 7),
        ("state=fail,stale", 19),
        ("state=closed", 0),
        ("severity=critical", 12),
        ("minSeverity=medium", 18),
        ("cluster=store-*", 12),
        ("cluster=nowhere", 0),
        ("namespace=till", 12),
        ("namespace=-", 1),
        ("policy=privileged-container&cluster=cloud-eu", 1),
        ("category=security", 19),
        ("category=cost", 0),
        ("q=pos-a", 3),
        ("q=severity%3E%3Dcritical+cluster:store-12", 8),
        ("q=50%25", 0),
    ] {
        let total = fleet.get(&format!("/api/v1/findings?{query}")).await.json();
        assert_eq!(total["total"], expected, "{query}");
        assert_eq!(heading(&fleet.page(&format!("/findings?{query}")).await), expected, "{query}");
    }
    fleet.stop().await;
}

const STATES: [&str; 8] =
    ["pass", "fail", "warn", "error", "skip", "exempt", "notEvaluated", "stale"];

fn states_of(row: &Value) -> [u64; 8] {
    STATES.map(|name| row["states"][name].as_u64().unwrap())
}

/// Guarantee: the rows by policy are every verdict of the fleet once, in its state, and each says
/// its own score; nothing to score is null.
#[tokio::test]
async fn policies_add_up_to_the_fleet() {
    let fleet = Fleet::seeded().await;
    fleet.pending("waits", "edge").await;
    let json = fleet.get("/api/v1/fleet").await.json();
    let rollup = fleet.get("/api/v1/rollups/policies").await.json();
    assert_eq!(rollup["freshness"], json["freshness"]);
    let rows = rollup["items"].as_array().unwrap();
    let mut sum = [0; 8];
    for row in rows {
        for (all, one) in sum.iter_mut().zip(states_of(row)) {
            *all += one;
        }
    }
    assert_eq!(sum, states_of(&json));
    let row = |policy: &str| rows.iter().find(|row| row["policy"] == policy).unwrap();
    assert_eq!(rows.len(), 4, "three with verdicts, one without any");
    let privileged = row("privileged-container");
    assert_eq!(states_of(privileged), [2, 2, 0, 0, 0, 0, 0, 4]);
    assert_eq!(
        (privileged["score"].as_f64(), privileged["coverage"].as_f64()),
        (Some(0.5), Some(1.0))
    );
    assert_eq!(privileged["severity"], "critical");
    assert_eq!(row("host-path")["score"], Value::Null, "its binding is not scored");
    assert_eq!(states_of(row("resource-limits")), [2, 1, 0, 1, 0, 0, 0, 4]);
    assert_eq!(row("resource-limits")["coverage"].as_f64(), Some(0.75));
    assert_eq!(states_of(row("image-registry"))[6], 2);
    fleet.stop().await;
}

/// Guarantee: a control's row is the sum of the policies that are mapped to it, and names each with
/// the strength of its mapping.
#[tokio::test]
async fn controls_add_up_the_policies_behind_them() {
    let fleet = Fleet::start().await;
    let none = fleet.get("/api/v1/rollups/controls").await.json();
    assert_eq!(none["items"].as_array().unwrap().len(), 0, "nothing says which controls there are");
    let hub = &fleet.hub.hub;
    let signer = Signer::new(hub.keys.director.public(), NOW_MS);
    signer.publish(hub, &contents(&POLICIES), 1).await.unwrap();
    let objects =
        [("shop", "web", [Some(0), Some(1), None]), ("", "node", [Some(1), Some(0), Some(0)])];
    fleet.cluster("cloud-eu", "cloud", &objects, true).await;
    fleet.cluster("store-12", "edge", &objects, false).await;
    let policies = fleet.get("/api/v1/rollups/policies").await.json();
    let policies = policies["items"].as_array().unwrap();
    let rollup = fleet.get("/api/v1/rollups/controls").await.json();
    let controls = rollup["items"].as_array().unwrap();
    let mut mapped = 0;
    for (id, known) in fleet.store().policies().await.unwrap() {
        for control in &known.controls {
            let row = controls.iter().find(|row| {
                row["framework"] == control.framework.as_str()
                    && row["frameworkVersion"] == control.version.as_str()
                    && row["control"] == control.id.as_str()
            });
            let behind = row.unwrap()["policies"].as_array().unwrap();
            let behind = behind.iter().find(|one| one["policy"] == id.as_str()).unwrap();
            assert_eq!(behind["strength"], control.strength.as_str());
            mapped += 1;
        }
    }
    let named = controls.iter().map(|row| row["policies"].as_array().unwrap().len());
    assert_eq!((mapped, true), (named.sum::<usize>(), mapped > 2));
    for control in controls {
        let mut sum = [0; 8];
        for behind in control["policies"].as_array().unwrap() {
            let policy = policies.iter().find(|row| row["policy"] == behind["policy"]).unwrap();
            for (all, one) in sum.iter_mut().zip(states_of(policy)) {
                *all += one;
            }
        }
        assert_eq!(states_of(control), sum, "{control}");
        assert!(sum[7] >= 2, "store-12 is away: {control}");
    }
    fleet.stop().await;
}

/// Scenario: an agent that talks is quarantined, so that nothing it says is taken. Guarantee: its
/// cluster is stale everywhere until it is released.
#[tokio::test]
async fn a_quarantined_cluster_is_not_fresh() {
    let fleet = Fleet::seeded().await;
    let clusters = fleet.store().clusters().await.unwrap();
    let cluster = clusters.iter().find(|c| c.display_name == "cloud-eu").unwrap().id;
    let instance = fleet.store().instances(cluster).await.unwrap()[0].id;
    let before = fleet.get("/api/v1/fleet").await.json();
    fleet.store().quarantine(cluster, instance, "FORK", "test", NOW_MS).await.unwrap();
    fleet.hub.hub.liveness.heard(cluster);
    let json = fleet.get("/api/v1/fleet").await.json();
    // Only the hostile one is left: 2 pass, 1 fail, of which one pass is not scored.
    assert_eq!(states_of(&json), [2, 1, 0, 0, 0, 0, 1, 21]);
    assert_eq!(json["score"].as_f64(), Some(0.5));
    assert_eq!(json["clusters"]["fresh"], 1);
    let away = json["away"].as_array().unwrap();
    let said = away.iter().map(|c| (c["name"].as_str().unwrap(), c["quarantined"] == true));
    assert_eq!(said.collect::<Vec<_>>(), [("store-12", false), ("cloud-eu", true)]);
    let detail = fleet.get(&format!("/api/v1/clusters/{cluster}")).await.json();
    assert_eq!(detail["cluster"]["fresh"], false);
    assert_eq!(detail["cluster"]["score"], Value::Null);
    let stale = fleet.get("/api/v1/findings?state=stale&cluster=cloud-eu").await.json();
    assert_eq!(stale["total"], 4);

    fleet.store().release(cluster, instance, &Actor::hub(), NOW_MS).await.unwrap();
    let after = fleet.get("/api/v1/fleet").await.json();
    assert_eq!((states_of(&after), &after["score"]), (states_of(&before), &before["score"]));
    fleet.stop().await;
}
