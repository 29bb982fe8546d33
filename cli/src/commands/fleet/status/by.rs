//! `provost fleet status --by`: the roll-up, one row for each cluster, namespace, policy or control.
//!
//! Invariant: the eight states stand side by side and are never folded.

use clap::ValueEnum;
use comfy_table::Table;
use serde_json::{Value, json};

use super::{STATES, list};
use crate::commands::fleet::clusters;
use crate::commands::fleet::table::{count, left, percent, right, table, text};
use crate::hub::Hub;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// All in one: the default.
    Fleet,
    Cluster,
    /// Of one cluster with --cluster, otherwise of each, by category.
    Namespace,
    Policy,
    /// Of a framework; a policy behind several controls counts in each of them.
    Control,
}

/// Clusters with their numbers, whatever became of them.
pub fn clusters(hub: &Hub) -> anyhow::Result<Value> {
    Ok(json!({"version": 1, "items": hub.all("/api/v1/clusters")?}))
}

/// Namespaces of the clusters of these ids.
pub fn namespaces(hub: &Hub, ids: &[String]) -> anyhow::Result<Value> {
    let mut items = Vec::new();
    for id in ids {
        let detail: Value = hub.get(&format!("/api/v1/clusters/{id}"))?;
        items.extend(rows_of(&detail));
    }
    Ok(json!({"version": 1, "items": items}))
}

/// One row a namespace and category.
fn rows_of(detail: &Value) -> Vec<Value> {
    let cluster = detail.pointer("/cluster").unwrap_or(&Value::Null);
    let mut rows = Vec::new();
    for namespace in list(detail, "/namespaces") {
        for cell in list(namespace, "/cells") {
            rows.push(json!({
                "cluster": cluster["id"],
                "clusterName": cluster["name"],
                "fresh": cluster["fresh"],
                "namespace": namespace["namespace"],
                "category": cell["category"],
                "states": cell["states"],
                "score": cell["score"],
            }));
        }
    }
    rows
}

/// For people.
pub fn shown(by: By, document: &Value) -> Table {
    let names: &[&str] = match by {
        By::Fleet | By::Cluster => &["cluster", "state"],
        By::Namespace => &["cluster", "namespace", "category"],
        By::Policy => &["policy", "code", "severity"],
        By::Control => &["framework", "version", "control", "policies"],
    };
    let with_coverage = by != By::Namespace;
    let states = STATES.iter().map(|(name, _)| *name);
    let mut header: Vec<&str> = names.iter().copied().chain(states).collect();
    header.push("score");
    if with_coverage {
        header.push("coverage");
    }
    let mut rows = table(&header);
    for item in list(document, "/items") {
        let mut row: Vec<_> = names_of(by, item).iter().map(|name| left(name)).collect();
        row.extend(STATES.iter().map(|(_, pointer)| right(count(item, pointer))));
        row.push(right(percent(item, "/score")));
        if with_coverage {
            row.push(right(percent(item, "/coverage")));
        }
        rows.add_row(row);
    }
    rows
}

fn names_of(by: By, item: &Value) -> Vec<String> {
    let of = |pointer| text(item, pointer).to_owned();
    match by {
        By::Fleet | By::Cluster => vec![of("/name"), clusters::state(item)],
        By::Namespace => {
            let namespace = match text(item, "/namespace") {
                "" => "(cluster-scoped)",
                name => name,
            };
            vec![of("/clusterName"), namespace.to_owned(), of("/category")]
        }
        By::Policy => vec![of("/policy"), of("/code"), of("/severity")],
        By::Control => {
            let policies = list(item, "/policies").iter().map(|policy| text(policy, "/policy"));
            let policies = policies.collect::<Vec<_>>().join(" ");
            vec![of("/framework"), of("/frameworkVersion"), of("/control"), policies]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(pass: u64, fail: u64, stale: u64) -> Value {
        json!({"pass": pass, "fail": fail, "warn": 3, "error": 4, "skip": 5, "exempt": 6,
            "notEvaluated": 7, "stale": stale})
    }

    fn lines(by: By, document: &Value) -> String {
        let text = shown(by, document).to_string();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn by_cluster_a_stale_one_has_no_score() {
        let document = json!({"items": [
            {"name": "eu", "status": "APPROVED", "fresh": true, "states": states(1, 2, 0), "score": 0.3333, "coverage": 1.0},
            {"name": "store", "status": "APPROVED", "fresh": false, "states": states(0, 0, 8), "score": null, "coverage": null},
            {"name": "new", "status": "PENDING", "fresh": false, "states": {}},
        ]});
        insta::assert_snapshot!("by_cluster", lines(By::Cluster, &document));
    }

    #[test]
    fn by_namespace_of_a_cluster() {
        let detail = json!({
            "cluster": {"id": "7f", "name": "eu\u{1b}[31m", "fresh": true},
            "namespaces": [
                {"namespace": "", "cells": [{"category": "security", "states": states(1, 0, 0), "score": 1.0}]},
                {"namespace": "shop", "cells": [
                    {"category": "security", "states": states(9, 1, 0), "score": 0.9},
                    {"category": "standards", "states": states(2, 0, 0), "score": null},
                ]},
            ],
        });
        let document = json!({"items": rows_of(&detail)});
        assert_eq!(document["items"][1]["cluster"], "7f");
        insta::assert_snapshot!("by_namespace", lines(By::Namespace, &document));
    }

    #[test]
    fn by_policy_and_by_control() {
        let policies = json!({"items": [{"policy": "host-path", "code": "A06", "severity": "high",
            "states": states(10, 2, 1), "score": 0.83333, "coverage": 0.99999}]});
        insta::assert_snapshot!("by_policy", lines(By::Policy, &policies));
        let controls = json!({"items": [{"framework": "cis-kubernetes", "frameworkVersion": "1.10",
            "control": "5.2.12", "policies": [{"policy": "host-path"}, {"policy": "own-paths"}],
            "states": states(10, 2, 1), "score": 0.83333, "coverage": 1.0}]});
        insta::assert_snapshot!("by_control", lines(By::Control, &controls));
    }
}
