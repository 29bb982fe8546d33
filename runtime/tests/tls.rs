//! Both ends of TLS over loopback: who is let in, who is refused, and with which reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use provost_runtime::clock::Manual;
use provost_runtime::pki::{Ca, RequestedKey, TlsKey, Usage, Validity};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::spiffe::{SpiffeId, TrustDomain};
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::tls::{
    self, ALPN_H2, CertificateSlot, Clients, ConnectError, Connector, HubUrl, Incoming, Limits,
    Proxy,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const WAIT: Duration = Duration::from_secs(10);

struct Hub {
    ca: Ca,
    clock: Arc<Manual>,
    tasks: Tasks,
    incoming: Incoming,
}

fn domain() -> TrustDomain {
    "fleet.test".parse().unwrap()
}

async fn hub_with(usage: Usage, limits: Limits) -> Hub {
    tls::install_crypto_provider();
    let ca = Ca::create(&domain(), NOW).unwrap();
    let key = TlsKey::generate().unwrap();
    let issued = ca.issue_own(&key, &usage, Validity::from_now(NOW, 30 * DAY)).unwrap();
    let chain = vec![issued.certificate, ca.certificate().clone()];
    let slot = CertificateSlot::new(chain, &key).unwrap();
    let clock = Manual::at(NOW * 1000);
    let clients = Clients::Clusters { ca: ca.certificate().clone(), trust_domain: domain() };
    let config = tls::server_config(&slot, clients, clock.clone(), ALPN_H2).unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let incoming = tls::listen("test", listener, config, limits, &tasks).unwrap();
    Hub { ca, clock, tasks, incoming }
}

async fn hub() -> Hub {
    hub_with(Usage::Hub { trust_domain: domain() }, Limits::default()).await
}

impl Hub {
    fn url(&self) -> HubUrl {
        format!("https://{}", self.incoming.local_addr()).parse().unwrap()
    }

    fn client(&self, slot: &CertificateSlot) -> Connector {
        self.client_of(self.ca.sha256(), domain(), slot)
    }

    fn client_of(&self, ca: [u8; 32], domain: TrustDomain, slot: &CertificateSlot) -> Connector {
        Connector::new(ca, domain, slot, self.clock.clone(), None, WAIT).unwrap()
    }

    fn cluster_certificate(&self, ca: &Ca, validity: Validity) -> CertificateSlot {
        let key = TlsKey::generate().unwrap();
        let request = RequestedKey::from_csr(&key.csr().unwrap()).unwrap();
        let usage = Usage::Cluster { trust_domain: domain(), id: [9; 16] };
        let issued = ca.issue(&request, &usage, validity).unwrap();
        CertificateSlot::new(vec![issued.certificate], &key).unwrap()
    }

    /// The server answers one byte; a client whose certificate is refused learns it when it reads.
    async fn serve_one(&mut self) -> Option<provost_runtime::tls::Peer> {
        let mut connection = tokio::time::timeout(WAIT, self.incoming.next()).await.unwrap()?;
        connection.write_all(b"x").await.unwrap();
        connection.flush().await.unwrap();
        Some(connection.peer().clone())
    }
}

#[tokio::test]
async fn a_cluster_is_known_by_its_certificate_and_a_newcomer_has_none() {
    let mut hub = hub().await;
    let slot = hub.cluster_certificate(&hub.ca, Validity::from_now(NOW, DAY));
    let mut stream = hub.client(&slot).connect(&hub.url()).await.unwrap();
    let peer = hub.serve_one().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    let identity = peer.identity.unwrap();
    assert_eq!(identity.spiffe, SpiffeId::cluster(domain(), [9; 16]));

    let _newcomer = hub.client(&CertificateSlot::empty()).connect(&hub.url()).await.unwrap();
    assert!(hub.serve_one().await.unwrap().identity.is_none());
}

#[tokio::test]
async fn an_agent_refuses_any_other_ca_identity_or_domain() {
    let hub = hub().await;
    let none = CertificateSlot::empty();
    let other_ca = hub.client_of([3; 32], domain(), &none).connect(&hub.url()).await;
    assert!(matches!(other_ca, Err(ConnectError::WrongCa { .. })), "{other_ca:?}");
    let other_domain = hub
        .client_of(hub.ca.sha256(), "other.test".parse().unwrap(), &none)
        .connect(&hub.url())
        .await;
    assert!(matches!(other_domain, Err(ConnectError::WrongIdentity { .. })), "{other_domain:?}");
}

/// A CA certificate stands in the chain, but somebody else signed the leaf.
#[tokio::test]
async fn showing_the_right_ca_is_not_being_signed_by_it() {
    tls::install_crypto_provider();
    let honest = Ca::create(&domain(), NOW).unwrap();
    let mut evil = hub().await;
    let key = TlsKey::generate().unwrap();
    let usage = Usage::Hub { trust_domain: domain() };
    let leaf = evil.ca.issue_own(&key, &usage, Validity::from_now(NOW, DAY)).unwrap().certificate;
    let slot = CertificateSlot::new(vec![leaf, honest.certificate().clone()], &key).unwrap();
    let config =
        tls::server_config(&slot, Clients::Anonymous, evil.clock.clone(), ALPN_H2).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    evil.incoming = tls::listen("evil", listener, config, Limits::default(), &evil.tasks).unwrap();
    let refused = evil
        .client_of(honest.sha256(), domain(), &CertificateSlot::empty())
        .connect(&evil.url())
        .await;
    assert!(matches!(refused, Err(ConnectError::WrongCa { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_agents_certificate_cannot_play_the_hub() {
    let hub =
        hub_with(Usage::Cluster { trust_domain: domain(), id: [9; 16] }, Limits::default()).await;
    let refused = hub.client(&CertificateSlot::empty()).connect(&hub.url()).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn expired_and_foreign_client_certificates_are_refused_but_early_ones_are_not() {
    let mut hub = hub().await;
    let early = Validity { not_before: NOW + DAY, not_after: NOW + 2 * DAY };
    let slot = hub.cluster_certificate(&hub.ca, early);
    let mut stream = hub.client(&slot).connect(&hub.url()).await.unwrap();
    assert!(hub.serve_one().await.unwrap().identity.is_some());
    assert_eq!(stream.read_u8().await.unwrap(), b'x');

    let expired = Validity { not_before: NOW - 2 * DAY, not_after: NOW - 1 };
    let foreign = Ca::create(&domain(), NOW).unwrap();
    for slot in [
        hub.cluster_certificate(&hub.ca, expired),
        hub.cluster_certificate(&foreign, Validity::from_now(NOW, DAY)),
    ] {
        // In TLS 1.3 the client is through before the server looked at its certificate.
        let refused = hub.client(&slot).connect_and_listen(&hub.url()).await;
        let expected = matches!(refused, Err(ConnectError::OurCertificateRefused { .. }));
        assert!(expected, "{refused:?}");
    }
}

#[tokio::test]
async fn an_expired_hub_is_refused() {
    let hub = hub().await;
    hub.clock.set_wall_ms((NOW + 31 * DAY) * 1000);
    let refused = hub.client(&CertificateSlot::empty()).connect(&hub.url()).await;
    assert!(matches!(refused, Err(ConnectError::HubCertificateExpired { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_silent_client_does_not_hold_a_handshake_for_long() {
    let limits = Limits { handshake_timeout: Duration::from_millis(200), max_handshakes: 1 };
    let mut hub = hub_with(Usage::Hub { trust_domain: domain() }, limits).await;
    let _silent = TcpStream::connect(hub.incoming.local_addr()).await.unwrap();
    let _next = hub.client(&CertificateSlot::empty()).connect(&hub.url()).await.unwrap();
    assert!(hub.serve_one().await.is_some());
}

#[tokio::test]
async fn accepting_ends_with_shutdown() {
    let mut hub = hub().await;
    hub.tasks.shutdown().trigger();
    hub.tasks.join(WAIT).await.unwrap();
    assert!(hub.incoming.next().await.is_none());
}

/// A CONNECT proxy to `target` that wants a password, over whatever carries it.
async fn proxy<S>(mut client: S, target: std::net::SocketAddr)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Who does not trust the proxy leaves.
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
    if !head.contains("Proxy-Authorization: Basic dTpw\r\n") {
        client.write_all(b"HTTP/1.1 407 No\r\n\r\n").await.unwrap();
        client.flush().await.unwrap();
        return;
    }
    client.write_all(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n").await.unwrap();
    client.flush().await.unwrap();
    let mut server = TcpStream::connect(target).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

fn through(hub: &Hub, proxy: &str, roots: &[&Ca]) -> Connector {
    let (ca, clock) = (hub.ca.sha256(), hub.clock.clone());
    let roots = roots.iter().map(|ca| ca.certificate().clone()).collect();
    let proxy: Proxy = proxy.parse().unwrap();
    let (slot, proxy) = (CertificateSlot::empty(), Some(proxy.with_roots(roots)));
    Connector::new(ca, domain(), &slot, clock, proxy, WAIT).unwrap()
}

/// With the password the tunnel works, without it the status is named.
#[tokio::test]
async fn a_proxy_tunnels() {
    let mut hub = hub().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = hub.incoming.local_addr();
    hub.tasks.spawn_infallible("proxy", OnEnd::Log, async move {
        loop {
            proxy(listener.accept().await.unwrap().0, target).await;
        }
    });
    let refused = through(&hub, &format!("http://{address}"), &[]).connect(&hub.url()).await;
    assert!(matches!(refused, Err(ConnectError::ProxyRefused { status: 407, .. })), "{refused:?}");
    let stream = through(&hub, &format!("http://u:p@{address}"), &[]).connect(&hub.url()).await;
    assert!(stream.is_ok(), "{stream:?}");
    assert!(hub.serve_one().await.is_some());
}

/// TLS in TLS: the proxy proves its name by a CA that was given, before it sees any password.
#[tokio::test]
async fn a_proxy_by_tls_tunnels() {
    let mut hub = hub().await;
    let ca = Ca::create(&"proxy.test".parse().unwrap(), NOW).unwrap();
    let key = TlsKey::generate().unwrap();
    let addresses = vec!["127.0.0.1".parse().unwrap()];
    let usage = Usage::Web { dns: vec!["localhost".to_owned()], addresses };
    let issued = ca.issue_own(&key, &usage, Validity::from_now(NOW, 30 * DAY)).unwrap();
    let slot = CertificateSlot::new(vec![issued.certificate], &key).unwrap();
    let config =
        tls::server_config(&slot, Clients::Anonymous, hub.clock.clone(), &[b"http/1.1"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut incoming =
        tls::listen("proxy-accept", listener, config, Limits::default(), &hub.tasks).unwrap();
    let (address, target) = (incoming.local_addr(), hub.incoming.local_addr());
    hub.tasks.spawn_infallible("proxy", OnEnd::Log, async move {
        while let Some(client) = incoming.next().await {
            proxy(client, target).await;
        }
    });
    let url = format!("https://u:p@{address}");
    for strange in [&[][..], &[&hub.ca]] {
        let refused = through(&hub, &url, strange).connect(&hub.url()).await;
        let Err(error @ ConnectError::ProxyTls { .. }) = refused else { panic!("{refused:?}") };
        assert!(!format!("{error} {error:?}").contains("u:p"), "{error:?}");
    }
    let anonymous = format!("https://{address}");
    let refused = through(&hub, &anonymous, &[&ca]).connect(&hub.url()).await;
    assert!(matches!(refused, Err(ConnectError::ProxyRefused { status: 407, .. })), "{refused:?}");
    let stream = through(&hub, &url, &[&ca]).connect(&hub.url()).await;
    assert!(stream.is_ok(), "{stream:?}");
    assert!(hub.serve_one().await.is_some());
}
