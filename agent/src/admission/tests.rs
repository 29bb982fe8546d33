//! Who is heard on the admission port, and what it may cost.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use provost_engine::{CompiledSet, Evaluator, Limits};
use provost_runtime::clock::{Clock as _, Manual, System};
use provost_runtime::metrics::Registry;
use provost_runtime::pki::{Ca, TlsKey, Usage, Validity, certificates_from_pem};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;
use provost_runtime::tls::{Clients, install_crypto_provider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tower::ServiceExt as _;

use super::{Admission, Certificate, MAX_IN_FLIGHT, PATH, serve};
use crate::bundles::empty_set;

const DAY: i64 = 86_400;

struct Port {
    admission: Admission,
    clock: Arc<Manual>,
    registry: Registry,
    _sets: watch::Sender<Arc<CompiledSet>>,
}

fn port() -> Port {
    install_crypto_provider();
    let (keep, sets) = watch::channel(empty_set());
    let evaluator = Evaluator::start(&sets, Limits::default()).unwrap();
    let (clock, registry) = (Manual::at(System::new().wall_ms()), Registry::new());
    let admission = Admission::new(evaluator, sets, None, clock.clone(), &registry);
    Port { admission, clock, registry, _sets: keep }
}

async fn status(admission: &Admission, body: Body) -> StatusCode {
    let request = Request::post(PATH).body(body).unwrap();
    admission.clone().router().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn what_comes_over_the_limit_is_refused_at_once_and_counted() {
    let Port { admission, registry, _sets, .. } = port();
    let permits = u32::try_from(MAX_IN_FLIGHT).unwrap();
    let all = Arc::clone(&admission.in_flight).try_acquire_many_owned(permits).unwrap();
    assert_eq!(status(&admission, Body::from("{}")).await, StatusCode::SERVICE_UNAVAILABLE);
    drop(all);
    assert_eq!(status(&admission, Body::from("{}")).await, StatusCode::BAD_REQUEST);
    assert_eq!(admission.in_flight.available_permits(), MAX_IN_FLIGHT);
    let text = registry.render();
    assert!(text.contains("provost_admission_reviews_total{result=\"overload\"} 1"), "{text}");
}

#[tokio::test]
async fn a_body_that_does_not_come_holds_no_place_for_long() {
    let Port { admission, registry, _sets, .. } = port();
    let admission = Admission { timeout: Duration::from_millis(50), ..admission };
    let body = Body::from_stream(futures::stream::pending::<io::Result<bytes::Bytes>>());
    assert_eq!(status(&admission, body).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(admission.in_flight.available_permits(), MAX_IN_FLIGHT);
    let text = registry.render();
    assert!(text.contains("provost_admission_reviews_total{result=\"timed_out\"} 1"), "{text}");
}

/// A client with a certificate of `signer`, or with none.
fn client(signer: Option<(&Ca, i64)>, server_ca: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for root in certificates_from_pem(server_ca).unwrap() {
        roots.add(root).unwrap();
    }
    let builder = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(roots);
    let Some((ca, until)) = signer else { return builder.with_no_client_auth() };
    let key = TlsKey::generate().unwrap();
    let usage = Usage::Cluster { trust_domain: "any.test".parse().unwrap(), id: [7; 16] };
    let validity = Validity { not_before: until - 2 * DAY, not_after: until };
    let issued = ca.issue_own(&key, &usage, validity).unwrap();
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from(key.pkcs8_der().to_vec());
    builder.with_client_auth_cert(vec![issued.certificate], der.into()).unwrap()
}

/// Whether it gets an answer. A refused client learns it when it reads.
async fn is_heard(config: ClientConfig, address: std::net::SocketAddr) -> io::Result<bool> {
    let tcp = TcpStream::connect(address).await?;
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, tcp).await?;
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(answer == b"HTTP/1.1 200")
}

#[tokio::test]
async fn with_a_ca_only_its_clients_are_heard() {
    let Port { admission, clock, _sets, .. } = port();
    let now = i64::try_from(clock.wall_secs()).unwrap();
    let domain = "clients.test".parse().unwrap();
    let (ca, other) = (Ca::create(&domain, now).unwrap(), Ca::create(&domain, now).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned()];
    let certificate = Certificate::load_or_create(folder.path(), &names, now).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let admission = admission.for_clients(Clients::Ca { roots: vec![ca.certificate().clone()] });
    serve(admission, listener, &certificate, clock.clone(), &tasks).unwrap();
    let heard = |signer| {
        let config = client(signer, certificate.ca_pem());
        async move {
            let limit = Duration::from_secs(20);
            tokio::time::timeout(limit, is_heard(config, address)).await.unwrap()
        }
    };
    assert!(heard(Some((&ca, now + DAY))).await.unwrap());
    assert!(heard(Some((&other, now + DAY))).await.is_err());
    assert!(heard(Some((&ca, now - 60))).await.is_err());
    assert!(heard(None).await.is_err());
    clock.advance(Duration::from_secs(2 * 86_400));
    assert!(heard(Some((&ca, now + DAY))).await.is_err());
    tasks.shutdown().trigger();
}
