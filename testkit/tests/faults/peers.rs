//! Peers that are not what they should be, on either side of the link.
//!
//! Of one crate and tested there: certificates that expired, are of another CA, or play the hub (`runtime/tests/tls.rs`); a
//! call without a certificate, another cluster's or instance's batch and heartbeat, a jump and a fork
//! (`aggregator/tests/it/hub.rs`), a batch twice or overlapping (`conformance/chains.rs` there), strangers who send more
//! than their limits (`offers.rs` there), a batch that claims more than its limits (`proto/tests/wire`), an agent that
//! opens a session and never reads it (`limits.rs`); a token's CA, trust domain and root (`agent/tests/agent/enrolment.rs`). Here are
//! the real programs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use provost_runtime::pki::{Ca, TlsKey, Usage, Validity};
use provost_runtime::tls::install_crypto_provider;
use provost_testkit::available::left_out;
use provost_testkit::fault_proxy::{Fault, FaultProxy};
use provost_testkit::processes::{Daemon, Fleet, LIMIT, Site, pod, status_of};
use provost_testkit::wait::until;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::{Value, json};

use crate::load::{POLICIES, detail, no_gap, whole, whole_after_first};

const PATIENCE: Duration = Duration::from_secs(20);
/// The first byte of such a record.
const TLS_ALERT: u8 = 21;

/// A TLS client that looks at no certificate.
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// As a browser speaks.
    pub fn web() -> Self {
        Self::with(&[&rustls::version::TLS13], &[b"http/1.1"], None)
    }

    /// As [`Self::web`], with a certificate of this CA for that time.
    pub fn certified(ca: &Ca, validity: Validity) -> Self {
        let key = TlsKey::generate().unwrap();
        let usage = Usage::Cluster { trust_domain: "clients.test".parse().unwrap(), id: [7; 16] };
        let issued = ca.issue_own(&key, &usage, validity).unwrap();
        let chain = vec![issued.certificate];
        Self::with(&[&rustls::version::TLS13], &[b"http/1.1"], Some((chain, &key)))
    }

    fn with(
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&[u8]],
        certificate: Option<(Vec<CertificateDer<'static>>, &TlsKey)>,
    ) -> Self {
        install_crypto_provider();
        let provider = Arc::clone(CryptoProvider::get_default().unwrap());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivatePkcs8KeyDer::from(key.pkcs8_der().to_vec());
                builder.with_client_auth_cert(chain, key.into()).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Self(Arc::new(config))
    }

    fn open(&self, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.0), name).unwrap(), tcp)
    }

    /// What comes back for these bytes until the other side ends; an error where TLS failed.
    pub fn say(&self, address: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = self.open(address);
        stream.write_all(bytes)?;
        stream.flush()?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(answer),
        }
    }
}

