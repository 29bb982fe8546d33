//! What the hub counts about itself, on the admin port and by OTLP.
//!
//! Invariant: labels come from closed sets (codes, states, routes, status codes), never from a cluster, a policy or
//! a request.

use std::path::Path;

use provost_model::Code;
use provost_runtime::metrics::{Counter, Gauge, Histogram, Registry, SECONDS};

#[derive(Clone, Debug)]
pub struct Metrics {
    pub sessions: Gauge,
    pub batches: Counter,
    pub records: Counter,
    pub heartbeats: Counter,
    /// Enrolments with a token that nobody made here; they leave no audit row.
    pub unknown_tokens: Counter,
    /// Agents that were turned away because too many came at once.
    pub shed: Counter,
    pub offers: Counter,
    pub activated: Counter,
    pub not_activated: Counter,
    /// A batch, from its first byte to its commit.
    pub ingest_seconds: Histogram,
    /// The transaction alone, its turn at the writer included.
    pub commit_seconds: Histogram,
    pub clusters: Clusters,
    refused: Vec<(Code, Counter)>,
}

/// Clusters by state; set whenever they were counted.
#[derive(Clone, Debug)]
pub struct Clusters {
    pub fresh: Gauge,
    pub stale: Gauge,
    pub pending: Gauge,
    pub rejected: Gauge,
    pub revoked: Gauge,
}

impl Metrics {
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let answers = |result| {
            registry.counter(
                "provost_hub_bundle_answers_total",
                "Offered bundles, by what agents said became of them.",
                &[("result", result)],
            )
        };
        let refused = |code: Code| {
            let help = "Calls and sessions that were refused, by error code.";
            let labels = [("code", code.as_str())];
            registry.counter("provost_hub_refused_total", help, &labels)
        };
        let seconds = |name, help| registry.histogram(name, help, SECONDS, &[]);
        Self {
            sessions: registry.gauge("provost_hub_sessions", "Open sessions of agents.", &[]),
            batches: counter("provost_hub_batches_total", "Batches that were applied."),
            records: counter("provost_hub_records_total", "Records that were applied."),
            heartbeats: counter("provost_hub_heartbeats_total", "Heartbeats that were kept."),
            unknown_tokens: counter(
                "provost_hub_unknown_tokens_total",
                "Enrolments with a token that this hub did not make.",
            ),
            shed: counter(
                "provost_hub_shed_total",
                "Agents turned away because too many came at once.",
            ),
            offers: counter("provost_hub_offers_total", "Assignments sent to agents."),
            activated: answers("active"),
            not_activated: answers("refused"),
            ingest_seconds: seconds(
                "provost_hub_ingest_seconds",
                "Time to verify and store a batch.",
            ),
            commit_seconds: seconds(
                "provost_hub_store_commit_seconds",
                "Time of a batch's transaction, waiting for the writer included.",
            ),
            clusters: Clusters::new(registry),
            refused: Code::ALL.iter().map(|code| (*code, refused(*code))).collect(),
        }
    }

    /// A session or call was refused for what it said or who it was.
    pub fn refused(&self, code: Code) {
        if let Some((_, counter)) = self.refused.iter().find(|(of, _)| *of == code) {
            counter.increment();
        }
    }
}

impl Clusters {
    fn new(registry: &Registry) -> Self {
        let of = |state| {
            let help = "Clusters by state; the approved ones are fresh or stale.";
            registry.gauge("provost_hub_clusters", help, &[("state", state)])
        };
        Self {
            fresh: of("fresh"),
            stale: of("stale"),
            pending: of("pending"),
            rejected: of("rejected"),
            revoked: of("revoked"),
        }
    }
}

/// Bytes of the database and of its log, whenever somebody asks.
pub fn watch_store(registry: &Registry, data_dir: &Path) {
    for (file, name) in [("database", "hub.db"), ("log", "hub.db-wal")] {
        let help = "Size of the database and of its write-ahead log.";
        let size = registry.gauge("provost_hub_store_bytes", help, &[("file", file)]);
        let path = data_dir.join(name);
        registry.before_reading(move || {
            size.set_size(std::fs::metadata(&path).map_or(0, |found| found.len()));
        });
    }
}
