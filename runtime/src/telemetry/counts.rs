//! What became of telemetry: metrics about the export itself.

use crate::metrics::{Counter, Registry};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Logs,
    Metrics,
}

/// Per signal; in the order of [`Signal`].
#[derive(Clone, Debug, Default)]
pub(super) struct Counts([Count; 3]);

#[derive(Clone, Debug, Default)]
struct Count {
    exported: Counter,
    dropped: Counter,
    failures: Counter,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

impl Counts {
    /// Shows them among the daemon's metrics.
    pub(super) fn show(&self, registry: &Registry) {
        for signal in Signal::ALL {
            let Count { exported, dropped, failures } = self.of(signal);
            let labels = [("signal", signal.name())];
            for (name, help, counter) in [
                (
                    "provost_telemetry_exported_total",
                    "Spans, log records and metrics that the OTLP receiver took.",
                    exported,
                ),
                (
                    "provost_telemetry_dropped_total",
                    "Spans, log records and metrics that were dropped: the queue was full, or the receiver did not take them.",
                    dropped,
                ),
                (
                    "provost_telemetry_export_failures_total",
                    "Attempts to export that failed.",
                    failures,
                ),
            ] {
                registry.adopt(name, help, &labels, counter);
            }
        }
    }

    pub(super) fn exported(&self, signal: Signal, count: usize) {
        self.of(signal).exported.add(count as u64);
    }

    pub(super) fn dropped(&self, signal: Signal, count: usize) {
        self.of(signal).dropped.add(count as u64);
    }

    pub(super) fn failed(&self, signal: Signal) {
        self.of(signal).failures.increment();
    }

    const fn of(&self, signal: Signal) -> &Count {
        let [traces, logs, metrics] = &self.0;
        match signal {
            Signal::Traces => traces,
            Signal::Logs => logs,
            Signal::Metrics => metrics,
        }
    }
}
