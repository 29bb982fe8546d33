//! Counters, gauges and histograms, and their text for Prometheus.
//!
//! Invariants: label sets are fixed where a metric is made, from closed sets (codes, kinds), never
//! from input; a handle is cheap to clone and never locks on the hot path. Asking for the same name
//! and labels again gives the same metric. What is exported by OTLP is read from here too, so that
//! both say the same.

mod process;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// All metrics of a process; cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    families: Arc<Mutex<BTreeMap<&'static str, Family>>>,
    collectors: Arc<Mutex<Vec<Collector>>>,
}

/// Brings up to date what is only looked at when somebody asks.
type Collector = Box<dyn Fn() + Send + Sync>;

/// Only goes up.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// Goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// A time in seconds, kept in milliseconds: an age, an offset, or a point in Unix time.
#[derive(Clone, Debug, Default)]
pub struct SecondsGauge(Arc<AtomicI64>);

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
    /// By their labels as text.
    metrics: BTreeMap<String, (Labels, Metric)>,
}

#[derive(Clone, Debug)]
enum Metric {
    Counter(Counter),
    /// Processor time and the like, in milliseconds.
    SecondsCounter(Counter),
    Gauge(Gauge),
    SecondsGauge(SecondsGauge),
    Histogram(Histogram),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric as it stands, with all its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub labels: Labels,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(i64),
    Real(f64),
    /// `counts` has one more than `bounds`, and none is in two.
    Buckets {
        bounds: &'static [f64],
        counts: Vec<u64>,
        sum: f64,
    },
}

/// Bounds for durations, in seconds: 100 us to 10 s.
pub const SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

