//! What the agent says of itself: JSON and a small page on the admin port, and the same read from
//! the data folder when the agent does not run.

use std::path::Path;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Json, Response};
use axum::routing::get;
use provost_model::{ClusterId, InstanceId};
use provost_runtime::admin::Health;
use provost_trust::PublicKey;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bundles::{Store, View};
use crate::damage;
use crate::identity::Identity;
use crate::identity::certificates::Certificates;
use crate::identity::enrolment::{Enrolment, Stage};
use crate::report::Position;

/// State of the way to the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// How far enrolment has come; none: nobody was asked.
    pub stage: Option<Stage>,
    pub cluster: Option<ClusterId>,
    pub connected: bool,
    pub hub: String,
    /// Why there is no session; empty when there is one.
    pub problem: String,
    pub last_heartbeat_ms: Option<i64>,
    pub acked_seq: u64,
    pub certificate_not_after_s: Option<i64>,
}

/// `GET /status`; format version 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: u32,
    /// False: read from the data folder of an agent that does not answer.
    pub running: bool,
    pub agent_version: String,
    pub name: String,
    pub instance: Option<InstanceId>,
    /// Public, lower-case hex: what the hub shows of a cluster that waits for approval, and a grant names.
    pub identity_key: Option<String>,
    pub cluster: Option<ClusterId>,
    /// `none`, `asked`, `pending` or `enrolled`.
    pub enrolment: String,
    pub link: LinkStatus,
    pub bundle: Option<BundleStatus>,
    pub refused: Option<RefusedStatus>,
    pub spool: Option<SpoolStatus>,
    pub parts: Vec<PartStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    pub connected: bool,
    pub hub: String,
    pub problem: String,
    pub last_heartbeat_ms: Option<i64>,
    pub certificate_not_after_s: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleStatus {
    pub channel: String,
    pub version: u64,
    pub manifest: String,
    /// In force; missing where the agent does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindings: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedStatus {
    pub version: u64,
    pub manifest: String,
    pub code: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpoolStatus {
    pub epoch: u64,
    pub last_seq: u64,
    pub acked_seq: u64,
    pub unacknowledged: u64,
    /// Changes and events that are in memory alone, for some seconds: a kill takes them.
    #[serde(default)]
    pub pending: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartStatus {
    pub name: String,
    pub healthy: bool,
    pub detail: String,
}

/// Where the pieces of a running agent's status come from.
#[derive(Clone)]
pub struct Board {
    pub name: String,
    pub instance: InstanceId,
    pub identity_key: PublicKey,
    pub link: watch::Receiver<Link>,
    pub bundles: watch::Receiver<View>,
    pub position: watch::Receiver<Position>,
    pub health: Health,
}

impl Board {
    #[must_use]
    pub fn status(&self) -> Status {
        let link = self.link.borrow().clone();
        let view = self.bundles.borrow().clone();
        let position = self.position.borrow().clone();
        let parts = self.health.parts().into_iter().map(|(name, part)| PartStatus {
            name: name.to_owned(),
            healthy: part.healthy,
            detail: part.detail,
        });
        Status {
            version: 1,
            running: true,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.name.clone(),
            instance: Some(self.instance),
            identity_key: Some(self.identity_key.to_string()),
            cluster: link.cluster,
            enrolment: word(link.stage).to_owned(),
            bundle: view.active.map(|active| BundleStatus {
                channel: active.channel,
                version: active.version,
                manifest: active.manifest.to_string(),
                policies: Some(active.policies),
                bindings: Some(active.bindings),
            }),
            refused: view.last_refusal.map(|last| RefusedStatus {
                version: last.version,
                manifest: last.manifest.to_string(),
                code: last.refused.code.as_str().to_owned(),
                message: last.refused.message,
            }),
            spool: Some(SpoolStatus {
                epoch: position.epoch,
                last_seq: position.last_seq,
                acked_seq: position.acked_seq,
                unacknowledged: position.records,
                pending: position.pending,
                bytes: position.bytes,
            }),
            link: LinkStatus {
                connected: link.connected,
                hub: link.hub,
                problem: link.problem,
                last_heartbeat_ms: link.last_heartbeat_ms,
                certificate_not_after_s: link.certificate_not_after_s,
            },
            parts: parts.collect(),
        }
    }
}

/// What the data folder says, for an agent that does not run. None: there is no agent's data.
pub fn from_data_folder(data_dir: &Path) -> anyhow::Result<Option<Status>> {
    let folder = data_dir.join("identity");
    let Some(identity) = Identity::read(&folder)? else { return Ok(None) };
    let enrolment = Enrolment::read(&folder)?;
    let certificates = Certificates::open(&folder)?;
    let store = Store::open(&data_dir.join("bundles"))?;
    let active = store.active()?.map(|pointer| pointer.manifest);
    let manifest = match active {
        Some(digest) => store.manifest(&digest)?,
        None => None,
    };
    let parsed = manifest.map(|envelope| provost_trust::PolicyManifest::parse(&envelope.payload));
    let bundle = parsed.transpose()?.zip(active).map(|(manifest, digest)| BundleStatus {
        channel: manifest.channel,
        version: manifest.version,
        manifest: digest.to_string(),
        policies: None,
        bindings: None,
    });
    let link = LinkStatus {
        problem: "the agent does not run".to_owned(),
        hub: enrolment.as_ref().map(|e| e.hubs.join(", ")).unwrap_or_default(),
        certificate_not_after_s: certificates.validity().map(|validity| validity.not_after),
        ..LinkStatus::default()
    };
    Ok(Some(Status {
        version: 1,
        running: false,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        name: String::new(),
        instance: Some(identity.instance),
        identity_key: Some(identity.identity_key.public().to_string()),
        enrolment: word(enrolment.as_ref().map(|enrolment| enrolment.stage)).to_owned(),
        cluster: enrolment.and_then(|enrolment| enrolment.cluster_id),
        link,
        bundle,
        refused: None,
        spool: None,
        parts: damaged(data_dir),
    }))
}

const fn word(stage: Option<Stage>) -> &'static str {
    match stage {
        None => "none",
        Some(Stage::Asked) => "asked",
        Some(Stage::Pending) => "pending",
        Some(Stage::Enrolled) => "enrolled",
    }
}

fn damaged(data_dir: &Path) -> Vec<PartStatus> {
    let problem = damage::problem(data_dir, &[]);
    let part = |detail| PartStatus { name: "trust".to_owned(), healthy: false, detail };
    problem.map(part).into_iter().collect()
}

/// `/` and `/status`.
pub fn router(board: Board) -> Router {
    Router::new().route("/", get(page)).route("/status", get(json)).with_state(board)
}

async fn json(State(board): State<Board>) -> Json<Status> {
    Json(board.status())
}

async fn page(State(board): State<Board>) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Html(html(&board.status()))).into_response()
}

