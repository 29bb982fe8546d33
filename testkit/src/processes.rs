//! A fleet of real processes: the three programs as they were built, in a folder that goes away.
//!
//! Agents reach the hub through a [`FaultProxy`] each, which keeps its address when the hub comes back on
//! another port. A process is killed when its value is dropped.
#![expect(clippy::expect_used, reason = "what a test cannot set up fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use crate::daemon::{Daemon, Ended, LIMIT, program};
use crate::fault_proxy::FaultProxy;
use crate::wait::until;

/// Heartbeats this often.
pub const HEARTBEAT_MS: u64 = 500;

/// A hub, its signers, and where its API is.
pub struct Fleet {
    folder: TempDir,
    pub hub: Daemon,
    server: String,
    agents: SocketAddr,
}

/// A cluster that is a directory of manifests, with its agent.
pub struct Site {
    pub name: String,
    pub agent: Daemon,
    pub link: FaultProxy,
    folder: PathBuf,
}

/// What is wrong with an object: subject, policy, fingerprint.
pub type Findings = BTreeSet<(String, String, String)>;
/// Verdicts by outcome, where there are any.
type Counts = BTreeMap<String, u64>;

impl Fleet {
    /// A hub with these policies of the library published as version 1.
    #[must_use]
    pub fn start(policies: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), policies)
    }

    /// As [`Fleet::start`], in a folder where something stands already.
    #[must_use]
    pub fn start_in(folder: TempDir, policies: &[&str]) -> Self {
        Self::start_logging(folder, policies, &json!({"format": "human"}))
    }

    /// As [`Fleet::start_in`], with these settings of the hub under `log`.
    #[must_use]
    pub fn start_logging(folder: TempDir, policies: &[&str], log: &Value) -> Self {
        let path = folder.path().to_owned();
        let any = "127.0.0.1:0";
        let settings = json!({
            "data_dir": path.join("hub"),
            "trust_domain": "test.provost",
            "agents": {"listen": any},
            "api": {"listen": any},
            "admin": {"listen": any},
            "auto_approve": true,
            "heartbeat_interval_ms": HEARTBEAT_MS,
            "log": log,
        });
        let hub = Daemon::new("provost-aggregator", &path.join("hub"), &settings);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut fleet = Self { folder, hub, server: String::new(), agents: nowhere };
        fleet.start_hub(&[]);
        fleet.make_keys();
        lay_out(&path.join("policies"), policies);
        fleet.publish(1);
        fleet
    }

    /// Starts the hub, on ports of its own choice, and leads these sites there.
    pub fn start_hub(&mut self, sites: &[&Site]) {
        let _ = fs::remove_file(self.path("hub/addresses.json"));
        self.hub.start();
        self.find_hub(sites);
    }

    /// Leads these sites to the hub that runs over this data folder, this one or another.
    pub fn find_hub(&mut self, sites: &[&Site]) {
        let file = self.path("hub/addresses.json");
        let addresses = until("the hub listens", LIMIT, || {
            let text = fs::read_to_string(&file)
                .map_err(|error| format!("{error}: {}", self.hub.last_words()))?;
            serde_json::from_str::<BTreeMap<String, SocketAddr>>(&text)
                .map_err(|error| error.to_string())
        });
        self.agents = addresses["agents"];
        self.server = format!("http://{}", addresses["api"]);
        for site in sites {
            site.link.lead_to(self.agents);
        }
    }

    /// A new site with an agent that runs, enrolled by a token of its own. Nothing is in its directory yet.
    #[must_use]
    pub fn enrol(&self, name: &str, more: Value) -> Site {
        let mut site = self.prepare(name, more);
        site.agent.start();
        until("the agent is enrolled", LIMIT, || {
            assert!(site.agent.runs(), "the agent ended: {}", site.agent.last_words());
            let status = self.status(&site);
            if status["enrolment"] == "enrolled" { Ok(()) } else { Err(status.to_string()) }
        });
        site
    }

    /// As [`Fleet::enrol`], with an agent that was not started yet. `more` are further settings.
    #[must_use]
    pub fn prepare(&self, name: &str, more: Value) -> Site {
        let link = FaultProxy::start(self.agents).expect("a proxy");
        let folder = self.path(name);
        fs::create_dir_all(folder.join("manifests")).expect("a folder");
        let url = format!("https://{}", link.address());
        let token = ["fleet", "token", "create", "--root", "root.json", "--name", name];
        let token = self.provost(&[&token[..], &["--hub", &url]].concat());
        fs::write(folder.join("token"), token).expect("a token file");
        let mut settings = json!({
            "data_dir": folder.join("data"),
            "name": name,
            "token_file": folder.join("token"),
            "source": {"manifests": {"dir": folder.join("manifests"), "rescan_ms": 500}},
            "admin": {"listen": "127.0.0.1:0"},
            "reconnect": {"first_ms": 50, "cap_ms": 500},
            "log": {"format": "human"},
        });
        if let (Some(settings), Value::Object(more)) = (settings.as_object_mut(), more) {
            settings.extend(more);
        }
        let agent = Daemon::new("provost-agent", &folder, &settings);
        Site { name: name.to_owned(), agent, link, folder }
    }

    /// Builds, signs and publishes what stands in the policy tree.
    pub fn publish(&self, version: u64) {
        let (name, version) = (format!("v{version}"), version.to_string());
        let build = ["bundle", "build", "policies", "--out", &name, "--version", &version];
        self.provost(&[&build[..], &["--skip-tests"]].concat());
        self.provost(&["bundle", "sign", &name, "--key", "policy.key.json"]);
        self.provost(&["bundle", "publish", &name, "--root", "root.json"]);
    }

    fn make_keys(&self) {
        for name in ["root", "policy"] {
            let file = format!("{name}.key.json");
            self.provost(&["keys", "generate", "--out", &file, "--name", name]);
        }
        let init = ["root", "init", "--key", "root.pub.json", "--policy-key", "policy.pub.json"];
        self.provost(&init);
        let facts = self.provost(&["fleet", "info", "-o", "json"]);
        let facts: Value = serde_json::from_str(&facts).expect("JSON");
        let director = facts["directorKey"].as_str().expect("the director's key");
        self.provost(&["root", "add-key", "--role", "director", "--public", director]);
        self.provost(&["root", "sign", "--key", "root.key.json"]);
    }

    /// Runs `provost`, which must succeed; what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn provost(&self, arguments: &[&str]) -> String {
        let output = self.try_provost(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "provost {}: {errors}", arguments.join(" "));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// Runs `provost` in the fleet's folder.
    pub fn try_provost(&self, arguments: &[&str]) -> Output {
        Command::new(program("provost"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PROVOST_SERVER", &self.server)
            .env("PROVOST_TOKEN_FILE", self.path("hub/admin.token"))
            .stdin(Stdio::null())
            .output()
            .expect("provost runs")
    }

    /// The site's alarms, those that are over among them.
    #[must_use]
    pub fn alarms(&self, site: &Site) -> Vec<Value> {
        let status = ["fleet", "status", "--cluster", &site.name, "-o", "json"];
        let output = self.try_provost(&status);
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["alarms"].as_array().cloned().unwrap_or_default()
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What `provost-agent status` says; null where there is no agent's data.
    #[must_use]
    pub fn status(&self, site: &Site) -> Value {
        status_of(&site.data())
    }

    /// The whole answer of the hub's `/readyz`.
    ///
    /// # Panics
    /// When the hub does not listen.
    #[must_use]
    pub fn readiness(&self) -> String {
        let text = fs::read_to_string(self.path("hub/addresses.json")).expect("addresses");
        let addresses: BTreeMap<String, SocketAddr> = serde_json::from_str(&text).expect("JSON");
        let admin = addresses["admin"];
        let mut stream = std::net::TcpStream::connect(admin).expect("the hub listens");
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// A document of the hub's API.
    ///
    /// # Panics
    /// When the hub does not answer 200.
    pub fn get(&self, path: &str) -> Value {
        let address = self.server.trim_start_matches("http://");
        let token = fs::read_to_string(self.path("hub/admin.token")).expect("a token");
        let mut stream = std::net::TcpStream::connect(address).expect("the hub listens");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\n\r\n",
            token.trim()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        serde_json::from_str(body).expect("JSON")
    }

    /// Lets other users into the fleet's folder.
    pub fn open_to_all(&self) {
        let all = PermissionsExt::from_mode(0o755);
        fs::set_permissions(self.folder.path(), all).expect("permissions");
    }

    /// What is open at a site, as the hub shows it.
    #[must_use]
    pub fn shown(&self, site: &Site) -> Findings {
        let findings = ["fleet", "findings", "--all", "-o", "json", "--state", "open"];
        let output = self.try_provost(&[&findings[..], &["--cluster", &site.name]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(2) && errors.contains("the hub knows no cluster") {
            return Findings::new();
        }
        assert!(output.status.success(), "{errors}");
        let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        named(rows["findings"].as_array().expect("findings"))
    }

    /// How many verdicts of the site the hub's roll-up counts.
    fn counted(&self, site: &Site) -> Counts {
        let clusters = self.get(&format!("/api/v1/clusters?name={}", site.name));
        let rows = clusters["items"].as_array().expect("clusters");
        let row = rows.iter().find(|row| row["name"] == site.name.as_str());
        let states = row.and_then(|row| row["states"].as_object());
        let states = states.into_iter().flatten();
        let states = states.map(|(state, count)| (state.clone(), count.as_u64().unwrap_or(0)));
        states.filter(|(_, count)| *count > 0).collect()
    }

    /// What a scan of the site's manifests says now, and how many verdicts it comes to.
    fn scanned(&self, site: &Site) -> (Findings, Counts) {
        let manifests = site.manifests();
        let folder = manifests.to_str().expect("UTF-8");
        let output = self.try_provost(&["scan", "--policy", "policies", "-o", "json", folder]);
        let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut counts = Counts::new();
        for row in rows["verdicts"].as_array().expect("verdicts") {
            *counts.entry(row["outcome"].as_str().expect("text").to_owned()).or_default() += 1;
        }
        (named(rows["findings"].as_array().expect("findings")), counts)
    }

    /// Waits until the hub shows of the site exactly what a scan of its manifests says: the same findings, and as many
    /// verdicts of each outcome in its roll-up.
    ///
    /// # Panics
    /// When it never does.
    pub fn exact(&self, site: &Site) {
        let (scanned, expected) = self.scanned(site);
        until("the hub shows what a scan says", LIMIT, || {
            let (shown, counted) = (self.shown(site), self.counted(site));
            let missing: Vec<_> = scanned.difference(&shown).take(3).collect();
            let invented: Vec<_> = shown.difference(&scanned).take(3).collect();
            match (missing.is_empty(), invented.is_empty(), counted == expected) {
                (true, true, true) => Ok(()),
                _ => Err(format!(
                    "missing {missing:?}, invented {invented:?}, {counted:?} of {expected:?}\n{}\n{}",
                    site.last(),
                    self.hub.last_words()
                )),
            }
        });
    }

    /// Waits until everything that the agent recorded is acknowledged; the last number.
    pub fn settled(&self, site: &Site) -> u64 {
        until("everything is acknowledged", LIMIT, || {
            let status = self.status(site);
            let spool = &status["spool"];
            match (spool["unacknowledged"].as_u64(), spool["ackedSeq"].as_u64()) {
                (Some(0), Some(acked)) if acked > 0 => Ok(acked),
                _ => Err(status.to_string()),
            }
        })
    }

    /// Exports the evidence and lets `provost verify-reports` judge it: its report, and whether all holds.
    #[must_use]
    pub fn evidence(&self) -> (Value, bool) {
        let folder = self.path("evidence");
        let _ = fs::remove_dir_all(&folder);
        self.provost(&["fleet", "export", "evidence"]);
        let check = ["verify-reports", "--from", "evidence", "--roots", "root.json", "-o", "json"];
        let output = self.try_provost(&check);
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (report, output.status.success())
    }
}

impl Site {
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.folder.join("manifests")
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes a manifest, whole.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let hidden = self.folder.join(format!("{name}.new"));
        fs::write(&hidden, text).expect("written");
        fs::rename(hidden, self.manifests().join(name)).expect("renamed");
    }

    /// Makes all that the agent has another user's.
    pub fn give_to(&self, user: &str) {
        let owner = format!("{user}:{user}");
        let given = Command::new("chown").args(["-R", &owner]).arg(&self.folder).status();
        assert!(given.is_ok_and(|status| status.success()), "chown {owner}");
        let config = self.folder.with_extension("yaml");
        fs::set_permissions(config, PermissionsExt::from_mode(0o644)).expect("permissions");
    }

    fn last(&self) -> String {
        format!("the agent's last words:\n{}", self.agent.last_words())
    }
}

/// What `provost-agent status` says of a data folder; null where there is no agent's data.
///
/// # Panics
/// When the program cannot be started.
#[must_use]
pub fn status_of(data: &Path) -> Value {
    let output = Command::new(program("provost-agent"))
        .args(["status", "-o", "json", "--data-dir"])
        .arg(data)
        .output()
        .expect("provost-agent runs");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// A pod that breaks `host-network` or does not.
#[must_use]
pub fn pod(name: &str, host_network: bool) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{hostNetwork: {host_network}, containers: [{{name: a, image: 'a:1'}}]}}\n"
    )
}

fn named(rows: &[Value]) -> Findings {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let named = rows.iter().map(|row| {
        let subject = row["subject"]["name"].as_str().unwrap_or_default().to_owned();
        (subject, text(row, "policy"), text(row, "fingerprint"))
    });
    named.collect()
}

/// The library narrowed to these policies, as a tree.
///
/// # Panics
/// Where it cannot be copied.
pub fn lay_out(folder: &Path, policies: &[&str]) {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    copy(&library.join("lib"), &folder.join("lib"));
    for area in fs::read_dir(&library).expect("the library") {
        let area = area.expect("an area").path();
        for policy in policies {
            if area.join(policy).is_dir() {
                let name = area.file_name().expect("a name");
                copy(&area.join(policy), &folder.join(name).join(policy));
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}
