//! Log events: one line each for people or machines, and the same as OTLP log records.
//!
//! Invariant: one event is one line, whatever its values hold.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt as format};

use super::counts::{Counts, Signal};
use super::export;
use super::points::{nanos, text};
use super::settings::Format;
use super::trace::Moment;

/// Of a message or a field; what is longer is cut.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Lines on standard error.
pub(super) fn lines<S>(wanted: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let terminal = io::stderr().is_terminal();
    let json = match wanted {
        Format::Auto => !terminal,
        Format::Human => false,
        Format::Json => true,
    };
    if json {
        format::layer().json().flatten_event(true).with_writer(Stderr).boxed()
    } else {
        let colour = terminal && !is_colour_unwanted();
        format::layer().with_target(false).with_ansi(colour).with_writer(Stderr).boxed()
    }
}

/// <https://no-color.org>: set and not empty; or a terminal that has none.
fn is_colour_unwanted() -> bool {
    crate::config::process_environment().any(|(name, value)| {
        (name == "NO_COLOR" && !value.is_empty()) || (name == "TERM" && value == "dumb")
    })
}

#[derive(Clone, Copy, Debug)]
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = OneLine<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(io::stderr())
    }
}

/// Takes an event at a time, which ends with a line break; writes any other one as `\n`.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        if !body.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let mut line = Vec::with_capacity(event.len() + 8);
        for byte in body {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                other => line.push(*other),
            }
        }
        line.push(b'\n');
        self.0.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Hands events to the export.
pub(super) struct Exported {
    pub queue: mpsc::Sender<LogRecord>,
    pub counts: Counts,
}

impl<S: Subscriber> Layer<S> for Exported {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if export::is_exporter() {
            return;
        }
        let metadata = event.metadata();
        let mut seen = Fields::default();
        event.record(&mut seen);
        seen.attributes.push(text("target", metadata.target().to_owned()));
        let (severity, name) = severity(*metadata.level());
        let now = nanos(Moment::now());
        let record = LogRecord {
            time_unix_nano: now,
            observed_time_unix_nano: now,
            severity_number: severity.into(),
            severity_text: name.to_owned(),
            body: Some(AnyValue { value: Some(Any::StringValue(seen.message)) }),
            attributes: seen.attributes,
            ..LogRecord::default()
        };
        if self.queue.try_send(record).is_err() {
            self.counts.dropped(Signal::Logs, 1);
        }
    }
}

const fn severity(level: Level) -> (SeverityNumber, &'static str) {
    match level {
        Level::ERROR => (SeverityNumber::Error, "ERROR"),
        Level::WARN => (SeverityNumber::Warn, "WARN"),
        Level::INFO => (SeverityNumber::Info, "INFO"),
        Level::DEBUG => (SeverityNumber::Debug, "DEBUG"),
        Level::TRACE => (SeverityNumber::Trace, "TRACE"),
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    attributes: Vec<KeyValue>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Any) {
        let value = Some(AnyValue { value: Some(value) });
        let key = field.name().to_owned();
        self.attributes.push(KeyValue { key, value, ..KeyValue::default() });
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut end = value.len().min(MAX_TEXT_BYTES);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = value[..end].to_owned();
        if field.name() == "message" {
            self.message = value;
        } else {
            self.put(field, Any::StringValue(value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Any::IntValue(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Any::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Any::DoubleValue(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Any::BoolValue(value));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_in_both_formats() {
        for json in [false, true] {
            let sink = Sink::default();
            let writer = sink.clone();
            let make = move || OneLine(writer.clone());
            let layer = format::layer().with_ansi(false).with_writer(make);
            let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.boxed() };
            let subscriber = tracing_subscriber::registry().with(layer);
            tracing::subscriber::with_default(subscriber, || {
                let error = "first\nsecond\r\nthird";
                tracing::warn!(%error, "a message\nof two lines {error}");
                tracing::info!("another");
            });
            let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(text.contains("first\\nsecond\\r\\nthird") && !text.contains('\r'), "{text}");
            assert!(text.ends_with('\n'));
        }
    }

    #[test]
    fn an_event_goes_out_with_its_fields_and_a_full_queue_counts() {
        let (queue, mut taken) = mpsc::channel(1);
        let counts = Counts::default();
        let layer = Exported { queue, counts: counts.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!(code = "FORK", seq = 7_u64, ok = false, "the chain forked");
            tracing::info!("no room");
        });
        let record = taken.try_recv().unwrap();
        assert_eq!(record.severity_text, "ERROR");
        let body = record.body.unwrap().value.unwrap();
        assert_eq!(body, Any::StringValue("the chain forked".to_owned()));
        assert!(record.attributes.contains(&text("code", "FORK".to_owned())));
        let numbers = record.attributes.iter().filter_map(|a| a.value.as_ref()?.value.as_ref());
        let numbers: Vec<_> = numbers.filter(|v| !matches!(v, Any::StringValue(_))).collect();
        assert_eq!(numbers, [&Any::IntValue(7), &Any::BoolValue(false)]);
        let registry = crate::metrics::Registry::new();
        counts.show(&registry);
        assert!(registry.render().contains("provost_telemetry_dropped_total{signal=\"logs\"} 1"));
    }
}
