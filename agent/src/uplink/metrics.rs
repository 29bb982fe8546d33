//! What the way to the hub counts.

use provost_proto::session::BundleAnswer;
use provost_runtime::metrics::{Counter, Registry, SecondsGauge};

#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) sessions: Counter,
    pub(super) batches: Counter,
    pub(super) acks: Counter,
    pub(super) heartbeats: Counter,
    pub(super) failures: Counter,
    pub(super) clock_offset: SecondsGauge,
    activated: Counter,
    refused: Counter,
}

impl Metrics {
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let answers = |result| {
            registry.counter(
                "provost_agent_bundle_answers_total",
                "Bundles that the hub offered, by what became of them here.",
                &[("result", result)],
            )
        };
        Self {
            sessions: counter(
                "provost_agent_sessions_total",
                "Sessions that were opened with the hub; all but the first are reconnects.",
            ),
            batches: counter("provost_agent_batches_sent_total", "Batches sent to the hub."),
            acks: counter("provost_agent_acks_total", "Acknowledgements from the hub."),
            heartbeats: counter("provost_agent_heartbeats_sent_total", "Heartbeats sent."),
            failures: counter(
                "provost_agent_link_failures_total",
                "Connections and sessions that ended with an error.",
            ),
            clock_offset: registry.seconds_gauge(
                "provost_agent_clock_offset_seconds",
                "The hub's clock minus this machine's, as the last session measured it.",
                &[],
            ),
            activated: answers("active"),
            refused: answers("refused"),
        }
    }

    pub(super) fn answered(&self, answer: &BundleAnswer) {
        match answer {
            BundleAnswer::Active { .. } => self.activated.increment(),
            BundleAnswer::Refused { .. } => self.refused.increment(),
        }
    }
}
