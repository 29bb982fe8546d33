//! The agent listener: our TLS acceptor under tonic's server, with the limits of docs/protocol.md.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use provost_proto::transport::Accepted;
use provost_runtime::process::DRAIN;
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::tls::{self, CertificateSlot, Clients};
use tokio::net::TcpListener;
use tonic::transport::Server;

use super::by_method::ByMethod;
use super::connection::Connections;
use super::service::FleetService;
use crate::hub::Hub;

const MAX_STREAMS: u32 = 8;
const MAX_HEADER_LIST_BYTES: u32 = 8 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Mean age of a session; each ends within 20 % of it.
const SESSION_AGE: Duration = Duration::from_secs(30 * 60);
const AGE_JITTER: f64 = 0.2;
/// A connection outlives its session's oldest age by this, for the stream to end in order.
const CONNECTION_GRACE: Duration = Duration::from_secs(60);

/// Serves agents on `listener` until shutdown.
pub fn start(
    hub: &Arc<Hub>,
    slot: &CertificateSlot,
    listener: TcpListener,
    tasks: &Tasks,
) -> io::Result<()> {
    let clients = Clients::Clusters {
        ca: hub.keys.ca.certificate().clone(),
        trust_domain: hub.trust_domain.clone(),
    };
    let config = tls::server_config(slot, clients, Arc::clone(&hub.clock), tls::ALPN_H2)
        .map_err(io::Error::other)?;
    let incoming = tls::listen("agent listener", listener, config, tls::Limits::default(), tasks)?;
    let connections = Connections::default();
    let admitting = connections.clone();
    let accepted = incoming.map(move |connection| {
        connection.map(|connection| {
            let peer = connection.peer().clone();
            let age = SESSION_AGE.mul_f64(1.0 + AGE_JITTER) + CONNECTION_GRACE;
            Accepted::new(admitting.admit(connection, age), peer)
        })
    });
    let service = ByMethod::new(FleetService::new(Arc::clone(hub), tasks.clone()));
    let server = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(service);
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("agent sessions", OnEnd::ShutDown, async move {
        let serving = server.serve_with_incoming_shutdown(accepted, shutdown.wait());
        tokio::pin!(serving);
        let drained = async {
            shutdown.wait().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            ended = &mut serving => return ended,
            () = drained => connections.cut(),
        }
        serving.await
    });
    Ok(())
}

/// The age at which a session ends.
#[must_use]
pub fn jittered_age() -> Duration {
    let factor = rand::random_range(1.0 - AGE_JITTER..=1.0 + AGE_JITTER);
    SESSION_AGE.mul_f64(factor)
}
