//! Who is heard on the admission port, and what it may cost.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use provost_engine::{CompiledSet, Evaluator, Limits};
use provost_runtime::admin::Health;
use provost_runtime::clock::{Clock as _, Manual, System};
use provost_runtime::metrics::Registry;
use provost_runtime::pki::{Ca, TlsKey, Usage, Validity, certificates_from_pem};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;
use provost_runtime::tls::{Clients, install_crypto_provider};
use provost_runtime::web;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tower::ServiceExt as _;

use super::{Admission, Certificate, MAX_CONNECTIONS, MAX_IN_FLIGHT, PATH, serve};
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

/// The status of the answer. A refused client learns it when it reads.
async fn ask(config: ClientConfig, address: SocketAddr, request: &str) -> io::Result<u16> {
    let mut stream = open(config, address).await?;
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    status_of(&mut stream).await
}

async fn open(config: ClientConfig, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

async fn status_of(stream: &mut TlsStream<TcpStream>) -> io::Result<u16> {
    let mut answer = vec![0; 12];
    let read = stream.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await??;
    let text = String::from_utf8(answer).unwrap();
    Ok(text.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap())
}

struct Served {
    address: SocketAddr,
    certificate: Certificate,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

async fn served(admission: Admission, clock: &Arc<Manual>) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned()];
    let certificate = Certificate::load_or_create(folder.path(), &names).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new(Shutdown::new());
    serve(admission, listener, &certificate, clock.clone(), &tasks).unwrap();
    Served { address, certificate, tasks, _folder: folder }
}

const REVIEW: &str = "POST /validate";

#[tokio::test]
async fn with_a_ca_only_its_clients_are_heard_and_probes_need_none() {
    let Port { admission, clock, registry, _sets } = port();
    let now = i64::try_from(clock.wall_secs()).unwrap();
    let domain = "clients.test".parse().unwrap();
    let (ca, other) = (Ca::create(&domain, now).unwrap(), Ca::create(&domain, now).unwrap());
    let health = Health::new();
    let admission = admission
        .for_clients(Clients::Ca { roots: vec![ca.certificate().clone()] })
        .with_health(health.clone());
    let Served { address, certificate, tasks, _folder } = served(admission, &clock).await;
    let answer = |signer, request| ask(client(signer, certificate.ca_pem()), address, request);
    // An empty body is no review.
    assert_eq!(answer(Some((&ca, now + DAY)), REVIEW).await.unwrap(), 400);
    assert!(answer(Some((&other, now + DAY)), REVIEW).await.is_err());
    assert!(answer(Some((&ca, now - 60)), REVIEW).await.is_err());
    assert_eq!(answer(None, REVIEW).await.unwrap(), 401);
    assert!(registry.render().contains("{result=\"uncertified\"} 1"), "{}", registry.render());
    assert_eq!(answer(None, "GET /healthz").await.unwrap(), 200);
    health.set("bundle", false, "none in force yet");
    assert_eq!(answer(None, "GET /readyz").await.unwrap(), 503);
    health.set("bundle", true, "");
    assert_eq!(answer(None, "GET /readyz").await.unwrap(), 200);
    clock.advance(Duration::from_secs(2 * 86_400));
    assert!(answer(Some((&ca, now + DAY)), REVIEW).await.is_err());
    // Trusted time is a lower bound: a certificate from after it is current.
    clock.set_wall_ms(0);
    assert_eq!(answer(Some((&ca, now + DAY)), REVIEW).await.unwrap(), 400);
    tasks.shutdown().trigger();
}

/// Strangers that hold as many connections as there may be do not shut out who asks, nor end the
/// connection on which reviews are answered.
#[tokio::test]
async fn silent_connections_make_room_for_reviews() {
    let Port { admission, clock, _sets, .. } = port();
    let Served { address, certificate, tasks, _folder } = served(admission, &clock).await;
    let config = || client(None, certificate.ca_pem());
    let mut live = open(config(), address).await.unwrap();
    let body = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},"operation":"DELETE","name":"a"}}"#;
    let review = format!(
        "{REVIEW} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    live.write_all(review.as_bytes()).await.unwrap();
    assert_eq!(status_of(&mut live).await.unwrap(), 200);
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 8 {
        silent.push(open(config(), address).await.unwrap());
    }
    assert_eq!(ask(config(), address, "GET /healthz").await.unwrap(), 200);
    // The oldest silent one had to go.
    let ended = tokio::time::timeout(Duration::from_secs(20), silent[0].read(&mut [0])).await;
    assert!(!matches!(ended.unwrap(), Ok(1..)));
    // What is left of the first answer comes before the second.
    live.write_all(review.as_bytes()).await.unwrap();
    let mut text: Vec<u8> = Vec::new();
    while text.windows(12).filter(|window| *window == b"HTTP/1.1 200").count() < 1 {
        let mut piece = [0; 1024];
        let read = tokio::time::timeout(Duration::from_secs(20), live.read(&mut piece)).await;
        match read.unwrap().unwrap() {
            0 => panic!("the connection that is of use was closed"),
            count => text.extend(&piece[..count]),
        }
    }
    tasks.shutdown().trigger();
}

/// Who says nothing, says it slowly, or has nothing more to say is not waited for.
#[tokio::test]
async fn silent_slow_and_idle_connections_are_closed() {
    let Port { admission, clock, _sets, .. } = port();
    let soon = Duration::from_millis(200);
    let limits = web::Limits { max_connections: 8, request_within: soon, idle_timeout: soon };
    let admission = Admission { limits, ..admission };
    let Served { address, certificate, tasks, _folder } = served(admission, &clock).await;
    for said in
        ["", "GET /healthz HTTP/1.1\r\nX-Slow: ", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let mut stream = open(client(None, certificate.ca_pem()), address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        // An end without the TLS goodbye is an error here, and an end.
        let _ = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
        assert_eq!(rest.starts_with(b"HTTP/1.1 200"), said.ends_with("\r\n\r\n"), "{said}");
    }
    tasks.shutdown().trigger();
}