/// The body of the answer to a POST.
pub fn post(client: &Client, address: SocketAddr, path: &str, body: &str) -> String {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = client.say(address, request.as_bytes()).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    body.to_owned()
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn agents_port(fleet: &Fleet) -> SocketAddr {
    let text = std::fs::read(fleet.path("hub/addresses.json")).unwrap();
    let addresses: Value = serde_json::from_slice(&text).unwrap();
    addresses["agents"].as_str().unwrap().parse().unwrap()
}

/// Resident memory, in MiB.
fn memory_mib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Scenario: plaintext, HTTP/1, TLS 1.2 and a certificate of another CA, all at the agents' port of a hub that serves an
/// agent. Guarantee: none of them gets an answer but an alert of TLS, or the end; the agent goes on.
#[test]
fn a_hub_answers_nobody_who_speaks_otherwise() {
    let fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    whole_after_first(&fleet, &site);
    let address = agents_port(&fleet);
    let get = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    let mut plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(get).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    let is_alert = answer.first().is_none_or(|first| *first == TLS_ALERT);
    assert!(is_alert, "plaintext: {}", String::from_utf8_lossy(&answer));

    let old = Client::with(&[&rustls::version::TLS12], &[b"h2"], None);
    assert!(old.say(address, get).is_err(), "TLS 1.2");
    let web = Client::with(&[&rustls::version::TLS13], &[b"http/1.1"], None);
    assert!(web.say(address, get).is_err(), "HTTP/1 by its name");
    let nameless = Client::with(&[&rustls::version::TLS13], &[], None);
    let answer = nameless.say(address, get).unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP"), "HTTP/1: {}", String::from_utf8_lossy(&answer));

    let domain: provost_runtime::spiffe::TrustDomain = "test.provost".parse().unwrap();
    let (ca, key) = (Ca::create(&domain, 1_700_000_000).unwrap(), TlsKey::generate().unwrap());
    let usage = Usage::Cluster { trust_domain: domain, id: [7; 16] };
    let validity = Validity { not_before: 1_700_000_000, not_after: 4_000_000_000 };
    let issued = ca.issue_own(&key, &usage, validity).unwrap();
    let chain = vec![issued.certificate, ca.certificate().clone()];
    let stranger = Client::with(&[&rustls::version::TLS13], &[b"h2"], Some((chain, &key)));
    assert!(stranger.say(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").is_err(), "another CA");

    site.write("api.yaml", &pod("api", true));
    let report = whole(&fleet, &site, 0);
    no_gap(&fleet, &site, &report);
}

/// Scenario: many peers are through their handshake and never read, and many never say anything. Guarantee: the hub's
/// memory stays bounded, and another agent enrols and reports as ever.
#[test]
fn peers_that_never_read_cost_the_others_nothing() {
    let fleet = Fleet::start(POLICIES);
    let address = agents_port(&fleet);
    let before = memory_mib(&fleet.hub);
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let client = Client::with(&[&rustls::version::TLS13], &[b"h2"], None);
    // A preface, SETTINGS, and then as many PINGs as the hub takes: each wants an answer that nobody reads.
    let mut bytes =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
    for _ in 0..2000 {
        bytes.extend(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00deadbeef");
    }
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut stream = client.open(address);
        stream.sock.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        while stream.write_all(&bytes).and_then(|()| stream.flush()).is_ok() && deaf.len() < 5 {
            // Until nothing goes any more, or the hub ends it.
            if memory_mib(&fleet.hub) > before + 200 {
                break;
            }
        }
        deaf.push(stream);
    }
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    let report = whole(&fleet, &site, 0);
    no_gap(&fleet, &site, &report);
    let now = memory_mib(&fleet.hub);
    assert!(now < before + 150, "{before} MiB became {now} MiB");
    drop((silent, deaf));
}

/// Scenario: the hub's address leads to another hub, with a CA of its own and the same trust domain. Guarantee: the agent
/// says WRONG_CA, tells it nothing, decides and spools on, and comes back to its own hub without a gap.
#[test]
fn an_impostor_hears_nothing() {
    let fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    let impostor = Fleet::start(POLICIES);
    let real = agents_port(&fleet);
    site.link.lead_to(agents_port(&impostor));
    site.link.break_connections();
    until("the agent refuses the impostor", LIMIT, || {
        let status = fleet.status(&site);
        let problem = status["link"]["problem"].as_str().unwrap_or_default();
        if problem.contains("WRONG_CA") { Ok(()) } else { Err(status.to_string()) }
    });
    site.write("api.yaml", &pod("api", true));
    until("the agent spools on", LIMIT, || {
        let waiting = fleet.status(&site)["spool"]["unacknowledged"].as_u64().unwrap_or(0);
        if waiting > 0 { Ok(()) } else { Err("nothing waits".to_owned()) }
    });
    let clusters = impostor.get("/api/v1/clusters");
    assert_eq!(clusters["items"].as_array().map(Vec::len), Some(0), "{clusters}");
    site.link.lead_to(real);
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
}

/// Scenario: from one moment to the next the hub's name leads to another address, as when a hub moves, and nobody
/// answers at the old one. Guarantee: the agent looks the name up with every attempt, and comes to its hub by itself
/// without a gap.
#[test]
fn a_hub_whose_name_leads_elsewhere_is_found() {
    let fleet = Fleet::start(POLICIES);
    let mut site = fleet.prepare("edge-1", json!({}));
    let Some(hosts) = Hosts::new(&fleet) else { return };
    let port = site.link.address().port();
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], port));
    let moved = FaultProxy::start_at(elsewhere, agents_port(&fleet)).unwrap();
    let mut settings: Value =
        serde_json::from_slice(&std::fs::read(site.agent.config()).unwrap()).unwrap();
    settings["hubs"] = json!([format!("https://{HUB_NAME}:{port}")]);
    std::fs::write(site.agent.config(), settings.to_string()).unwrap();
    hosts.lead_to(site.link.address());
    hosts.start(&mut site.agent);
    site.write("web.yaml", &pod("web", true));
    let before = whole_after_first(&fleet, &site);
    assert_eq!(moved.accepted(), 0);
    hosts.lead_to(elsewhere);
    site.link.set(Fault::Cut);
    site.write("api.yaml", &pod("api", true));
    let report = whole(&fleet, &site, before);
    no_gap(&fleet, &site, &report);
    assert!(moved.accepted() > 0);
}

const HUB_NAME: &str = "hub.provost.test";

/// The file of names as an agent sees it, and nobody else.
struct Hosts(PathBuf);

impl Hosts {
    /// None where the user may not mount; that has been said then.
    fn new(fleet: &Fleet) -> Option<Self> {
        let may = std::process::Command::new("unshare").args(["--mount", "true"]).status();
        if may.is_ok_and(|status| status.success()) {
            return Some(Self(fleet.path("hosts")));
        }
        left_out("a hub's name that leads elsewhere (the test mounts a file of names: needs root)")
    }

