//! One connection to a hub: TLS by our own connector, gRPC over it, and no reconnecting inside,
//! because when to try again is decided in one place.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use provost_model::{Code, Digest};
use provost_proto::status::Refusal;
use provost_proto::v1;
use provost_proto::v1::fleet_client::FleetClient;
use provost_runtime::errors::chain;
use provost_runtime::tls::{self, ConnectError, Connector, HubUrl};
use tonic::transport::{Channel, Endpoint};

use crate::bundles::BlobSource;

pub type Client = FleetClient<Channel>;

/// An assignment may carry a manifest of 2 MiB and a chain of roots.
const MAX_INBOUND_BYTES: usize = 8 * 1024 * 1024;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// For a call that is no stream.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A chunk that the hub is too busy for is asked for again, so often.
const CHUNK_ATTEMPTS: u32 = 30;

/// Opens one connection.
pub async fn open(connector: &Connector, hub: &HubUrl) -> Result<Client, Refusal> {
    let stream =
        connector.connect_and_listen(hub).await.map_err(|error| connect_refusal(&error))?;
    let once = Arc::new(Mutex::new(Some(stream)));
    let take = tower::service_fn(move |_| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the connection ended");
        std::future::ready(stream.map(TokioIo::new).ok_or_else(gone))
    });
    let address = format!("http://{}", hub.authority());
    let endpoint = Endpoint::from_shared(address).map_err(|error| transport_refusal(&error))?;
    let channel = endpoint
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(take)
        .await
        .map_err(|error| transport_refusal(&error))?;
    Ok(FleetClient::new(channel).max_decoding_message_size(MAX_INBOUND_BYTES))
}

/// What a failed call means, the refusal of our certificate among it.
#[must_use]
pub fn refusal(status: &tonic::Status) -> Refusal {
    if tls::certificate_was_refused(status) {
        return Refusal::new(Code::CertificateExpired, "the hub refused our certificate");
    }
    Refusal::from(status)
}

fn transport_refusal(error: &tonic::transport::Error) -> Refusal {
    if tls::certificate_was_refused(error) {
        return Refusal::new(Code::CertificateExpired, "the hub refused our certificate");
    }
    Refusal::new(Code::Unavailable, chain(error))
}

fn connect_refusal(error: &ConnectError) -> Refusal {
    let code = match error {
        ConnectError::WrongCa { .. } => Code::WrongCa,
        ConnectError::WrongIdentity { .. } => Code::WrongTrustDomain,
        ConnectError::OurCertificateRefused { .. } => Code::CertificateExpired,
        ConnectError::HubCertificateExpired { .. } => Code::Expired,
        _ => Code::Unavailable,
    };
    Refusal::new(code, chain(error))
}

/// Blobs over the connection of a session.
pub struct HubBlobs {
    pub client: Client,
}

#[async_trait]
impl BlobSource for HubBlobs {
    async fn chunk(&self, blob: Digest, offset: u64) -> Result<Bytes, Refusal> {
        let mut attempt = 1;
        loop {
            let digest = Bytes::copy_from_slice(blob.as_bytes());
            let request = v1::FetchBlobRequest { digest, offset };
            let call = self.client.clone();
            let refused = match fetch(call, request).await {
                Ok(chunk) => return Ok(chunk),
                Err(refused) => refused,
            };
            let Some(wait) = refused.retry_after.filter(|_| attempt < CHUNK_ATTEMPTS) else {
                return Err(refused);
            };
            attempt += 1;
            tokio::time::sleep(provost_runtime::backoff::jittered(wait, 0.5)).await;
        }
    }
}

async fn fetch(mut client: Client, request: v1::FetchBlobRequest) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(CALL_TIMEOUT, client.fetch_blob(request)).await {
        Ok(Ok(response)) => Ok(response.into_inner().chunk),
        Ok(Err(status)) => Err(refusal(&status)),
        Err(_) => Err(Refusal::new(Code::Unavailable, "the hub did not answer in time")),
    }
}