impl Status {
    /// Label and value, in the order people read them.
    #[must_use]
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        let mut line = |label: &str, value: String| lines.push((label.to_owned(), value));
        line("Agent", if self.running { "running" } else { "not running" }.to_owned());
        if !self.name.is_empty() {
            line("Name", self.name.clone());
        }
        if let Some(key) = &self.identity_key {
            line("Identity", key.clone());
        }
        line("Cluster", self.cluster.map_or_else(|| "none yet".to_owned(), |id| id.to_string()));
        line("Enrolment", self.enrolment.clone());
        let link = &self.link;
        let word = match (link.connected, link.problem.as_str()) {
            (true, _) => format!("connected to {}", link.hub),
            (false, "") => "not connected".to_owned(),
            (false, problem) => format!("not connected: {problem}"),
        };
        line("Hub", word);
        let bundle = self.bundle.as_ref().map_or_else(
            || "none".to_owned(),
            |b| {
                let manifest = b.manifest.get(..12).unwrap_or("");
                let policies = b.policies.map(|number| format!(", {number} policies"));
                let policies = policies.unwrap_or_default();
                format!("{} version {} ({manifest}){policies}", b.channel, b.version)
            },
        );
        line("Bundle", bundle);
        if let Some(refused) = &self.refused {
            line(
                "Refused",
                format!("version {}: {}: {}", refused.version, refused.code, refused.message),
            );
        }
        if let Some(spool) = &self.spool {
            let SpoolStatus { unacknowledged, pending, bytes, acked_seq, last_seq, .. } = spool;
            line(
                "Spool",
                format!(
                    "{unacknowledged} records not acknowledged, {pending} changes not on disk yet, {bytes} bytes, {acked_seq} of {last_seq}"
                ),
            );
        }
        for part in &self.parts {
            let word = if part.healthy { "ok" } else { "not ok" };
            let detail =
                if part.detail.is_empty() { String::new() } else { format!(": {}", part.detail) };
            line(&part.name, format!("{word}{detail}"));
        }
        lines
    }
}

fn html(status: &Status) -> String {
    let row = |(label, value): &(String, String)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escaped(label), escaped(value))
    };
    let rows: String = status.lines().iter().map(row).collect();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Provost agent</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem;max-width:60rem}}\
         th{{text-align:left;padding-right:2rem;vertical-align:top;font-weight:600}}</style>\
         <h1>Provost agent</h1><table>{rows}</table></html>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
