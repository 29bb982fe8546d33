//! The accepting side: handshakes with a time limit and a count limit, and who is at the other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::verify::ClientsVerifier;
use super::{CertificateSlot, Error, Time, provider};
use crate::clock::SharedClock;
use crate::pki::Identity;
use crate::shutdown::Shutdown;
use crate::spiffe::TrustDomain;
use crate::tasks::{OnEnd, Tasks};

/// Connections that are through their handshake and wait for their server.
const READY_QUEUE: usize = 64;
/// After an accept error that is the machine's (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which client certificates a listener takes.
#[derive(Clone, Debug)]
pub enum Clients {
    /// None are asked for.
    Anonymous,
    /// Optional; where one is given it must be a cluster's, of this CA and trust domain.
    Clusters { ca: CertificateDer<'static>, trust_domain: TrustDomain },
    /// Optional, so that a probe needs none; of any name, signed by one of these CAs. What needs one
    /// asks [`Peer::is_certified`].
    Ca { roots: Vec<CertificateDer<'static>> },
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub handshake_timeout: Duration,
    pub max_handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { handshake_timeout: Duration::from_secs(5), max_handshakes: 256 }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// A certificate was shown, and taken.
    pub is_certified: bool,
    /// None: no certificate was shown, or it names no identity of a fleet.
    pub identity: Option<Arc<Identity>>,
}

/// The settings of a listener. Without resumption: no tickets, no session store.
pub fn server_config(
    slot: &CertificateSlot,
    clients: Clients,
    clock: SharedClock,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_details(Arc::new(provider()), Arc::new(Time(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match clients {
        Clients::Anonymous => builder.with_no_client_auth(),
        Clients::Clusters { ca, trust_domain } => {
            let verifier = ClientsVerifier::new(vec![ca], Some(trust_domain))?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
        Clients::Ca { roots } => {
            builder.with_client_cert_verifier(Arc::new(ClientsVerifier::new(roots, None)?))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(slot.clone()));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Accepts on `listener` as a task of `tasks` until shutdown, and hands out what is through its
/// handshake.
pub fn listen(
    name: &str,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    limits: Limits,
    tasks: &Tasks,
) -> io::Result<Incoming> {
    let local_addr = listener.local_addr()?;
    let (sender, receiver) = mpsc::channel(READY_QUEUE);
    let accept = Accept {
        listener,
        acceptor: TlsAcceptor::from(config),
        limits,
        sender,
        shutdown: tasks.shutdown().clone(),
    };
    tasks.spawn_infallible(name, OnEnd::Log, accept.run());
    Ok(Incoming { receiver, local_addr })
}

struct Accept {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    limits: Limits,
    sender: mpsc::Sender<Connection>,
    shutdown: Shutdown,
}

impl Accept {
    async fn run(self) {
        let mut handshakes = JoinSet::new();
        loop {
            let room = handshakes.len() < self.limits.max_handshakes;
            tokio::select! {
                () = self.shutdown.wait() => break,
                () = self.sender.closed() => break,
                Some(_) = handshakes.join_next() => {}
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, address)) => {
                        handshakes.spawn(self.handshake(stream, address));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        self.shutdown.sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        handshakes.shutdown().await;
    }

    fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (acceptor, sender) = (self.acceptor.clone(), self.sender.clone());
        let timeout = self.limits.handshake_timeout;
        async move {
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(timeout, acceptor.accept(stream)).await {
                // A closed receiver means that the server is going away; so does the connection.
                Ok(Ok(io)) => {
                    let _ = sender.send(Connection::new(io, address)).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
            }
        }
    }
}

/// Connections that are through their handshake, as a stream that never fails.
#[derive(Debug)]
pub struct Incoming {
    receiver: mpsc::Receiver<Connection>,
    local_addr: SocketAddr,
}

impl Incoming {
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// None after shutdown.
    pub async fn next(&mut self) -> Option<Connection> {
        self.receiver.recv().await
    }
}

impl futures::Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx).map(|next| next.map(Ok))
    }
}

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    io: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connection {
    fn new(io: TlsStream<TcpStream>, address: SocketAddr) -> Self {
        let leaf = io.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let is_certified = leaf.is_some();
        let identity = leaf.and_then(|leaf| Identity::of(leaf).ok()).map(Arc::new);
        Self { io, peer: Peer { address, is_certified, identity } }
    }

    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
