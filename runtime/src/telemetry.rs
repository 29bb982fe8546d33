//! Logs for people or machines on standard error; logs, metrics and traces by OTLP where an
//! endpoint is configured.
//!
//! opentelemetry lives in this folder alone. A telemetry failure never stops, delays or grows a
//! daemon: what cannot be exported is dropped and counted.

mod counts;
mod export;
mod logs;
mod points;
mod settings;
pub mod trace;

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use counts::{Counts, Signal};
use export::Export;
use settings::Target;

pub use settings::{Format, Headers, Settings};

use crate::metrics::Registry;

/// Names the instrumentation in what is exported.
const SCOPE: &str = "provost";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("log.filter is not usable")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up twice")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    #[error("log.{key}: {what}")]
    Setting { key: &'static str, what: &'static str },
    #[error("log.{key}: cannot read {}", path.display())]
    Read { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("log.otlp_endpoint: TLS cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the thread that exports telemetry cannot start")]
    Thread(#[source] std::io::Error),
}

/// Exports what is left when dropped, for two seconds at most.
#[derive(Debug)]
pub struct Telemetry {
    export: Option<Export>,
    counts: Counts,
}

/// Sets up logging and export for the process. For mains, once.
pub fn init(service: &'static str, settings: &Settings) -> Result<Telemetry, Error> {
    let filter = if settings.filter.is_empty() { "info" } else { &settings.filter };
    let target = Target::of(settings)?;
    let counts = Counts::default();
    let lines = logs::lines(settings.format).with_filter(EnvFilter::try_new(filter)?);
    let Some(target) = target else {
        tracing_subscriber::registry().with(lines).try_init()?;
        return Ok(Telemetry { export: None, counts });
    };
    let (resource, ratio) = (resource(service), target.ratio);
    let export = export::start(target, &resource, &counts)?;
    let spans = Spans { queue: export.spans.clone(), counts: counts.clone() };
    let provider = SdkTracerProvider::builder()
        .with_span_processor(spans)
        // Whether a trace begins is decided before a span is made.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_resource(resource)
        .build();
    let exported = logs::Exported { queue: export.logs.clone(), counts: counts.clone() };
    let exported = exported.with_filter(EnvFilter::try_new(filter)?);
    tracing_subscriber::registry().with(lines).with(exported).try_init()?;
    trace::sample(provider.tracer(SCOPE), ratio);
    Ok(Telemetry { export: Some(export), counts })
}

impl Telemetry {
    /// From now on the metrics of `registry` are exported, and what became of telemetry is shown there.
    pub fn watch(&self, registry: &Registry) {
        if let Some(export) = &self.export {
            self.counts.show(registry);
            export.metrics_of(registry.clone());
        }
    }
}

/// Attributes of `OTEL_RESOURCE_ATTRIBUTES` come first; who we are is not theirs to say.
fn resource(service: &'static str) -> Resource {
    let instance = hex::encode(rand::random::<[u8; 16]>());
    Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", SCOPE))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance))
        .build()
}

/// Hands ended spans to the export.
#[derive(Debug)]
struct Spans {
    queue: mpsc::Sender<SpanData>,
    counts: Counts,
}

impl SpanProcessor for Spans {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.counts.dropped(Signal::Traces, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
