//! The parts of the demo: daemons, commands, link, and the hub's API.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use provost_runtime::shutdown::Shutdown;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::keeper::{Order, Orders, Start};
use super::narrator::Narrator;
use super::proxy::Proxy;
use super::sites::{self, SITES, Site};
use crate::hub::{Hub, HubArgs};
use crate::library;

const HUB: &str = "hub";
/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(150);
/// What one step may take before the demo gives up on it.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// What one command may take.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(40);
/// Heartbeats every second: a site is stale after three.
pub const HEARTBEAT_MS: u64 = 1000;
/// After three heartbeats that did not come.
pub const STALE_AFTER_MS: u64 = 3 * HEARTBEAT_MS;

#[derive(Debug, Deserialize)]
struct Addresses {
    agents: SocketAddr,
    api: SocketAddr,
}

pub struct Fleet {
    runtime: Runtime,
    folder: PathBuf,
    orders: Orders,
    /// Names of the daemons and where they log.
    daemons: Vec<(String, PathBuf)>,
    proxy: Option<Proxy>,
    hub: Option<Hub>,
    server: String,
    heartbeat_ms: u64,
    give_up: Option<Instant>,
    stop: Shutdown,
}

/// Somebody ended the demo before its story was told.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Fleet {
    pub fn prepare(
        folder: &Path,
        orders: Orders,
        limit: Option<Duration>,
        stop: Shutdown,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let fleet = Self {
            runtime,
            folder: folder.to_owned(),
            orders,
            daemons: Vec::new(),
            proxy: None,
            hub: None,
            server: String::new(),
            heartbeat_ms: HEARTBEAT_MS,
            give_up: limit.map(|limit| now() + limit),
            stop,
        };
        library::write_to(&fleet.path("policies"))?;
        Ok(fleet)
    }

    /// The manifests of the demo's sites.
    pub fn lay_out_sites(&self) -> anyhow::Result<()> {
        SITES.iter().try_for_each(|site| site.lay_out(&self.manifests(site.name)))?;
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
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

    /// The agents send heartbeats this far apart.
    pub fn start_hub(&mut self, heartbeat_ms: u64) -> anyhow::Result<()> {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        self.heartbeat_ms = heartbeat_ms;
        self.spawn_hub(&Addresses { agents: free, api: free })?;
        let file = self.path("hub").join("addresses.json");
        self.wait("the hub listens", |_| Ok(file.exists()))?;
        let addresses: Addresses = serde_json::from_slice(&fs::read(&file)?)?;
        self.server = format!("http://{}", addresses.api);
        self.proxy = Some(self.runtime.block_on(Proxy::start(addresses.agents))?);
        let token = self.token_file();
        self.wait("the first token is written", |_| Ok(token.exists()))?;
        self.hub = Some(Hub::open(&HubArgs::of(&self.server, &token))?);
        Ok(())
    }

    fn spawn_hub(&mut self, at: &Addresses) -> anyhow::Result<()> {
        let config = json!({
            "data_dir": self.path("hub"),
            "trust_domain": "demo.provost",
            "agents": {"listen": at.agents},
            "api": {"listen": at.api},
            "admin": {"listen": "127.0.0.1:0"},
            "auto_approve": true,
            "heartbeat_interval_ms": self.heartbeat_ms,
        });
        self.spawn("provost-aggregator", HUB, &config)
    }

    /// Lets somebody at the hub's database while the hub does not run; then it runs again.
    pub fn without_hub(
        &mut self,
        act: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let addresses = fs::read(self.path("hub").join("addresses.json"))?;
        let addresses: Addresses = serde_json::from_slice(&addresses)?;
        self.end(HUB)?;
        act(&self.path("hub").join("hub.db"))?;
        self.spawn_hub(&addresses)?;
        self.wait("the hub answers again", |fleet| Ok(fleet.hub()?.health().is_ok()))
    }

    /// Ends a daemon by SIGTERM, and waits for its end.
    pub fn end(&mut self, name: &str) -> anyhow::Result<()> {
        self.orders.give(&Order::Stop { name: name.to_owned() })?;
        let stopped = Order::stopped(&self.folder, name);
        self.wait(&format!("{name} stops"), |_| Ok(stopped.exists()))?;
        fs::remove_file(stopped)?;
        Ok(())
    }

    fn token_file(&self) -> PathBuf {
        self.path("hub").join("admin.token")
    }

    /// Over the demo's own proxy where the link is to be cut.
    pub fn start_agent(&mut self, name: &str, token: &str) -> anyhow::Result<()> {
        let folder = self.path(name);
        fs::create_dir_all(&folder)?;
        let token_file = folder.join("token");
        fs::write(&token_file, token)?;
        let config = json!({
            "data_dir": folder.join("data"),
            "name": name,
            "token_file": token_file,
            "source": {"manifests": {"dir": self.manifests(name), "rescan_ms": 1000}},
            "admin": {"listen": "127.0.0.1:0"},
            "reconnect": {"first_ms": 200, "cap_ms": 2000},
        });
        self.spawn("provost-agent", name, &config)
    }

    /// The address that the agent of this site is given.
    pub fn agents_url(&self, site: &Site) -> anyhow::Result<Option<String>> {
        if site.name != sites::DARK {
            return Ok(None);
        }
        Ok(Some(format!("https://{}", self.proxy()?.address)))
    }

    fn spawn(&mut self, program: &str, name: &str, config: &Value) -> anyhow::Result<()> {
        let file = self.path(&format!("{name}.yaml"));
        fs::write(&file, serde_json::to_vec_pretty(config)?)?;
        let arguments = ["run", "--config", &file.display().to_string()].map(str::to_owned);
        self.start(program, name, arguments.to_vec())
    }

    /// A daemon under the keeper.
    pub fn start(
        &mut self,
        program: &str,
        name: &str,
        arguments: Vec<String>,
    ) -> anyhow::Result<()> {
        let log = self.path(&format!("{name}.log"));
        if !self.daemons.iter().any(|(known, _)| *known == name) {
            self.daemons.push((name.to_owned(), log.clone()));
        }
        let (name, program) = (name.to_owned(), beside(program)?);
        self.orders.give(&Order::Start(Start { name, program, arguments, log }))
    }

    /// Which process a daemon is.
    pub fn pid(&self, name: &str) -> anyhow::Result<u32> {
        let file = Order::pid(&self.folder, name);
        let text = fs::read_to_string(&file).with_context(|| format!("{name} was not started"))?;
        Ok(text.parse()?)
    }

    /// Where agents reach the hub, past every proxy.
    pub fn agents_address(&self) -> anyhow::Result<SocketAddr> {
        let addresses = fs::read(self.path("hub").join("addresses.json"))?;
        let addresses: Addresses = serde_json::from_slice(&addresses)?;
        Ok(addresses.agents)
    }

    /// A link of its own to the hub, whose bytes are counted.
    pub fn counted_link(&self) -> anyhow::Result<Proxy> {
        Ok(self.runtime.block_on(Proxy::start(self.agents_address()?))?)
    }

    /// Runs `provost` as a person would; what it prints comes back.
    pub fn provost(&self, narrator: &Narrator, arguments: &[&str]) -> anyhow::Result<String> {
        narrator.command(arguments);
        self.provost_quietly(arguments)
    }

    pub fn provost_quietly(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.output(arguments)?;
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
        let output = self.output(arguments)?;
        if output.status.success() {
            bail!("provost {} succeeded and must not", arguments.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Ends a command that takes too long, or that nobody waits for any more.
    fn output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::from(self.command(arguments)?);
        command.kill_on_drop(true);
        let ended = self.runtime.block_on(async {
            self.stop.or(tokio::time::timeout(COMMAND_LIMIT, command.output())).await
        });
        match ended {
            None => Err(Interrupted.into()),
            Some(Err(_)) => bail!(
                "provost {} took more than {} s and was ended",
                arguments.join(" "),
                COMMAND_LIMIT.as_secs()
            ),
            Some(Ok(output)) => output.context("cannot run provost"),
        }
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments.iter().map(OsStr::new)).current_dir(&self.folder);
        command.env("PROVOST_SERVER", &self.server).env("PROVOST_TOKEN_FILE", self.token_file());
        command.env_remove("PROVOST_TOKEN").stdin(Stdio::null());
        // Ctrl-C is for the demo, which ends its commands itself.
        command.process_group(0);
        Ok(command)
    }

    /// Waits until `holds`; fails when a process has died, a step takes too long or time is up.
    pub fn wait(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.wait_within(STEP_LIMIT, POLL, what, &mut holds)
    }

    /// As [`Self::wait`], looking this often and this long.
    pub fn wait_within(
        &mut self,
        step: Duration,
        poll: Duration,
        what: &str,
        mut holds: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let step = now() + step;
        let limit = self.give_up.map_or(step, |give_up| give_up.min(step));
        while !holds(self)? {
            if now() >= limit {
                bail!("gave up waiting: {what}");
            }
            self.pause(poll)?;
        }
        Ok(())
    }

    /// Until somebody ends the demo, or a daemon dies.
    pub fn stay(&self) -> anyhow::Result<()> {
        loop {
            self.pause(Duration::from_secs(1))?;
        }
    }

    pub fn pause(&self, duration: Duration) -> anyhow::Result<()> {
        self.orders.all_alive()?;
        if self.runtime.block_on(self.stop.sleep(duration)) {
            return Ok(());
        }
        Err(Interrupted.into())
    }

    /// The ends of all logs: the folder goes away, and what failed is in them.
    pub fn print_logs(&self) {
        for (name, log) in &self.daemons {
            let text = fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- {name} ---");
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
pub fn now() -> Instant {
    Instant::now()
}
