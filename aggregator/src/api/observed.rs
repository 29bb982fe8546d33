//! Every request of the web listener: counted, timed, and traced where a caller or the ratio says so.
//!
//! A route stands for its requests, as it was mounted; paths, queries and who asks are in no label and no span.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::Response;
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::{Registry, SECONDS};
use provost_runtime::telemetry::trace::{self, Kind, Span};

#[derive(Clone)]
struct Observer {
    registry: Registry,
    clock: SharedClock,
}

/// Around everything that `router` answers.
pub fn over(router: Router, registry: &Registry, clock: SharedClock) -> Router {
    let observer = Observer { registry: registry.clone(), clock };
    router.layer(middleware::from_fn_with_state(observer, observe))
}

async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let begun = observer.clock.monotonic();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = known(request.method());
    let span = traced(request.headers());
    let response = next.run(request).await;
    let status = response.status();
    span.set("http.request.method", method);
    span.set("http.route", &route);
    span.set("http.response.status_code", u64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail("server error");
    }
    drop(span);
    let labels = [("method", method), ("route", &*route), ("status", status.as_str())];
    let help = "Requests of API and console, by method, route and status.";
    observer.registry.counter("provost_hub_http_requests_total", help, &labels).increment();
    let help = "Time to answer a request of API and console.";
    let seconds = ("provost_hub_http_request_seconds", [("route", &*route)]);
    let seconds = observer.registry.histogram(seconds.0, help, SECONDS, &seconds.1);
    seconds.observe_duration(observer.clock.monotonic().saturating_sub(begun));
    response
}

/// Methods of a stranger's invention are one.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn traced(headers: &HeaderMap) -> Span {
    let parent = headers.get(trace::HEADER).map(HeaderValue::as_bytes);
    trace::span("request").kind(Kind::Server).received(parent)
}
