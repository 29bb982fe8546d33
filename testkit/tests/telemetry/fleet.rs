//! A hub and an agent as processes, in a folder that goes away.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use provost_testkit::processes::{Daemon, lay_out, program};
use provost_testkit::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

/// No step of a test waits longer.
const BOUND: Duration = Duration::from_secs(180);

pub struct Fleet {
    pub folder: TempDir,
    pub hub: Daemon,
    server: String,
}

pub fn until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    wait::until(what, BOUND, look)
}

impl Fleet {
    /// A hub with these settings under `log`, and these policies of the library in force.
    pub fn start(log: &Value, policies: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub");
        let any = "127.0.0.1:0";
        let settings = json!({
            "data_dir": path,
            "trust_domain": "test.provost",
            "agents": {"listen": any},
            "api": {"listen": any},
            "admin": {"listen": any},
            "auto_approve": true,
            "heartbeat_interval_ms": 500,
            "log": log,
        });
        let mut hub = Daemon::new("provost-aggregator", &path, &settings);
        hub.start();
        let mut fleet = Self { folder, hub, server: String::new() };
        let addresses = until("the hub listens", || {
            let text = fs::read_to_string(path.join("addresses.json"));
            let text = text.map_err(|error| format!("{error}: {}", fleet.hub.log()))?;
            serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())
        });
        fleet.server = format!("http://{}", addresses["api"].as_str().unwrap());
        lay_out(&fleet.path("policies"), policies);
        fleet.publish();
        fleet
    }

    fn publish(&self) {
        for name in ["root", "policy"] {
            let file = format!("{name}.key.json");
            self.provost(&["keys", "generate", "--out", &file, "--name", name]);
        }
        self.provost(&[
            "root",
            "init",
            "--key",
            "root.pub.json",
            "--policy-key",
            "policy.pub.json",
        ]);
        let facts: Value =
            serde_json::from_str(&self.provost(&["fleet", "info", "-o", "json"])).unwrap();
        let director = facts["directorKey"].as_str().unwrap();
        self.provost(&["root", "add-key", "--role", "director", "--public", director]);
        self.provost(&["root", "sign", "--key", "root.key.json"]);
        let build =
            ["bundle", "build", "policies", "--out", "v1", "--version", "1", "--skip-tests"];
        self.provost(&build);
        self.provost(&["bundle", "sign", "v1", "--key", "policy.key.json"]);
        self.provost(&["bundle", "publish", "v1", "--root", "root.json"]);
    }

    /// Runs `provost` in the fleet's folder; what it prints.
    pub fn provost(&self, arguments: &[&str]) -> String {
        let output = Command::new(program("provost"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PROVOST_SERVER", &self.server)
            .env("PROVOST_TOKEN_FILE", self.path("hub/admin.token"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "provost {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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
        agent.start();
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
}

/// `headers` end with a line break each.
pub fn get(address: SocketAddr, path: &str, headers: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

pub fn pod(name: &str, host_network: bool) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{hostNetwork: {host_network}, containers: [{{name: a, image: 'a:1'}}]}}\n"
    )
}
