//! What the hub counts about itself, on the admin port.

use provost_runtime::metrics::{Counter, Gauge, Registry};

#[derive(Clone, Debug)]
pub struct Metrics {
    pub sessions: Gauge,
    pub batches: Counter,
    pub records: Counter,
    pub heartbeats: Counter,
    /// Sessions and calls that were refused for what they said or who they were.
    pub refused: Counter,
    /// Enrolments with a token that nobody made here; they leave no audit row.
    pub unknown_tokens: Counter,
    /// Agents that were turned away because too many came at once.
    pub shed: Counter,
}

impl Metrics {
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            sessions: registry.gauge("provost_hub_sessions", "Open sessions of agents.", &[]),
            batches: registry.counter(
                "provost_hub_batches_total",
                "Batches that were applied.",
                &[],
            ),
            records: registry.counter(
                "provost_hub_records_total",
                "Records that were applied.",
                &[],
            ),
            heartbeats: registry.counter(
                "provost_hub_heartbeats_total",
                "Heartbeats that were kept.",
                &[],
            ),
            refused: registry.counter(
                "provost_hub_refused_total",
                "Calls and sessions that were refused.",
                &[],
            ),
            unknown_tokens: registry.counter(
                "provost_hub_unknown_tokens_total",
                "Enrolments with a token that this hub did not make.",
                &[],
            ),
            shed: registry.counter(
                "provost_hub_shed_total",
                "Agents turned away because too many came.",
                &[],
            ),
        }
    }
}
