//! The way out: one thread with bounded queues in front of it and one connection behind it.
//!
//! Invariants: nobody who hands something over waits; what finds its queue full is dropped and
//! counted; a receiver that is away, slow or refuses costs the daemon this thread's memory, which
//! is bounded, and nothing else; what this thread logs is not exported, so that a failing export
//! does not feed itself.

use std::cell::Cell;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::counts::{Counts, Signal};
use super::points;
use super::settings::Target;
use super::trace::Moment;
use super::{Error, SCOPE};
use crate::metrics::Registry;

/// Some seconds of a busy daemon; a few megabytes at most.
pub(super) const QUEUE: usize = 2048;
const BATCH: usize = 512;
/// What is not a full batch by then goes as it is.
const LINGER: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// A batch that the receiver could not take so often is dropped.
const ATTEMPTS: u32 = 5;
/// What is left at shutdown gets this long.
const FLUSH: Duration = Duration::from_secs(2);

thread_local! {
    static IS_EXPORTER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the thread that exports.
pub(super) fn is_exporter() -> bool {
    IS_EXPORTER.get()
}

/// The senders' ends.
#[derive(Debug)]
pub(super) struct Export {
    pub spans: mpsc::Sender<SpanData>,
    pub logs: mpsc::Sender<LogRecord>,
    registry: watch::Sender<Option<Registry>>,
    stop: watch::Sender<bool>,
    ended: blocking::Receiver<()>,
}

/// Starts the thread. Nothing is connected before there is something to send.
pub(super) fn start(target: Target, resource: &Resource, counts: &Counts) -> Result<Export, Error> {
    let (spans, taken_spans) = mpsc::channel(QUEUE);
    let (logs, taken_logs) = mpsc::channel(QUEUE);
    let (registry, registered) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let (end, ended) = blocking::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Thread)?;
    let resource = ResourceAttributesWithSchema::from(resource);
    let (counts, begun) = (counts.clone(), Moment::now());
    let work = move || {
        IS_EXPORTER.set(true);
        runtime.block_on(async {
            let Target { endpoint, headers, timeout, interval, ratio: _ } = target;
            let channel = endpoint.connect_lazy();
            let wire = |signal| Wire {
                channel: channel.clone(),
                headers: headers.clone(),
                timeout,
                signal,
                counts: counts.clone(),
                stop: stopped.clone(),
                failing: false,
            };
            tokio::join!(
                spans_out(wire(Signal::Traces), taken_spans, &resource),
                logs_out(wire(Signal::Logs), taken_logs, &resource),
                metrics_out(wire(Signal::Metrics), registered, interval, begun, &resource),
            );
        });
        // Whoever waited may have gone.
        let _ = end.send(());
    };
    thread::Builder::new().name("telemetry".to_owned()).spawn(work).map_err(Error::Thread)?;
    Ok(Export { spans, logs, registry, stop, ended })
}

impl Export {
    /// From now on these metrics are exported.
    pub(super) fn metrics_of(&self, registry: Registry) {
        self.registry.send_replace(Some(registry));
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        // A receiver that is away does not hold up the end.
        let _ = self.ended.recv_timeout(FLUSH + Duration::from_millis(500));
    }
}

/// One signal's way to the receiver.
struct Wire {
    channel: Channel,
    headers: MetadataMap,
    timeout: Duration,
    signal: Signal,
    counts: Counts,
    stop: watch::Receiver<bool>,
    failing: bool,
}

async fn spans_out(
    wire: Wire,
    queue: mpsc::Receiver<SpanData>,
    resource: &ResourceAttributesWithSchema,
) {
    let client = TraceServiceClient::new(wire.channel.clone());
    let export = async |wire: &mut Wire, spans: Vec<SpanData>| {
        let size = spans.len();
        let resource_spans = group_spans_by_resource_and_scope(spans, resource);
        let message = ExportTraceServiceRequest { resource_spans };
        let call = async |request| client.clone().export(request).await.map(drop);
        wire.send(message, size, call).await;
    };
    drain(wire, queue, export).await;
}

async fn logs_out(
    wire: Wire,
    queue: mpsc::Receiver<LogRecord>,
    resource: &ResourceAttributesWithSchema,
) {
    let client = LogsServiceClient::new(wire.channel.clone());
    let export = async |wire: &mut Wire, log_records: Vec<LogRecord>| {
        let size = log_records.len();
        let scope_logs = vec![ScopeLogs {
            scope: Some(points::scope(SCOPE)),
            log_records,
            ..ScopeLogs::default()
        }];
        let resource = Some(points::resource(resource));
        let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
        let message = ExportLogsServiceRequest { resource_logs };
        let call = async |request| client.clone().export(request).await.map(drop);
        wire.send(message, size, call).await;
    };
    drain(wire, queue, export).await;
}

