//! Admission: answers `admission.k8s.io/v1` reviews of the API server on a port of its own.
//!
//! It decides from the loaded policies alone and waits for neither spool nor hub: what is to be
//! reported goes into a bounded queue, and what does not fit is counted. A review that could not
//! be evaluated is decided by the fail mode of each binding that matches. Nothing is mutated.
//! What a stranger may cost is bounded: reviews at once, their time, their bytes, and the records
//! that they bring into the chain.

mod answer;
mod certificate;
mod decision;
mod door;
mod rate;
mod record;
mod registration;
mod review;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use provost_engine::{CompiledSet, Evaluator, Review};
use provost_model::Verdict;
use provost_model::limits::MAX_OBJECT_BYTES;
use provost_runtime::admin::Health;
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::{Counter, Histogram, Registry};
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::telemetry::trace::{self, Kind, Span};
use provost_runtime::tls;
use provost_runtime::web::{self, Certified, Useful};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::metrics::Evaluations;
use crate::report::Reporter;
use crate::traced;
pub use certificate::{Certificate, Error as CertificateError};
use decision::Decision;
pub use door::{Door, FOLDER};
use rate::Rate;
pub use registration::{Endpoint, Registration};
use review::Request;

/// Reads a body as the port does; true where it holds something to judge. Public for the fuzz
/// targets alone.
#[doc(hidden)]
#[must_use]
pub fn reads(body: &[u8]) -> bool {
    review::parse(body).is_ok_and(|request| request.into_review().is_some())
}

/// Where reviews are posted.
pub const PATH: &str = "/validate";
/// Object and old object.
const MAX_BODY_BYTES: usize = 2 * MAX_OBJECT_BYTES;
/// Reviews at once, from their first byte to their answer. What comes over it is told at once, so
/// that the API server's failure policy decides.
const MAX_IN_FLIGHT: usize = 256;
/// An API server needs a few; a control plane has a handful of them.
const MAX_CONNECTIONS: usize = 256;
/// The registration's timeout: nobody waits for a later answer.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// Records of refusals and warnings that go into the chain; what comes over it is counted and
/// declared.
const RECORDS_BURST: u32 = 512;
const RECORDS_PER_SECOND: u32 = 32;

/// What the handler needs; cheap to clone.
#[derive(Clone)]
pub struct Admission {
    evaluator: Evaluator,
    sets: watch::Receiver<Arc<CompiledSet>>,
    reporter: Option<Reporter>,
    clock: SharedClock,
    /// Under the timeout of the registration, so that the API server gets an answer.
    budget: Duration,
    /// For the whole of a review, its body included.
    timeout: Duration,
    clients: tls::Clients,
    health: Option<Health>,
    limits: web::Limits,
    in_flight: Arc<Semaphore>,
    records: Arc<Rate>,
    metrics: Metrics,
}

#[derive(Clone)]
struct Metrics {
    allowed: Counter,
    denied: Counter,
    malformed: Counter,
    /// More than may be worked on at once.
    overload: Counter,
    uncertified: Counter,
    timed_out: Counter,
    /// Events over the rate, or that the reporter's queue did not take.
    unreported: Counter,
    seconds: Histogram,
    evaluations: Evaluations,
}

impl Admission {
    /// Without a reporter nothing is reported, as in a test of the decision alone.
    #[must_use]
    pub fn new(
        evaluator: Evaluator,
        sets: watch::Receiver<Arc<CompiledSet>>,
        reporter: Option<Reporter>,
        clock: SharedClock,
        registry: &Registry,
    ) -> Self {
        let records = Rate::new(RECORDS_BURST, RECORDS_PER_SECOND, clock.monotonic());
        Self {
            evaluator,
            sets,
            reporter,
            clock,
            budget: BUDGET,
            timeout: REVIEW_TIMEOUT,
            clients: tls::Clients::Anonymous,
            health: None,
            limits: web::Limits { max_connections: MAX_CONNECTIONS, ..web::Limits::default() },
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            records: Arc::new(records),
            metrics: Metrics::new(registry),
        }
    }

    /// Who may ask; anybody unless it is said.
    #[must_use]
    pub fn for_clients(self, clients: tls::Clients) -> Self {
        Self { clients, ..self }
    }

