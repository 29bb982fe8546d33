//! Connections with an end: at their own jittered age, and when their agent opened too many.
//!
//! tonic has no jittered age, and its graceful end waits for open streams; cutting the transport is the last word after
//! the session was asked to go.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use provost_runtime::tls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// SHA-256 of the certificate's public key: replicas of one cluster have their own.
type Key = [u8; 32];

/// Connections of one agent; the newest win.
pub const MAX_PER_AGENT: usize = 2;

/// Open connections by the key of their certificate.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    open: Arc<Mutex<Open>>,
    all: CancellationToken,
}

/// Oldest first, each with a number of its own and what cuts it.
type Open = HashMap<Key, VecDeque<(u64, CancellationToken)>>;

impl Connections {
    /// Takes the connection in; its agent's oldest one beyond the limit is cut.
    pub fn admit(&self, connection: Connection, age: Duration) -> Limited {
        let token = self.all.child_token();
        let serial = rand::random();
        let key = connection.peer().identity.as_ref().map(|identity| identity.public_key_sha256);
        if let Some(key) = key {
            let mut open = self.lock();
            let queue = open.entry(key).or_default();
            queue.push_back((serial, token.clone()));
            while queue.len() > MAX_PER_AGENT {
                if let Some((_, oldest)) = queue.pop_front() {
                    oldest.cancel();
                }
            }
        }
        Limited {
            connection,
            cut: Box::pin(token.cancelled_owned()),
            age: Box::pin(tokio::time::sleep(age)),
            _place: Place { connections: self.clone(), key, serial },
        }
    }

    /// For the end of the hub: who does not take leave is cut off.
    pub fn cut(&self) {
        self.all.cancel();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the table when dropped.
struct Place {
    connections: Connections,
    key: Option<Key>,
    serial: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut open = self.connections.lock();
        if let Some(queue) = open.get_mut(&key) {
            queue.retain(|(serial, _)| *serial != self.serial);
            if queue.is_empty() {
                open.remove(&key);
            }
        }
    }
}

/// A connection that ends when it was cut or grew too old.
pub struct Limited {
    connection: Connection,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    age: Pin<Box<tokio::time::Sleep>>,
    _place: Place,
}

impl Limited {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(cx).is_ready() || self.age.as_mut().poll(cx).is_ready()
    }
}

impl std::fmt::Debug for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limited")
            .field("agent", &self.connection.peer().address)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.connection).poll_read(cx, buf)
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
