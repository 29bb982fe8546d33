//! Lists of the API go on with a cursor, each and every one.

use std::collections::BTreeSet;

use provost_aggregator::api::openapi::Api;
use serde_json::{Value, json};
use utoipa::OpenApi as _;

use super::fleet::{Fleet, NOW_MS};
use super::http::post;
use crate::chain::{Step, activated, decoded};
use crate::conformance;
use crate::signer::{Signer, contents};

/// What an export takes whole: a row for each instance, grant, root version or bundle.
const WHOLE: [&str; 4] = [
    "/api/v1/clusters/{cluster}/heartbeats",
    "/api/v1/grants",
    "/api/v1/roots",
    "/api/v1/manifests",
];

/// Two rows or more of everything that has rows.
async fn full() -> Fleet {
    let fleet = Fleet::start().await;
    let signer = Signer::new(fleet.hub.hub.keys.director.public(), NOW_MS);
    for version in 1..=3 {
        signer.publish(&fleet.hub.hub, &contents(&["host-network"]), version).await.unwrap();
    }
    fleet.seed().await;
    for name in ["a", "b", "c"] {
        let body = json!({"name": name, "role": "viewer"});
        let made = fleet.send(post("/api/v1/tokens").bearer(&fleet.admin).json(&body)).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let store = &**fleet.store();
    let mut chain = conformance::cluster(store, 77).await;
    store.ingest(&chain.stored(vec![activated()]), NOW_MS).await.unwrap();
    for _ in 0..3 {
        let batch = decoded(chain.batch_of(vec![Step::Elision(7)]));
        store.ingest(&batch, NOW_MS).await.unwrap();
    }
    fleet
}

/// Every row, by pages of this many; each page says the same total.
async fn walk(fleet: &Fleet, path: &str, limit: usize) -> (Vec<Value>, Value) {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = fleet.get(&format!("{path}?limit={limit}&cursor={cursor}")).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit, "{path} gives {} rows", items.len());
        rows.extend(items.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return (rows, page["total"].clone()),
        }
        assert!(rows.len() < 1000, "{path} never ends");
    }
}

#[tokio::test]
async fn every_list_gives_each_row_once_whatever_the_size_of_its_pages() {
    let fleet = full().await;
    for (path, least) in [
        ("/api/v1/gaps", 3),
        ("/api/v1/causes", 2),
        ("/api/v1/not-evaluated", 2),
        ("/api/v1/tokens", 4),
        ("/api/v1/enrol-tokens", 4),
        ("/api/v1/bundles", 3),
        ("/api/v1/findings", 2),
        ("/api/v1/clusters", 3),
    ] {
        let (whole, total) = walk(&fleet, path, 500).await;
        assert!(whole.len() >= least, "{path} has {} rows", whole.len());
        assert_eq!(total, whole.len(), "{path}");
        for size in [1, 2] {
            assert_eq!(walk(&fleet, path, size).await, (whole.clone(), total.clone()), "{path}");
        }
        let foreign = fleet.get("/api/v1/audit?limit=1").await.json()["next"].clone();
        let refused = fleet.get(&format!("{path}?cursor={}", foreign.as_str().unwrap())).await;
        assert_eq!(refused.status, 400, "{path}");
    }
    fleet.stop().await;
}

/// Guarantee: a list that is added is paged, or somebody says here why not.
#[test]
fn no_route_answers_with_a_bare_list() {
    let document = serde_json::to_value(Api::openapi()).unwrap();
    let mut bare = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema["type"] == "array" {
            bare.insert(path.as_str());
        }
    }
    assert_eq!(bare, BTreeSet::from(WHOLE));
}
