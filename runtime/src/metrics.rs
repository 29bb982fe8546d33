//! Counters, gauges and histograms, and their text for Prometheus.
//!
//! Invariants: label sets are fixed where a metric is made, from closed sets (codes, kinds), never
//! from input; a handle is cheap to clone and never locks on the hot path. Asking for the same name
//! and labels again gives the same metric.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// All metrics of a process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    families: Arc<Mutex<BTreeMap<&'static str, Family>>>,
}

/// Only goes up.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// Goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// Counts values into buckets.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper bounds, ascending.
    bounds: &'static [f64],
    /// One more than `bounds`: the last holds what is above them all.
    counts: Vec<AtomicU64>,
    /// Sum of values in millionths, so that an integer holds it.
    sum_micros: AtomicU64,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    metrics: BTreeMap<String, Metric>,
}

#[derive(Clone, Debug)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// Bounds for durations, in seconds: 100 us to 10 s.
pub const SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

type Label<'a> = (&'static str, &'a str);

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `name` ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Counter {
        match self.metric(name, help, labels, || Metric::Counter(Counter::default())) {
            Metric::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Gauge {
        match self.metric(name, help, labels, || Metric::Gauge(Gauge::default())) {
            Metric::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// `bounds` ascend.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
        labels: &[Label<'_>],
    ) -> Histogram {
        match self.metric(name, help, labels, || Metric::Histogram(Histogram::new(bounds))) {
            Metric::Histogram(histogram) => histogram,
            _ => Histogram::new(bounds),
        }
    }

    fn metric(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        make: impl FnOnce() -> Metric,
    ) -> Metric {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family =
            families.entry(name).or_insert_with(|| Family { help, metrics: BTreeMap::new() });
        family.metrics.entry(label_text(labels)).or_insert_with(make).clone()
    }

    /// Prometheus text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in families.iter() {
            let kind = family.metrics.values().next().map_or("untyped", Metric::kind);
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (labels, metric) in &family.metrics {
                metric.render(name, labels, &mut text);
            }
        }
        text
    }
}

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds, counts, sum_micros: AtomicU64::new(0) }))
    }

    /// Negative and non-finite values count as 0.
    pub fn observe(&self, value: f64) {
        let value = if value.is_finite() { value.max(0.0) } else { 0.0 };
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let micros = (value * 1e6) as u64;
        self.0.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn observe_duration(&self, duration: std::time::Duration) {
        self.observe(duration.as_secs_f64());
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Metric {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }

    fn render(&self, name: &str, labels: &str, text: &mut String) {
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = match self {
            Self::Counter(counter) => writeln!(text, "{name}{braced} {}", counter.get()),
            Self::Gauge(gauge) => writeln!(text, "{name}{braced} {}", gauge.get()),
            Self::Histogram(histogram) => histogram.render(name, labels, &braced, text),
        };
    }
}

impl Histogram {
    fn render(
        &self,
        name: &str,
        labels: &str,
        braced: &str,
        text: &mut String,
    ) -> std::fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (position, count) in self.0.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound =
                self.0.bounds.get(position).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
            writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}")?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum for people")]
        let sum = self.0.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        writeln!(text, "{name}_sum{braced} {sum}\n{name}_count{braced} {total}")
    }
}

fn label_text(labels: &[Label<'_>]) -> String {
    let escape =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let registry = Registry::new();
        let acks = registry.counter("acks_total", "Acks.", &[("result", "o\"k")]);
        acks.increment();
        registry.counter("acks_total", "Acks.", &[("result", "o\"k")]).add(2);
        registry.gauge("depth", "Depth.", &[]).set(-3);
        let times = registry.histogram("time_seconds", "Times.", &[0.1, 1.0], &[("lane", "audit")]);
        for value in [0.1, 0.5, 7.0, f64::NAN] {
            times.observe(value);
        }
        assert_eq!(
            registry.render(),
            "# HELP acks_total Acks.\n# TYPE acks_total counter\nacks_total{result=\"o\\\"k\"} 3\n\
             # HELP depth Depth.\n# TYPE depth gauge\ndepth -3\n\
             # HELP time_seconds Times.\n# TYPE time_seconds histogram\n\
             time_seconds_bucket{lane=\"audit\",le=\"0.1\"} 2\n\
             time_seconds_bucket{lane=\"audit\",le=\"1\"} 3\n\
             time_seconds_bucket{lane=\"audit\",le=\"+Inf\"} 4\n\
             time_seconds_sum{lane=\"audit\"} 7.6\ntime_seconds_count{lane=\"audit\"} 4\n"
        );
    }
}