    fn lead_to(&self, address: SocketAddr) {
        std::fs::write(&self.0, format!("{} {HUB_NAME}\n", address.ip())).unwrap();
    }

    fn start(&self, agent: &mut Daemon) {
        let mount = format!("mount --bind '{}' /etc/hosts && exec \"$@\"", self.0.display());
        let private = ["unshare", "--mount", "--propagation", "private"];
        agent.start_under(&[&private[..], &["sh", "-c", &mount, "sh"]].concat());
    }
}

/// Scenario: the data folder is copied and a second agent runs on the copy, so that two speak with one identity; then the
/// copy is taken away and the operator lifts what was held back. Guarantee: the newest session wins and CLONE_SUSPECTED
/// is shown; whatever was acknowledged to either stays, under one chain for each epoch; the one that is left comes back
/// to exact numbers, and what it had not delivered before is declared.
#[test]
fn two_agents_of_one_identity_are_shown() {
    let fleet = Fleet::start(POLICIES);
    let site = fleet.enrol("edge-1", json!({}));
    site.write("web.yaml", &pod("web", true));
    whole_after_first(&fleet, &site);
    let mut acknowledged = acked(&fleet.status(&site));
    let mut copy = twin(&fleet, &site);
    until("the clone is shown", LIMIT, || {
        let alarms = fleet.alarms(&site);
        let is_shown = alarms.iter().any(|alarm| alarm["code"] == "CLONE_SUSPECTED");
        if is_shown { Ok(()) } else { Err(format!("{alarms:?}")) }
    });
    for daemon in [&site.agent, &copy] {
        until("each loses its session to the other", LIMIT, || {
            let log = daemon.log();
            let lost = log.contains("a newer session of this instance took over");
            if lost { Ok(()) } else { Err(log) }
        });
    }
    site.write("both.yaml", &pod("both", true));
    for data in [site.data(), fleet.path("twin")] {
        acknowledged = acknowledged.max(until("each has recorded it", LIMIT, || {
            let status = status_of(&data);
            let last = status["spool"]["lastSeq"].as_u64();
            if last > Some(0) { Ok(acked(&status)) } else { Err(status.to_string()) }
        }));
    }
    copy.kill();
    until("what is left has delivered everything", LIMIT, || {
        release(&fleet, &site);
        let status = fleet.status(&site);
        let spool = &status["spool"];
        let is_over = status["link"]["connected"] == true && spool["unacknowledged"] == 0;
        if is_over { Ok(()) } else { Err(status.to_string()) }
    });
    fleet.exact(&site);
    let report = until("its own heartbeat is the last one", LIMIT, || match fleet.evidence() {
        (report, true) => Ok(report),
        (report, false) => Err(report.to_string()),
    });
    let cluster = &report["clusters"][0];
    assert_eq!(cluster["elided"], 0, "{report:#}");
    let chains = cluster["chains"].as_array().unwrap();
    let (epoch, seq) = acknowledged;
    let kept = chains.iter().find(|chain| chain["epoch"] == epoch);
    assert!(kept.is_some_and(|chain| chain["lastSeq"].as_u64() >= Some(seq)), "{report:#}");
    let said = detail(&fleet, &site)["events"].to_string();
    assert!(chains.len() == 1 || said.contains("were not acknowledged"), "{said}");
}

/// Epoch and number of the last record that the hub acknowledged.
fn acked(status: &Value) -> (u64, u64) {
    let number = |key: &str| status["spool"][key].as_u64().unwrap_or(0);
    (number("epoch"), number("ackedSeq"))
}

/// What an operator does once the copy is gone.
fn release(fleet: &Fleet, site: &Site) {
    let alarms = fleet.alarms(site);
    let held =
        alarms.iter().find(|alarm| alarm["code"] == "FORK" && alarm.get("resolved").is_none());
    if let Some(instance) = held.and_then(|alarm| alarm["instance"].as_str()) {
        fleet.provost(&["fleet", "release", "--instance", instance, &site.name]);
    }
}

/// Another agent over a copy of the site's data, by the same link.
fn twin(fleet: &Fleet, site: &Site) -> Daemon {
    let folder = fleet.path("twin");
    let copied = std::process::Command::new("cp").arg("-a").arg(site.data()).arg(&folder).status();
    assert!(copied.unwrap().success());
    let text = std::fs::read(site.agent.config()).unwrap();
    let mut settings: Value = serde_json::from_slice(&text).unwrap();
    settings["data_dir"] = json!(folder);
    let mut daemon = Daemon::new("provost-agent", &folder, &settings);
    daemon.start();
    daemon
}