async fn metrics_out(
    mut wire: Wire,
    registry: watch::Receiver<Option<Registry>>,
    interval: Duration,
    begun: Moment,
    resource: &ResourceAttributesWithSchema,
) {
    let client = MetricsServiceClient::new(wire.channel.clone());
    loop {
        // Once more at the end, so that the last state is known.
        let ends = wire.pause(interval).await;
        let current = registry.borrow().clone();
        if let Some(registry) = current {
            let metrics = points::of(&registry, begun, Moment::now());
            let size = metrics.len();
            let scope = Some(points::scope(SCOPE));
            let scope_metrics = vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }];
            let resource = Some(points::resource(resource));
            let resource_metrics =
                vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
            let message = ExportMetricsServiceRequest { resource_metrics };
            let call = async |request| client.clone().export(request).await.map(drop);
            wire.send(message, size, call).await;
        }
        if ends {
            break;
        }
    }
}

/// Hands on what comes, in batches, until the senders or the daemon end.
async fn drain<T>(
    mut wire: Wire,
    mut queue: mpsc::Receiver<T>,
    export: impl AsyncFn(&mut Wire, Vec<T>),
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut ends = false;
    while !ends {
        let collect = async {
            if queue.recv_many(&mut batch, BATCH).await == 0 {
                return true;
            }
            let until = Instant::now() + LINGER;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                let more = tokio::time::timeout_at(until, queue.recv_many(&mut batch, room));
                if !matches!(more.await, Ok(1..)) {
                    break;
                }
            }
            false
        };
        let mut stop = wire.stop.clone();
        ends = tokio::select! {
            ended = collect => ended,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if ends {
            // What was handed over before the end.
            while queue.try_recv().map(|item| batch.push(item)).is_ok() {}
        }
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(BATCH));
            export(&mut wire, std::mem::replace(&mut batch, rest)).await;
        }
    }
}

impl Wire {
    /// True: the daemon ends.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.stop.wait_for(|stop| *stop)).await.is_ok()
    }

    /// Tries until it is taken or hopeless. At the daemon's end once, and not for long.
    async fn send<M: Clone>(
        &mut self,
        message: M,
        size: usize,
        call: impl AsyncFn(Request<M>) -> Result<(), Status>,
    ) {
        let mut pause = FIRST_RETRY;
        for attempt in 1..=ATTEMPTS {
            let mut request = Request::new(message.clone());
            *request.metadata_mut() = self.headers.clone();
            let mut stop = self.stop.clone();
            let sent = tokio::select! {
                sent = tokio::time::timeout(self.timeout, call(request)) => sent,
                () = flushed(&mut stop) => Ok(Err(Status::cancelled("the daemon ends"))),
            };
            let failure = match sent {
                Ok(Ok(())) => {
                    self.counts.exported(self.signal, size);
                    self.went_well();
                    return;
                }
                Ok(Err(status)) => {
                    self.failed(status.code(), cause(&status).as_deref());
                    status.code()
                }
                Err(_) => {
                    self.failed(Code::DeadlineExceeded, Some("no answer in time"));
                    Code::DeadlineExceeded
                }
            };
            let last = attempt == ATTEMPTS || self.signal == Signal::Metrics;
            if last || !is_passing(failure) || self.pause(pause).await {
                break;
            }
            pause = (pause * 2).min(LAST_RETRY);
        }
        self.counts.dropped(self.signal, size);
    }

    fn went_well(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(signal = self.signal.name(), "telemetry is exported again");
        }
    }

    /// Said once until it goes well again, not at every attempt.
    fn failed(&mut self, code: Code, cause: Option<&str>) {
        self.counts.failed(self.signal);
        if !std::mem::replace(&mut self.failing, true) {
            let cause = cause.unwrap_or("the receiver refuses");
            tracing::warn!(signal = self.signal.name(), status = ?code, cause, "telemetry is not exported; nothing else stops for it");
        }
    }
}

/// The daemon ended a while ago.
async fn flushed(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(FLUSH).await;
}

/// What failed on this side, such as a certificate that is not trusted. What a receiver says may repeat what it was
/// sent, and is not logged.
fn cause(status: &Status) -> Option<String> {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |error| error.source()).last().map(ToString::to_string)
}

/// As the OTLP specification lists what may be tried again.
const fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    )
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::logs::Exported;
    use super::super::settings::Settings;
    use super::*;

    /// Scenario: a receiver takes the connection and says nothing, while events come by the thousand.
    /// Guarantee: nobody waits, what does not fit is counted, and the end does not wait either.
    #[test]
    fn what_a_silent_receiver_does_not_take_is_dropped_and_counted() {
        const EVENTS: usize = 10 * QUEUE;
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let settings =
            Settings { otlp_endpoint: endpoint, otlp_timeout_ms: 60_000, ..Settings::default() };
        let target = Target::of(&settings).unwrap().unwrap();
        let counts = Counts::default();
        let export = start(target, &Resource::builder_empty().build(), &counts).unwrap();
        let layer = Exported { queue: export.logs.clone(), counts: counts.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for number in 0..EVENTS {
                tracing::info!(number, "an event");
            }
        });
        let registry = Registry::new();
        counts.show(&registry);
        let labels = [("signal", "logs")];
        let dropped = registry.counter("provost_telemetry_dropped_total", "", &labels).get();
        // The rest is in the queue, and in the one batch that is under way.
        assert!(dropped >= (EVENTS - QUEUE - BATCH) as u64, "{dropped} of {EVENTS}");
        assert!(dropped < EVENTS as u64);
        drop(export);
    }
}
