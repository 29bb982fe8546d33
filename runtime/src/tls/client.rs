//! The agent's way to its hub: TCP or a proxy's tunnel, then TLS to exactly that hub.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::carrier::{self, Carrier};
use super::verify::{HubVerifier, Refusal};
use super::{CertificateSlot, Error, Proxy, Time, provider};
use crate::clock::SharedClock;
use crate::spiffe::{SpiffeId, TrustDomain};

/// An encrypted connection to the hub.
pub type ClientStream = tokio_rustls::client::TlsStream<Carrier>;

/// `https://host:port` of a hub's agent listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubUrl {
    host: String,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a hub URL: write https://host:port")]
pub struct BadHubUrl {
    pub text: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot reach {to}")]
    Io { to: String, source: io::Error },
    #[error("{to} did not answer within {after:?}")]
    Timeout { to: String, after: Duration },
    #[error("the proxy {proxy} refused the tunnel with status {status}")]
    ProxyRefused { proxy: String, status: u16 },
    #[error(
        "TLS with the proxy {proxy} failed: its certificate must be signed by a CA of the system or of proxy_ca_file"
    )]
    ProxyTls { proxy: String, source: io::Error },
    #[error(
        "{to} is not run by the CA that the token pinned: either this is not your hub, or it has a new CA; compare `provost fleet info` on the hub, then make another token"
    )]
    WrongCa { to: String },
    #[error("{to} is not the expected hub: {what}")]
    WrongIdentity { to: String, what: String },
    #[error("the certificate of {to} has expired")]
    HubCertificateExpired { to: String },
    #[error("{to} refused our certificate")]
    OurCertificateRefused { to: String },
    #[error("TLS with {to} failed")]
    Tls { to: String, source: io::Error },
}

/// Connects to hubs of one CA and trust domain.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    /// With the settings of TLS to it, where it is reached so.
    proxy: Option<(Proxy, Option<Arc<ClientConfig>>)>,
    timeout: Duration,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("proxy", &self.proxy.as_ref().map(|(proxy, _)| proxy))
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// `ca_sha256`: of the CA certificate's DER, as the token has it. `slot`: the agent's own
    /// certificate, where it has one by now. `timeout`: for the whole of TCP, tunnel and TLS.
    pub fn new(
        ca_sha256: [u8; 32],
        trust_domain: TrustDomain,
        slot: &CertificateSlot,
        clock: SharedClock,
        proxy: Option<Proxy>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let proxy = match proxy {
            Some(proxy) if proxy.is_tls => {
                let config = carrier::client_config(&proxy.roots, Arc::clone(&clock))?;
                Some((proxy, Some(config)))
            }
            other => other.map(|proxy| (proxy, None)),
        };
        let provider = Arc::new(provider());
        let verifier = HubVerifier {
            ca_sha256,
            expected: SpiffeId::hub(trust_domain),
            algorithms: provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(Time(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(slot.clone()));
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { config: Arc::new(config), proxy, timeout })
    }

    pub async fn connect(&self, hub: &HubUrl) -> Result<ClientStream, ConnectError> {
        match tokio::time::timeout(self.timeout, self.connect_unbounded(hub)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout { to: hub.to_string(), after: self.timeout }),
        }
    }

    /// As [`Self::connect`] to a server that speaks first, as HTTP/2 servers do: waits for its first
    /// bytes, because in TLS 1.3 a server that refuses our certificate says so only after our
    /// handshake is over.
    pub async fn connect_and_listen(&self, hub: &HubUrl) -> Result<ClientStream, ConnectError> {
        use tokio::io::AsyncBufReadExt as _;
        let mut stream = self.connect(hub).await?;
        let to = || hub.to_string();
        match tokio::time::timeout(self.timeout, stream.fill_buf()).await {
            Ok(Ok(_)) => Ok(stream),
            Ok(Err(source)) if super::certificate_was_refused(&source) => {
                Err(ConnectError::OurCertificateRefused { to: to() })
            }
            Ok(Err(source)) => Err(ConnectError::Tls { to: to(), source }),
            Err(_) => Err(ConnectError::Timeout { to: to(), after: self.timeout }),
        }
    }

    async fn connect_unbounded(&self, hub: &HubUrl) -> Result<ClientStream, ConnectError> {
        let stream = match &self.proxy {
            None => Carrier::Tcp(tcp(&hub.host, hub.port, hub.to_string()).await?),
            Some((proxy, config)) => {
                let stream = tcp(&proxy.host, proxy.port, proxy.to_string()).await?;
                let mut stream = match config {
                    None => Carrier::Tcp(stream),
                    Some(config) => {
                        carrier::secure(Arc::clone(config), &proxy.host, stream).await.map_err(
                            |source| ConnectError::ProxyTls { proxy: proxy.to_string(), source },
                        )?
                    }
                };
                proxy.tunnel(&mut stream, hub).await?;
                stream
            }
        };
        // Only sent as SNI for proxies that route by it; the verifier looks at the URI name alone.
        let name = ServerName::try_from(hub.host.clone())
            .unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()));
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await.map_err(|source| typed(hub, source))
    }
}

async fn tcp(host: &str, port: u16, to: String) -> Result<TcpStream, ConnectError> {
    match TcpStream::connect((host, port)).await {
        Ok(stream) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Err(source) => Err(ConnectError::Io { to, source }),
    }
}

fn typed(hub: &HubUrl, source: io::Error) -> ConnectError {
    use rustls::CertificateError as Bad;
    let to = hub.to_string();
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(bad)) = inner else {
        return ConnectError::Tls { to, source };
    };
    match bad {
        Bad::Other(other) => match other.0.downcast_ref::<Refusal>() {
            Some(Refusal::WrongCa) => ConnectError::WrongCa { to },
            Some(refusal) => ConnectError::WrongIdentity { to, what: refusal.to_string() },
            None => ConnectError::Tls { to, source },
        },
        Bad::Expired | Bad::ExpiredContext { .. } => ConnectError::HubCertificateExpired { to },
        // The pinned CA stands in the chain and did not sign the leaf.
        Bad::UnknownIssuer | Bad::BadSignature => ConnectError::WrongCa { to },
        _ => ConnectError::Tls { to, source },
    }
}

impl HubUrl {
    /// `host:port`, as CONNECT and the `:authority` of requests have it.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for HubUrl {
    type Err = BadHubUrl;

    fn from_str(text: &str) -> Result<Self, BadHubUrl> {
        let bad = || BadHubUrl { text: text.chars().take(200).collect() };
        let uri: http::Uri = text.parse().map_err(|_| bad())?;
        let plain = uri.scheme_str() == Some("https")
            && uri.path() == "/"
            && uri.query().is_none()
            && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let (Some(host), Some(port), true) = (uri.host(), uri.port_u16(), plain) else {
            return Err(bad());
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_urls_are_https_host_and_port() {
        for good in ["https://hub.example:8443", "https://127.0.0.1:1", "https://[::1]:8443"] {
            assert_eq!(good.parse::<HubUrl>().unwrap().to_string(), good);
        }
        for bad in
            ["http://hub:1", "hub:1", "https://hub", "https://u@hub:1", "https://hub:1/x", ""]
        {
            assert!(bad.parse::<HubUrl>().is_err(), "{bad}");
        }
    }
}
