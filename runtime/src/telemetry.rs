//! Logs for people or machines on standard error, and traces by OTLP where an endpoint is
//! configured.
//!
//! opentelemetry lives in this folder alone. A telemetry failure never stops a daemon.

mod otlp;

use std::io::IsTerminal as _;

use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Settings under `log` and `telemetry`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub format: Format,
    /// `info`, or per target: `info,provost_agent::uplink=debug`. Empty: `info`.
    pub filter: String,
    /// OTLP/gRPC endpoint, such as `http://127.0.0.1:4317`. Empty: nothing is exported.
    pub otlp_endpoint: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Human,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the log filter is not usable")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up twice")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    #[error("traces cannot be exported: {what}")]
    Otlp { what: String },
}

/// Flushes what was not exported yet when dropped.
#[derive(Debug)]
pub struct Guard {
    _traces: Option<otlp::Traces>,
}

/// Sets up logging for the process. For mains; needs the async runtime when traces are exported.
pub fn init(service: &'static str, settings: &Settings) -> Result<Guard, Error> {
    let filter = if settings.filter.is_empty() { "info" } else { &settings.filter };
    let filter = EnvFilter::try_new(filter)?;
    let json = match settings.format {
        Format::Auto => !std::io::stderr().is_terminal(),
        Format::Human => false,
        Format::Json => true,
    };
    let logs = if json {
        fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_target(false).with_writer(std::io::stderr).boxed()
    };
    let traces = match settings.otlp_endpoint.as_str() {
        "" => None,
        endpoint => Some(otlp::Traces::to(service, endpoint)?),
    };
    let layer = traces.as_ref().map(otlp::Traces::layer);
    tracing_subscriber::registry().with(layer).with(logs.with_filter(filter)).try_init()?;
    Ok(Guard { _traces: traces })
}
