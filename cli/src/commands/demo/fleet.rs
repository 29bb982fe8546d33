//! The parts of the demo: folder, processes, link, and the hub's API.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::narrator::Narrator;
use super::proxy::Proxy;
use super::sites::{self, SITES, Site};
use crate::hub::{Hub, HubArgs};
use crate::library;

/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(150);
/// What one step may take before the demo gives up on it.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// Heartbeats every second: a site is stale after three.
const HEARTBEAT_MS: u64 = 1000;

#[derive(Debug, Deserialize)]
struct Addresses {
    agents: SocketAddr,
    api: SocketAddr,
}

pub struct Fleet {
    runtime: Runtime,
    processes: Vec<Process>,
    proxy: Option<Proxy>,
    hub: Option<Hub>,
    server: String,
    /// Last: the processes are gone before their folder goes.
    folder: TempDir,
    give_up: Option<Instant>,
}

struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fleet {
    pub fn prepare(runtime: Runtime, limit: Option<Duration>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("provost-demo-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let fleet = Self {
            runtime,
            processes: Vec::new(),
            proxy: None,
            hub: None,
            server: String::new(),
            folder,
            give_up: limit.map(|limit| now() + limit),
        };
        for site in SITES {
            site.lay_out(&fleet.manifests(site.name))?;
        }
        library::write_to(&fleet.path("policies"))?;
        Ok(fleet)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn manifests(&self, site: &str) -> PathBuf {
        self.path(site).join("manifests")
    }

    pub fn hub(&self) -> anyhow::Result<&Hub> {
        self.hub.as_ref().context("the hub is not running")
    }

    pub fn proxy(&self) -> anyhow::Result<&Proxy> {
        self.proxy.as_ref().context("the proxy is not running")
    }

    pub fn start_hub(&mut self) -> anyhow::Result<()> {
        let data = self.path("hub");
        let config = json!({
            "data_dir": data,
            "trust_domain": "demo.provost",
            "agents": {"listen": "127.0.0.1:0"},
            "api": {"listen": "127.0.0.1:0"},
            "admin": {"listen": "127.0.0.1:0"},
            "auto_approve": true,
            "heartbeat_interval_ms": HEARTBEAT_MS,
        });
        self.spawn("provost-aggregator", "hub", &config)?;
        let file = data.join("addresses.json");
        self.wait("the hub listens", |_| Ok(file.exists()))?;
        let addresses: Addresses = serde_json::from_slice(&fs::read(&file)?)?;
        self.server = format!("http://{}", addresses.api);
        self.proxy = Some(self.runtime.block_on(Proxy::start(addresses.agents))?);
        let token = self.token_file();
        self.wait("the first token is written", |_| Ok(token.exists()))?;
        self.hub = Some(Hub::open(&HubArgs::of(&self.server, &token))?);
        Ok(())
    }

    fn token_file(&self) -> PathBuf {
        self.path("hub").join("admin.token")
    }

    /// Over the demo's own proxy where the link is to be cut.
    pub fn start_agent(&mut self, site: &'static Site, token: &str) -> anyhow::Result<()> {
        let folder = self.path(site.name);
        let token_file = folder.join("token");
        fs::write(&token_file, token)?;
        let config = json!({
            "data_dir": folder.join("data"),
            "name": site.name,
            "token_file": token_file,
            "source": {"manifests": {"dir": self.manifests(site.name), "rescan_ms": 1000}},
            "admin": {"listen": "127.0.0.1:0"},
            "reconnect": {"first_ms": 200, "cap_ms": 2000},
        });
        self.spawn("provost-agent", site.name, &config)
    }

    /// The address that the agent of this site is given.
    pub fn agents_url(&self, site: &Site) -> anyhow::Result<Option<String>> {
        if site.name != sites::DARK {
            return Ok(None);
        }
        Ok(Some(format!("https://{}", self.proxy()?.address)))
    }

    fn spawn(&mut self, program: &str, name: &'static str, config: &Value) -> anyhow::Result<()> {
        let file = self.path(&format!("{name}.yaml"));
        fs::write(&file, serde_json::to_vec_pretty(config)?)?;
        let log = self.path(&format!("{name}.log"));
        let child = Command::new(beside(program)?)
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        self.processes.push(Process { name, child, log });
        Ok(())
    }

    /// Runs `provost` as a person would; what it prints comes back.
    pub fn provost(&self, narrator: &Narrator, arguments: &[&str]) -> anyhow::Result<String> {
        narrator.command(arguments);
        self.provost_quietly(arguments)
    }

    pub fn provost_quietly(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments)?.output().context("cannot run provost")?;
        if !output.status.success() {
            bail!(
                "provost {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What a command that must fail says.
    pub fn refusal(&self, narrator: &Narrator, arguments: &[&str]) -> anyhow::Result<String> {
        narrator.command(arguments);
        let output = self.command(arguments)?.output().context("cannot run provost")?;
        if output.status.success() {
            bail!("provost {} succeeded and must not", arguments.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments.iter().map(OsStr::new)).current_dir(self.folder.path());
        command.env("PROVOST_SERVER", &self.server).env("PROVOST_TOKEN_FILE", self.token_file());
        command.env_remove("PROVOST_TOKEN").stdin(Stdio::null());
        Ok(command)
    }

    /// Waits until `holds`; fails when a process has died, a step takes too long or time is up.
    pub fn wait(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let step = now() + STEP_LIMIT;
        let limit = self.give_up.map_or(step, |give_up| give_up.min(step));
        while !holds(self)? {
            if now() >= limit {
                bail!("gave up waiting: {what}");
            }
            self.all_alive()?;
            self.runtime.block_on(async { tokio::time::sleep(POLL).await });
        }
        Ok(())
    }

    fn all_alive(&mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.child.try_wait()? {
                bail!("{} ended by itself ({status})", process.name);
            }
        }
        Ok(())
    }

    /// Until Ctrl-C, or until a process dies.
    pub fn stay(&mut self) -> anyhow::Result<()> {
        loop {
            let interrupted = self.runtime.block_on(async {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => true,
                    () = tokio::time::sleep(Duration::from_secs(1)) => false,
                }
            });
            if interrupted {
                return Ok(());
            }
            self.all_alive()?;
        }
    }

    /// The ends of all logs: the folder goes away, and what failed is in them.
    pub fn print_logs(&self) {
        for process in &self.processes {
            let text = fs::read_to_string(&process.log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- {} ---", process.name);
            for line in lines.iter().skip(lines.len().saturating_sub(12)) {
                eprintln!("{line}");
            }
        }
    }
}

/// The daemons are installed beside this program.
fn beside(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where provost is")?;
    let path = own.parent().unwrap_or(Path::new(".")).join(program);
    if path.is_file() {
        return Ok(path);
    }
    Err(anyhow!(
        "{} is not there: build it with `make build`, or install it beside provost",
        path.display()
    ))
}

#[expect(clippy::disallowed_methods, reason = "how long to wait, on this machine")]
fn now() -> Instant {
    Instant::now()
}
