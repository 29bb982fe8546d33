//! Admission: answers `admission.k8s.io/v1` reviews of the API server on a port of its own.
//!
//! It decides from the loaded policies alone and waits for neither spool nor hub: what is to be
//! reported goes into a bounded queue, and what does not fit is counted. A review that could not
//! be evaluated is decided by the fail mode of each binding that matches. Nothing is mutated.

mod answer;
mod certificate;
mod decision;
mod door;
pub mod manifest;
mod record;
mod registration;
mod review;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use provost_engine::{CompiledSet, Evaluator, Review};
use provost_model::Verdict;
use provost_model::limits::MAX_OBJECT_BYTES;
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::{Counter, Histogram, Registry};
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::{admin, tls};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::report::Reporter;
pub use certificate::{Certificate, Error as CertificateError};
use decision::Decision;
pub use door::Door;
pub use registration::{Endpoint, Registration};
use review::Request;

/// Where reviews are posted.
pub const PATH: &str = "/validate";
/// Object and old object.
const MAX_BODY_BYTES: usize = 2 * MAX_OBJECT_BYTES;

/// What the handler needs; cheap to clone.
#[derive(Clone)]
pub struct Admission {
    evaluator: Evaluator,
    sets: watch::Receiver<Arc<CompiledSet>>,
    reporter: Option<Reporter>,
    clock: SharedClock,
    /// Under the timeout of the registration, so that the API server gets an answer.
    budget: Duration,
    metrics: Metrics,
}

#[derive(Clone)]
struct Metrics {
    allowed: Counter,
    denied: Counter,
    malformed: Counter,
    /// Events that the reporter's queue did not take.
    unreported: Counter,
    seconds: Histogram,
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
        Self { evaluator, sets, reporter, clock, budget: BUDGET, metrics: Metrics::new(registry) }
    }

    pub fn router(self) -> Router {
        Router::new()
            .route(PATH, post(validate))
            .route("/healthz", get(|| async { "ok\n" }))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self)
    }

    async fn decide(&self, request: Request) -> Decision {
        let Some((review, context)) = request.into_review() else {
            return Decision::let_through();
        };
        let set = self.sets.borrow().clone();
        let verdicts = self.verdicts(&set, &review).await;
        let decision = Decision::of(&set, verdicts);
        if context.dry_run || !decision.is_worth_a_record() {
            return decision;
        }
        if let Some(reporter) = &self.reporter {
            let record = record::of(&set, &review, &context, &decision);
            if reporter.admission(record).is_err() {
                self.metrics.unreported.increment();
            }
        }
        decision
    }

    /// Where the lane gives no answer, every binding that matches gets an error verdict, so that
    /// its fail mode decides.
    async fn verdicts(&self, set: &CompiledSet, review: &Review) -> Vec<Verdict> {
        match self.evaluator.admission(review.clone(), self.budget).await {
            Ok(answer) => answer.verdicts,
            Err(error) => {
                tracing::warn!(%error, "an admission review was not evaluated; fail modes decide");
                set.evaluate_within(review, &|| Duration::ZERO)
            }
        }
    }
}

/// Serves reviews on `listener` with the certificate, as tasks of `tasks`.
pub fn serve(
    admission: Admission,
    listener: TcpListener,
    certificate: &Certificate,
    clock: SharedClock,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let slot = certificate.slot();
    let config = tls::server_config(slot, tls::Clients::Anonymous, clock, tls::ALPN_WEB)?;
    let incoming =
        tls::listen("admission-accept", listener, config, tls::Limits::default(), tasks)?;
    let serving = admin::serve_tls(incoming, admission.router(), tasks.shutdown().clone());
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
            allowed: reviews("allowed"),
            denied: reviews("denied"),
            malformed: reviews("malformed"),
            unreported: registry.counter(
                "provost_admission_unreported_total",
                "Admission events that the report queue did not take.",
                &[],
            ),
            seconds: registry.histogram(
                "provost_admission_duration_seconds",
                "Time to answer an admission review.",
                BUCKETS,
                &[],
            ),
        }
    }
}

/// Seconds; the target is a p99 under 5 ms.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 3.0];

async fn validate(State(admission): State<Admission>, body: Bytes) -> Response {
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
    let decision = admission.decide(envelope).await;
    let result =
        if decision.allowed { &admission.metrics.allowed } else { &admission.metrics.denied };
    result.increment();
    admission.metrics.seconds.observe_duration(admission.clock.monotonic().saturating_sub(started));
    axum::Json(answer::of(&uid, &decision)).into_response()
}
