//! A hub and agents as processes that export, and what they are asked.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use provost_proto::Message as _;
use provost_proto::batch::Item;
use provost_testkit::processes::{self, Daemon};
use provost_testkit::wait;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

pub use provost_testkit::processes::pod;

/// No step of a test waits longer.
const BOUND: Duration = Duration::from_secs(180);

/// A fleet whose agents look at one folder of manifests, and reach the hub with nothing between.
pub struct Fleet(processes::Fleet);

impl Deref for Fleet {
    type Target = processes::Fleet;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Fleet {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

pub fn until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    wait::until(what, BOUND, look)
}

impl Fleet {
    /// A hub with these settings under `log`, and these policies of the library in force.
    pub fn start(log: &Value, policies: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self(processes::Fleet::start_logging(folder, policies, log))
    }

    pub fn manifests(&self) -> PathBuf {
        let path = self.path("manifests");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a manifest, whole.
    pub fn write(&self, name: &str, text: &str) {
        let hidden = self.path("partial");
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, self.manifests().join(name)).unwrap();
    }

    /// An enrolment token, in a file of the user's.
    pub fn token(&self) -> PathBuf {
        let token = self.provost(&["fleet", "token", "create", "--root", "root.json"]);
        let path = self.path("token");
        fs::write(&path, token).unwrap();
        path
    }

    /// An agent over the manifests, with these settings under `log`, and with further ones.
    pub fn agent(&self, name: &str, log: &Value, more: &Value) -> Daemon {
        self.agent_under(&[], name, log, more)
    }

    /// As [`Fleet::agent`], started by `command`, such as `env NAME=value`.
    pub fn agent_under(&self, command: &[&str], name: &str, log: &Value, more: &Value) -> Daemon {
        let mut settings = json!({
            "data_dir": self.path(name),
            "name": name,
            "source": {"manifests": {"dir": self.manifests(), "rescan_ms": 500}},
            "admin": {"listen": "127.0.0.1:0"},
            "admission": {"listen": "127.0.0.1:0"},
            "reconnect": {"first_ms": 50, "cap_ms": 500},
            "log": log,
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut agent = Daemon::new("provost-agent", &self.path(name), &settings);
        agent.start_under(command);
        agent
    }

    /// Of the agent `name`, once everything that it recorded is acknowledged, and it knows `objects`.
    pub fn settled(&self, name: &str, agent: &Daemon, objects: usize) -> String {
        until("everything is acknowledged", || {
            let text = self.agent_metrics(name)?;
            let known = text.contains(&format!("\nprovost_agent_objects {objects}\n"));
            let empty = text.contains("\nprovost_agent_spool_records 0\n");
            let active = text.contains("\nprovost_agent_bundle_version 1\n");
            let pending = text.contains("provost_agent_acks_total 0\n");
            if known && empty && active && !pending {
                return Ok(text);
            }
            let about = ["provost_agent_objects", "provost_agent_spool", "provost_agent_bundle"];
            let lines = text.lines().filter(|line| about.iter().any(|name| line.starts_with(name)));
            let lines: Vec<_> = lines.collect();
            Err(format!("{lines:?}; {}", agent.last_words()))
        })
    }

    /// The open findings, once the hub shows `text` among them.
    pub fn shows(&self, text: &str) -> String {
        until("the hub shows the finding", || {
            let found = self.provost(&["fleet", "findings", "--all", "-o", "json"]);
            if found.contains(text) { Ok(found) } else { Err(found) }
        })
    }

    pub fn agent_metrics(&self, name: &str) -> Result<String, String> {
        let address = fs::read_to_string(self.path(name).join("admin.addr"));
        let address = address.map_err(|error| error.to_string())?;
        let address: SocketAddr = address.trim().parse().unwrap();
        get(address, "/metrics", "").map_err(|error| error.to_string())
    }

    pub fn hub_metrics(&self) -> String {
        get(self.hub_address("admin"), "/metrics", "").unwrap()
    }

    pub fn hub_address(&self, listener: &str) -> SocketAddr {
        let text = fs::read_to_string(self.path("hub/addresses.json")).unwrap();
        let addresses: Value = serde_json::from_str(&text).unwrap();
        addresses[listener].as_str().unwrap().parse().unwrap()
    }

    /// What the agent `name` answers to an API server that wants to create this object, a pod.
    pub fn review(&self, name: &str, object: &Value, headers: &str) -> Value {
        let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
        let resource = json!({"group": "", "version": "v1", "resource": "pods"});
        let request = json!({
            "uid": "1", "kind": kind, "resource": resource, "operation": "CREATE",
            "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"],
            "userInfo": {"username": "ada"}, "object": object,
        });
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request,
        });
        let body = review.to_string();
        let request = format!(
            "POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}",
            body.len()
        );
        let folder = self.path(name);
        let address = fs::read_to_string(folder.join("admission.addr")).unwrap();
        let mut stream = trusting(&folder.join("admission/ca.pem"), address.trim());
        stream.write_all(request.as_bytes()).unwrap();
        let answer = said(&mut stream).unwrap();
        serde_json::from_str::<Value>(&answer).unwrap_or_else(|_| panic!("{answer}"))["response"]
            .take()
    }

    /// Every record that the hub took, as it was sent.
    pub fn records(&self) -> Vec<Vec<u8>> {
        let evidence = self.path("evidence");
        let _ = fs::remove_dir_all(&evidence);
        self.provost(&["fleet", "export", "evidence"]);
        let mut records = Vec::new();
        let files = files(&evidence).into_iter().filter(|path| path.ends_with("batches.jsonl"));
        for text in files.map(|path| fs::read_to_string(path).unwrap()) {
            for line in text.lines() {
                let batch: Value = serde_json::from_str(line).unwrap();
                let envelope = BASE64.decode(batch["envelope"].as_str().unwrap()).unwrap();
                let envelope = provost_proto::v1::Envelope::decode(&envelope[..]).unwrap();
                let items = provost_proto::batch::decode(&envelope.payload).unwrap().items;
                records.extend(items.into_iter().filter_map(|item| match item {
                    Item::Record(record) => Some(record.to_vec()),
                    Item::Elision(_) => None,
                }));
            }
        }
        records
    }
}

/// `headers` end with a line break each.
pub fn get(address: SocketAddr, path: &str, headers: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    said(&mut stream)
}

/// The body of an answer that ends with its connection.
fn said(stream: &mut impl std::io::Read) -> std::io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

/// A connection by TLS to whom this CA vouches for.
fn trusting(ca: &Path, address: &str) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    provost_runtime::tls::install_crypto_provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(BOUND)).unwrap();
    rustls::StreamOwned::new(tls, tcp)
}

/// Every file in `folder`, at any depth.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}