type Label<'a> = (&'static str, &'a str);
type Labels = Vec<(&'static str, String)>;

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With what every daemon says of itself: `provost_build_info` and, on Linux, `process_*`.
    #[must_use]
    pub fn of_process() -> Self {
        let registry = Self::new();
        let help = "Always 1; the version stands in the label.";
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        registry.gauge("provost_build_info", help, &labels).set(1);
        process::watch(&registry);
        registry
    }

    /// `name` ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Counter {
        match self.metric(name, help, labels, || Metric::Counter(Counter::default())) {
            Metric::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    /// A counter that somebody made before there was a registry.
    pub fn adopt(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        counter: &Counter,
    ) {
        self.metric(name, help, labels, || Metric::Counter(counter.clone()));
    }

    /// Counts milliseconds and shows seconds; `name` ends in `_seconds_total`.
    pub fn seconds_counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
    ) -> Counter {
        match self.metric(name, help, labels, || Metric::SecondsCounter(Counter::default())) {
            Metric::SecondsCounter(counter) => counter,
            _ => Counter::default(),
        }
    }

    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Gauge {
        match self.metric(name, help, labels, || Metric::Gauge(Gauge::default())) {
            Metric::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// `name` ends in `_seconds`.
    pub fn seconds_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
    ) -> SecondsGauge {
        match self.metric(name, help, labels, || Metric::SecondsGauge(SecondsGauge::default())) {
            Metric::SecondsGauge(gauge) => gauge,
            _ => SecondsGauge::default(),
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

    /// `collect` is called before every reading, to set what is only looked at then. It does not wait.
    pub fn before_reading(&self, collect: impl Fn() + Send + Sync + 'static) {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(collect));
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
        let own = || labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let entry = family.metrics.entry(label_text(labels));
        entry.or_insert_with(|| (own(), make())).1.clone()
    }

    /// Every metric as it stands, sorted by name and labels.
    #[must_use]
    pub fn read(&self) -> Vec<Reading> {
        for collect in self.collectors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            collect();
        }
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = |(name, family): (&&'static str, &Family)| {
            let first = family.metrics.values().next()?;
            let point = |(labels, metric): &(Labels, Metric)| Point {
                labels: labels.clone(),
                value: metric.value(),
            };
            Some(Reading {
                name,
                help: family.help,
                kind: first.1.kind(),
                points: family.metrics.values().map(point).collect(),
            })
        };
        families.iter().filter_map(reading).collect()
    }

    /// Prometheus text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for Reading { name, help, kind, points } in self.read() {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
            for point in points {
                // Writing into a string does not fail.
                let _ = point.render(name, &mut text);
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

    /// For a count that somebody else keeps; it never goes back.
    pub fn raise_to(&self, count: u64) {
        self.0.fetch_max(count, Ordering::Relaxed);
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

    /// For sizes; beyond what fits it stays at the largest value.
    pub fn set_size(&self, value: u64) {
        self.set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl SecondsGauge {
    pub fn set_ms(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    pub fn set_secs(&self, secs: i64) {
        self.set_ms(secs.saturating_mul(1000));
    }

    #[must_use]
    pub fn get_ms(&self) -> i64 {
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
        let micros = (value * 1e6).round() as u64;
        self.0.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    const fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) | Self::SecondsCounter(_) => Kind::Counter,
            Self::Gauge(_) | Self::SecondsGauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "what is shown needs no 53 bits")]
    fn value(&self) -> Value {
        match self {
            Self::Counter(counter) => {
                Value::Integer(i64::try_from(counter.get()).unwrap_or(i64::MAX))
            }
            Self::SecondsCounter(counter) => Value::Real(counter.get() as f64 / 1e3),
            Self::Gauge(gauge) => Value::Integer(gauge.get()),
            Self::SecondsGauge(gauge) => Value::Real(gauge.get_ms() as f64 / 1e3),
            Self::Histogram(Histogram(buckets)) => Value::Buckets {
                bounds: buckets.bounds,
                counts: buckets.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
                sum: buckets.sum_micros.load(Ordering::Relaxed) as f64 / 1e6,
            },
        }
    }
}

impl Point {
    fn render(&self, name: &str, text: &mut String) -> fmt::Result {
        let labels: Vec<_> = self.labels.iter().map(|(n, value)| (*n, value.as_str())).collect();
        let labels = label_text(&labels);
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        match &self.value {
            Value::Integer(value) => writeln!(text, "{name}{braced} {value}"),
            Value::Real(value) => writeln!(text, "{name}{braced} {value}"),
            Value::Buckets { bounds, counts, sum } => {
                let comma = if labels.is_empty() { "" } else { "," };
                let mut total = 0;
                for (position, count) in counts.iter().enumerate() {
                    total += count;
                    let bound = bounds.get(position);
                    let bound = bound.map_or_else(|| "+Inf".to_owned(), ToString::to_string);
                    writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}")?;
                }
                writeln!(text, "{name}_sum{braced} {sum}\n{name}_count{braced} {total}")
            }
        }
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

    #[test]
    fn what_is_looked_at_is_looked_at_when_asked() {
        let registry = Registry::new();
        let age = registry.seconds_gauge("age_seconds", "Age.", &[]);
        let spent = registry.seconds_counter("spent_seconds_total", "Spent.", &[]);
        registry.before_reading(move || {
            age.set_ms(age.get_ms() + 1500);
            spent.raise_to(2250);
        });
        let text = registry.render();
        assert!(text.contains("# TYPE age_seconds gauge\nage_seconds 1.5\n"), "{text}");
        assert!(text.contains("# TYPE spent_seconds_total counter\nspent_seconds_total 2.25\n"));
        assert!(registry.render().contains("age_seconds 3\n"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_knows_what_it_takes() {
        let text = Registry::of_process().render();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} in {text}"))[name.len() + 1..].parse().unwrap()
        };
        let memory: f64 = value("process_resident_memory_bytes");
        assert!(memory > 1e6 && memory < 1e12, "{memory}");
        assert!(value("process_open_fds") >= 3.0 && value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let started: f64 = value("process_start_time_seconds");
        assert!(started > 1.5e9 && started < 1e11, "{started}");
        assert!(text.contains("provost_build_info{version=\""));
    }
}
