//! HTTP until shutdown: plain on loopback, and behind TLS with a bound on what connections may cost.
//!
//! Behind TLS a stranger may open connections and say nothing, or say it slowly. Invariants: no more than
//! [`Limits::max_connections`] are open; one that sends no whole request in time is closed, and so is
//! one that was idle for long; when there is no room, the connection goes that is of least use, so
//! that flooding does not shut out who is served: first those that never got a [`Useful`] answer, then
//! the longest idle. One that is just being answered never goes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming as IncomingBody;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::process::DRAIN;
use crate::shutdown::Shutdown;
use crate::tls;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
const MAX_HEADER_BYTES: u32 = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_connections: usize,
    /// For the first request, and for the head of each.
    pub request_within: Duration,
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            request_within: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
        }
    }
}

/// In a response's extensions: its connection is one to keep.
#[derive(Clone, Copy, Debug)]
pub struct Useful;

/// In a request's extensions: its connection showed a certificate that the listener took.
#[derive(Clone, Copy, Debug)]
pub struct Certified;

/// Serves a listener on loopback until shutdown. Connections get what they asked for, then are closed; who does not let go
/// holds nobody up.
pub async fn serve_plain(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
) -> io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let going = shutdown.clone();
    let serving = axum::serve(listener, service)
        .with_graceful_shutdown(async move { going.wait().await })
        .into_future();
    tokio::select! {
        ended = serving => ended,
        () = async { shutdown.wait().await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}

/// Serves until shutdown. Connections get what they asked for, then are closed.
pub async fn serve(
    mut incoming: tls::Incoming,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> io::Result<()> {
    let mut speaking = JoinSet::new();
    let mut lines = Vec::new();
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            Some(_) = speaking.join_next() => {}
            next = incoming.next() => {
                // Only after shutdown.
                let Some(connection) = next else { break };
                if let Some(line) = admit(&mut lines, limits.max_connections) {
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    speaking.spawn(speak(connection, router, line, limits, shutdown));
                }
            }
        }
    }
    while speaking.join_next().await.is_some() {}
    Ok(())
}

/// None: every connection is just being answered.
fn admit(lines: &mut Vec<Arc<Line>>, most: usize) -> Option<Arc<Line>> {
    lines.retain(|line| !line.closed.is_cancelled());
    if lines.len() >= most {
        let (at, _) = lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| Some((at, line.worth()?)))
            .min_by_key(|(_, worth)| *worth)?;
        lines.swap_remove(at).closed.cancel();
    }
    let line = Arc::new(Line::new());
    lines.push(Arc::clone(&line));
    Some(line)
}

/// One connection, as the others see it.
struct Line {
    closed: CancellationToken,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    in_flight: usize,
    requests: u64,
    is_useful: bool,
    /// The last request began or ended.
    since: Instant,
}

impl Line {
    fn new() -> Self {
        let state = State { in_flight: 0, requests: 0, is_useful: false, since: Instant::now() };
        Self { closed: CancellationToken::new(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: it is being answered.
    fn worth(&self) -> Option<(bool, Instant)> {
        let state = *self.lock();
        (state.in_flight == 0).then_some((state.is_useful, state.since))
    }

    fn begin(self: &Arc<Self>) -> Answering {
        let mut state = self.lock();
        state.in_flight += 1;
        state.requests += 1;
        state.since = Instant::now();
        Answering(Arc::clone(self))
    }

    /// Ends when nothing was asked for too long.
    async fn idle(&self, limits: Limits) {
        loop {
            let state = *self.lock();
            let patience =
                if state.requests == 0 { limits.request_within } else { limits.idle_timeout };
            let now = Instant::now();
            let from = if state.in_flight > 0 { now } else { state.since };
            if now >= from + patience {
                return;
            }
            tokio::time::sleep_until(from + patience).await;
        }
    }
}

/// A request that is being answered, until this is dropped.
struct Answering(Arc<Line>);

impl Answering {
    fn is_useful(&self) {
        self.0.lock().is_useful = true;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_flight -= 1;
        state.since = Instant::now();
    }
}

async fn speak(
    connection: tls::Connection,
    router: Router,
    line: Arc<Line>,
    limits: Limits,
    shutdown: Shutdown,
) {
    // Whatever ends it, its place is free.
    let _gone = line.closed.clone().drop_guard();
    let peer = connection.peer().clone();
    let service = service_fn(|request: Request<IncomingBody>| {
        let answering = line.begin();
        let mut request = request.map(Body::new);
        if peer.is_certified {
            request.extensions_mut().insert(Certified);
        }
        answer(router.clone(), request, answering)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.request_within);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES);
    let serving = builder.serve_connection(TokioIo::new(connection), service);
    tokio::pin!(serving);
    let is_going = tokio::select! {
        ended = serving.as_mut() => { said(ended.err()); false }
        () = line.closed.cancelled() => false,
        () = line.idle(limits) => true,
        () = shutdown.wait() => true,
    };
    if is_going {
        serving.as_mut().graceful_shutdown();
        // Who does not let go is cut off.
        let patience = if shutdown.is_triggered() { DRAIN } else { limits.request_within };
        let ended = tokio::time::timeout(patience, serving).await;
        said(ended.ok().and_then(Result::err));
    }
}

fn said(error: Option<Box<dyn std::error::Error + Send + Sync>>) {
    if let Some(error) = error {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn answer(
    router: Router,
    request: Request<Body>,
    answering: Answering,
) -> Result<Response, Infallible> {
    let response = router.oneshot(request).await;
    if response.as_ref().is_ok_and(|response| response.extensions().get::<Useful>().is_some()) {
        answering.is_useful();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_least_useful_connection_makes_room() {
        let mut lines = Vec::new();
        let admit = |lines: &mut Vec<_>| admit(lines, 3);
        let (useful, silent) = (admit(&mut lines).unwrap(), admit(&mut lines).unwrap());
        useful.begin().is_useful();
        tokio::time::advance(Duration::from_secs(1)).await;
        let asked = admit(&mut lines).unwrap();
        drop(asked.begin());
        // The one that never asked goes, although another is idle for longer.
        let next = admit(&mut lines).unwrap();
        assert!(silent.closed.is_cancelled() && !asked.closed.is_cancelled());
        let (_busy, _busy_too) = (next.begin(), asked.begin());
        // Only the useful one is idle: it goes last, and who is being answered never.
        assert!(admit(&mut lines).is_some() && useful.closed.is_cancelled());
        let all: Vec<_> = lines.iter().map(Line::begin).collect();
        assert!(admit(&mut lines).is_none());
        drop(all);
        assert!(admit(&mut lines).is_some());
        assert_eq!(lines.len(), 3);
    }
}
