//! What pages say and how: no script, nothing hostile, the same without a browser's help.

use bytes::Bytes;
use provost_aggregator::store::reports::{CapabilityHealth, HeartbeatRow};
use provost_model::{ClusterId, Digest};

use super::fleet::{Fleet, NOW_MS, Object};
use super::html::{anchors, elements, text};
use super::http::get;

async fn addresses(fleet: &Fleet) -> Vec<String> {
    let mut pages: Vec<String> = [
        "/",
        "/clusters",
        "/findings",
        "/findings?state=closed",
        "/verdicts",
        "/not-evaluated",
        "/gaps",
        "/bundles",
        "/audit",
        "/findings?q=%3Cscript%3Ealert(1)%3C/script%3E",
        "/clusters?label=%22%3E%3Cscript%3E=x",
    ]
    .map(str::to_owned)
    .into();
    for cluster in fleet.store().clusters().await.unwrap() {
        pages.push(format!("/clusters/{}", cluster.id));
    }
    let findings = fleet.page("/findings").await;
    let row = |href: &str| href.starts_with("/findings/");
    pages.extend(anchors(&findings).into_iter().map(|a| a.href).filter(|href| row(href)));
    pages
}

/// Scenario: a cluster calls itself, its objects and its messages what would harm a reader.
/// Guarantee: no page has an element that it did not mean to have, an inline style or handler, a
/// control or direction character, or anything of another site; the browser is told the same.
#[tokio::test]
async fn hostile_text_stays_text() {
    let fleet = Fleet::seeded().await;
    let pages = addresses(&fleet).await;
    assert!(pages.len() > 20, "{pages:?}");
    for path in pages {
        let answer = fleet.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let html = &answer.body;
        let elements = elements(html);
        for forbidden in ["script", "style", "iframe", "img", "object", "base"] {
            assert!(!elements.contains(forbidden), "{path} has <{forbidden}>");
        }
        let controls = html.chars().filter(|c| c.is_control() && *c != '\n');
        assert_eq!(controls.count(), 0, "{path}");
        assert!(!html.contains('\u{202e}'), "{path}");
        assert!(!html.contains(" style=") && !html.contains(" onclick="), "{path}");
        for foreign in ["http://", "https://", "=\"//"] {
            let found = html.match_indices(foreign).filter(|(at, _)| {
                // The example of a command is words, not an address.
                !html[*at..].starts_with("https://HUB")
            });
            assert_eq!(found.count(), 0, "{path} points to {foreign}");
        }
        let csp = answer.header("content-security-policy");
        assert!(
            csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"),
            "{csp}"
        );
        assert!(!csp.contains("unsafe") && !csp.contains("script-src"), "{csp}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    fleet.stop().await;
}

/// Guarantee: every link of every page leads somewhere.
#[tokio::test]
async fn no_link_is_dead() {
    let fleet = Fleet::seeded().await;
    let mut seen = std::collections::BTreeSet::new();
    for path in addresses(&fleet).await {
        let html = fleet.page(&path).await;
        for link in anchors(&html) {
            let address = link.href.split('#').next().unwrap().to_owned();
            if !address.is_empty() && seen.insert(address.clone()) {
                assert_eq!(fleet.get(&address).await.status, 200, "{path}: {link:?}");
            }
            if let Some((_, id)) = link.href.split_once('#').filter(|(page, _)| page.is_empty()) {
                assert!(html.contains(&format!("id=\"{id}\"")), "{path}: {link:?}");
            }
        }
    }
    fleet.stop().await;
}

/// Guarantee: a cluster that is away is shown with its age, its rows are greyed, and nothing of it
/// is green.
#[tokio::test]
async fn a_cluster_that_is_away_is_never_green() {
    let fleet = Fleet::seeded().await;
    let id = id_of(&fleet, "store-12").await;
    let page = fleet.page(&format!("/clusters/{id}")).await;
    let shown = text(&page);
    assert!(shown.contains("stale, heard 2 h ago"), "{shown}");
    assert!(shown.contains("12 stale") && shown.contains("0 pass"), "{shown}");
    assert!(page.contains("<tr class=\"away\">"));
    let clusters = fleet.page("/clusters").await;
    let row = clusters.split("<tr").find(|row| row.contains("store-12")).unwrap();
    assert!(row.contains("class=\"away\"") && row.contains("st stale"), "{row}");
    assert!(!row.contains("st pass"), "{row}");
    let first = text(&fleet.page("/").await);
    assert!(first.starts_with("Fleet") || first.contains("2 of 3 clusters reporting."), "{first}");
    assert!(first.contains("was last heard 2 h ago"), "{first}");

    fleet.hub.hub.liveness.heard(id);
    let back = text(&fleet.page(&format!("/clusters/{id}")).await);
    assert!(back.contains("4 pass") && back.contains("0 stale"), "{back}");
    fleet.stop().await;
}

/// Guarantee: silence makes a cluster stale, also while nobody writes anything.
#[tokio::test]
async fn silence_is_shown_as_stale() {
    let fleet = Fleet::seeded().await;
    fleet.clock.advance(std::time::Duration::from_millis(3_001));
    let json = fleet.get("/api/v1/fleet").await.json();
    assert_eq!((json["clusters"]["fresh"].as_u64(), json["score"].as_f64()), (Some(0), None));
    let page = text(&fleet.page("/").await);
    assert!(page.contains("0 of 3 clusters reporting. Nothing can be said of now."), "{page}");
    fleet.stop().await;
}

/// Guarantee: an empty hub says how to begin.
#[tokio::test]
async fn an_empty_hub_shows_the_first_command() {
    let fleet = Fleet::start().await;
    let page = fleet.page("/").await;
    assert!(text(&page).contains("No cluster has joined yet."));
    assert!(page.contains("provost fleet token create --root root.json"));
    fleet.stop().await;
}

/// Guarantee: a finding's page has its evidence, its fix, its four gates and its history, and an
/// address that stays.
#[tokio::test]
async fn a_finding_tells_its_life() {
    let fleet = Fleet::seeded().await;
    let list = fleet.page("/findings?cluster=cloud-eu&policy=privileged-container").await;
    let row = anchors(&list).into_iter().find(|a| a.href.starts_with("/findings/")).unwrap();
    let page = text(&fleet.page(&row.href).await);
    for part in [
        "PRIVILEGED-CONTAINER",
        "Deployment shop/web",
        "spec.template.spec.containers[0].image",
        "~ spec.x:",
        "- spec.y",
        "commit N not reported",
        "run F failing now",
        "snapshot",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let by_api = fleet.get(&format!("/api/v1{}", row.href)).await.json();
    assert_eq!(by_api["finding"]["state"], "fail");
    assert_eq!(by_api["history"][0]["to"], "fail");
    assert_eq!(by_api["finding"]["attributes"]["owner"], "payments");
    fleet.stop().await;
}

/// Guarantee: what names nothing is not found, whatever it looks like.
#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let fleet = Fleet::start().await;
    let nobody = "0".repeat(32);
    for path in [
        format!("/clusters/{nobody}"),
        "/clusters/nonsense".to_owned(),
        format!("/findings/{nobody}/default/{nobody}"),
        "/findings/x/y/z".to_owned(),
        "/static/../Cargo.toml".to_owned(),
        "/nowhere".to_owned(),
    ] {
        let answer = fleet.get(&path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
        assert!(text(&answer.body).contains("There is no such page"), "{path}");
        assert!(answer.header("content-security-policy").contains("'none'"), "{path}");
    }
    let bad = fleet.get("/findings?limit=0").await;
    assert_eq!(bad.status, 400);
    assert!(text(&bad.body).contains("limit must be from 1 to 500"), "{}", bad.body);
    let health = fleet.send(get("/healthz")).await;
    assert_eq!((health.status, &*health.body), (200, "ok\n"));
    assert!(
        fleet.send(get("/static/console.css")).await.header("content-type").starts_with("text/css")
    );
    assert_eq!(fleet.api().now().0, NOW_MS);
    fleet.stop().await;
}

async fn id_of(fleet: &Fleet, name: &str) -> ClusterId {
    let clusters = fleet.store().clusters().await.unwrap();
    clusters.into_iter().find(|c| c.display_name == name).unwrap().id
}

/// Guarantee: an agent that is heard and cannot read everything is no green cluster on any page, nor in
/// the numbers; once its next heartbeat says that all is well, neither is anything left of it.
#[tokio::test]
async fn a_cluster_that_does_not_see_everything_is_named() {
    let fleet = Fleet::start().await;
    let well: Vec<Object> = vec![("shop", "cart", [Some(0), Some(0), Some(0)])];
    let cluster = fleet.cluster("cloud-eu", "cloud", &well, true).await;
    let instance = fleet.store().instances(cluster).await.unwrap()[0].id;
    let says = async |capability: &str, healthy: bool| {
        let part = CapabilityHealth {
            capability: capability.to_owned(),
            healthy,
            detail: if healthy { String::new() } else { "c.yaml:4: not YAML".to_owned() },
        };
        let heartbeat = HeartbeatRow {
            cluster,
            instance,
            received_at_ms: NOW_MS,
            epoch: 1,
            last_seq: 1,
            head: Digest::of(b"head"),
            spool_records: 0,
            spool_bytes: 0,
            spool_oldest_age_ms: 0,
            trust_state_digest: String::new(),
            health: Some(vec![part]),
            envelope: Bytes::from_static(b"signed"),
        };
        fleet.store().heartbeat(&heartbeat).await.unwrap();
        let json = fleet.get("/api/v1/fleet").await.json();
        (json["clusters"]["impaired"].clone(), json["impaired"].clone())
    };
    assert_eq!(says("watch", true).await, (0.into(), serde_json::json!([])));
    let (count, rows) = says("watch", false).await;
    assert_eq!((count, &rows[0]["name"]), (1.into(), &"cloud-eu".into()));
    assert_eq!(rows[0]["detail"], "c.yaml:4: not YAML");
    let page = fleet.page("/").await;
    assert!(page.contains("1 cluster is heard and does not tell everything"), "{page}");
    assert!(page.contains("watch: c.yaml:4: not YAML"), "{page}");
    let clusters = fleet.page("/clusters").await;
    assert!(clusters.contains("its agent does not tell everything"), "{clusters}");
    assert_eq!(says("snapshot", false).await, (0.into(), serde_json::json!([])));
    let (_, rows) = says("spool", false).await;
    assert_eq!(rows[0]["capability"], "spool");
    let detail = fleet.get(&format!("/api/v1/clusters/{cluster}")).await.json();
    assert_eq!(detail["impaired"][0]["capability"], "spool", "{detail}");
    assert_eq!(says("watch", true).await.0, 0);
    assert!(!fleet.page("/").await.contains("does not tell everything"));
    fleet.stop().await;
}