    /// What `/readyz` goes by; without it, it is always ready.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self { health: Some(health), ..self }
    }

    pub fn router(self) -> Router {
        Router::new()
            .route(
                PATH,
                post(validate).layer(middleware::from_fn_with_state(self.clone(), bounded)),
            )
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self)
    }

    async fn decide(&self, request: Request, span: &Span) -> Decision {
        let Some((review, context)) = request.into_review() else {
            return Decision::let_through();
        };
        traced::about(span, || review.resource());
        let begun = self.clock.monotonic();
        let set = self.sets.borrow().clone();
        let evaluate = trace::span("evaluate").child_of(span);
        let verdicts = self.verdicts(&set, &review).await;
        drop(evaluate);
        let decision = Decision::of(&set, verdicts);
        if context.dry_run || !decision.is_worth_a_record() {
            return decision;
        }
        if let Some(reporter) = &self.reporter {
            let now = self.clock.monotonic();
            let taken = if self.records.take(now) {
                let took = now.saturating_sub(begun);
                reporter.admission(record::of(&set, &review, &context, &decision, took), span)
            } else {
                Err(reporter.admission_lost())
            };
            if taken.is_err() {
                self.metrics.unreported.increment();
            }
        }
        decision
    }

    /// Where the lane gives no answer, every binding that matches gets an error verdict, so that
    /// its fail mode decides.
    async fn verdicts(&self, set: &CompiledSet, review: &Review) -> Vec<Verdict> {
        let begun = self.clock.monotonic();
        match self.evaluator.admission(review.clone(), self.budget).await {
            Ok(answer) => {
                let took = self.clock.monotonic().saturating_sub(begun);
                self.metrics.evaluations.answered(&answer.verdicts, took);
                answer.verdicts
            }
            Err(error) => {
                self.metrics.evaluations.unanswered(error);
                tracing::warn!(%error, "an admission review was not evaluated; fail modes decide");
                set.evaluate_within(review, &|| Duration::ZERO)
            }
        }
    }
}

/// Serves reviews on `listener` with the certificate, as tasks of `tasks`. By `clock` certificates of clients expire.
pub fn serve(
    admission: Admission,
    listener: TcpListener,
    certificate: &Certificate,
    clock: SharedClock,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let slot = certificate.slot();
    let config = tls::server_config(slot, admission.clients.clone(), clock, tls::ALPN_WEB)?;
    let incoming =
        tls::listen("admission-accept", listener, config, tls::Limits::default(), tasks)?;
    let limits = admission.limits;
    let serving = web::serve(incoming, admission.router(), limits, tasks.shutdown().clone());
    tasks.spawn("admission", OnEnd::ShutDown, serving);
    Ok(())
}

/// The registration asks for 5 s.
const BUDGET: Duration = Duration::from_secs(3);

impl Metrics {
    fn new(registry: &Registry) -> Self {
        let reviews = |result: &'static str| {
            let help = "Admission reviews answered.";
            registry.counter("provost_admission_reviews_total", help, &[("result", result)])
        };
        Self {
            evaluations: Evaluations::new(registry, "admission"),
            allowed: reviews("allowed"),
            denied: reviews("denied"),
            malformed: reviews("malformed"),
            overload: reviews("overload"),
            uncertified: reviews("uncertified"),
            timed_out: reviews("timed_out"),
            unreported: registry.counter(
                "provost_admission_unreported_total",
                "Admission events over the rate of records, or that the report queue did not take.",
                &[],
            ),
            seconds: registry.histogram(
                "provost_admission_review_seconds",
                "Time to answer an admission review.",
                BUCKETS,
                &[],
            ),
        }
    }
}

/// Seconds; the target is a p99 under 5 ms.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 3.0];

/// For a probe: whether there are policies to answer by. What is wrong is not told to strangers.
async fn readyz(State(admission): State<Admission>) -> (StatusCode, &'static str) {
    match admission.health.is_none_or(|health| health.is_ready()) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

/// Part of the API server's own trace, where it names one.
fn received(headers: &HeaderMap) -> Span {
    let parent = headers.get(trace::HEADER).map(HeaderValue::as_bytes);
    trace::span("admission review").kind(Kind::Server).received(parent)
}

/// Around the reading of the body, too. Where clients need a certificate, who has none asks in vain.
async fn bounded(
    State(admission): State<Admission>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let needs_certificate = matches!(admission.clients, tls::Clients::Ca { .. });
    if needs_certificate && request.extensions().get::<Certified>().is_none() {
        admission.metrics.uncertified.increment();
        return (StatusCode::UNAUTHORIZED, "a client certificate is needed\n").into_response();
    }
    let Ok(_permit) = Arc::clone(&admission.in_flight).try_acquire_owned() else {
        admission.metrics.overload.increment();
        let text = "too many admission reviews at once\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    match tokio::time::timeout(admission.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            admission.metrics.timed_out.increment();
            let text = "the review did not come or was not answered in time\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn validate(State(admission): State<Admission>, headers: HeaderMap, body: Bytes) -> Response {
    let started = admission.clock.monotonic();
    let envelope = match review::parse(&body) {
        Ok(envelope) => envelope,
        Err(error) => {
            admission.metrics.malformed.increment();
            return (StatusCode::BAD_REQUEST, format!("not an admission review: {error}\n"))
                .into_response();
        }
    };
    let uid = envelope.uid.clone();
    let span = received(&headers);
    let decision = admission.decide(envelope, &span).await;
    span.set("provost.allowed", decision.allowed);
    let result =
        if decision.allowed { &admission.metrics.allowed } else { &admission.metrics.denied };
    result.increment();
    admission.metrics.seconds.observe_duration(admission.clock.monotonic().saturating_sub(started));
    (Extension(Useful), axum::Json(answer::of(&uid, &decision))).into_response()
}
