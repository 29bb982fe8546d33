//! Metrics as OTLP states them: the same names, numbers and buckets as `/metrics`.

use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;

use super::trace::Moment;
use crate::metrics::{Kind, Point, Reading, Registry};

/// Everything since `begun`, as it is `now`.
pub(super) fn of(registry: &Registry, begun: Moment, now: Moment) -> Vec<Metric> {
    let (begun, now) = (nanos(begun), nanos(now));
    registry.read().into_iter().map(|reading| metric(reading, begun, now)).collect()
}

fn metric(reading: Reading, begun: u64, now: u64) -> Metric {
    let Reading { name, help, kind, points } = reading;
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match kind {
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: points.into_iter().map(|point| buckets(point, begun, now)).collect(),
            aggregation_temporality: cumulative,
        }),
        Kind::Counter => Data::Sum(Sum {
            data_points: points.into_iter().map(|point| number(point, begun, now)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: points.into_iter().map(|point| number(point, 0, now)).collect(),
        }),
    };
    Metric {
        name: name.to_owned(),
        description: help.to_owned(),
        unit: unit(name).to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

/// UCUM, by the name's own suffix.
fn unit(name: &str) -> &'static str {
    let stem = name.strip_suffix("_total").unwrap_or(name);
    match stem.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "1",
    }
}

fn number(point: Point, begun: u64, now: u64) -> NumberDataPoint {
    let value = match point.value {
        crate::metrics::Value::Integer(value) => Value::AsInt(value),
        crate::metrics::Value::Real(value) => Value::AsDouble(value),
        crate::metrics::Value::Buckets { .. } => Value::AsInt(0),
    };
    NumberDataPoint {
        attributes: attributes(point.labels),
        start_time_unix_nano: begun,
        time_unix_nano: now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn buckets(point: Point, begun: u64, now: u64) -> HistogramDataPoint {
    let (bounds, counts, sum) = match point.value {
        crate::metrics::Value::Buckets { bounds, counts, sum } => (bounds, counts, sum),
        _ => (&[][..], Vec::new(), 0.0),
    };
    HistogramDataPoint {
        attributes: attributes(point.labels),
        start_time_unix_nano: begun,
        time_unix_nano: now,
        count: counts.iter().sum(),
        sum: Some(sum),
        bucket_counts: counts,
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(labels: Vec<(&'static str, String)>) -> Vec<KeyValue> {
    labels.into_iter().map(|(name, value)| text(name, value)).collect()
}

pub(super) fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Any::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

pub(super) fn scope(name: &str) -> InstrumentationScope {
    InstrumentationScope { name: name.to_owned(), ..InstrumentationScope::default() }
}

pub(super) fn resource(of: &ResourceAttributesWithSchema) -> Resource {
    Resource { attributes: of.attributes.0.clone(), ..Resource::default() }
}

pub(super) fn nanos(moment: Moment) -> u64 {
    let since = moment.time().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_names() {
        for (name, expected) in [
            ("process_cpu_seconds_total", "s"),
            ("provost_hub_ingest_seconds", "s"),
            ("provost_agent_spool_bytes", "By"),
            ("provost_agent_acks_total", "1"),
        ] {
            assert_eq!(unit(name), expected, "{name}");
        }
    }

    #[test]
    fn buckets_are_the_ones_of_the_registry() {
        let registry = Registry::new();
        let times = registry.histogram("x_seconds", "X.", &[0.1, 1.0], &[("lane", "audit")]);
        for value in [0.05, 0.1, 0.5, 9.0] {
            times.observe(value);
        }
        registry.counter("y_total", "Y.", &[]).add(3);
        let metrics = of(&registry, Moment::now(), Moment::now());
        let histogram = metrics.iter().find(|metric| metric.name == "x_seconds").unwrap();
        let Some(Data::Histogram(histogram)) = &histogram.data else { panic!("{histogram:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.bucket_counts.as_slice(), point.count), (&[2, 1, 1][..], 4));
        assert_eq!((point.explicit_bounds.as_slice(), point.sum), (&[0.1, 1.0][..], Some(9.65)));
        assert_eq!(point.attributes, [text("lane", "audit".to_owned())]);
        let counter = metrics.iter().find(|metric| metric.name == "y_total").unwrap();
        let Some(Data::Sum(sum)) = &counter.data else { panic!("{counter:?}") };
        assert!(sum.is_monotonic && sum.data_points[0].value == Some(Value::AsInt(3)));
    }
}
