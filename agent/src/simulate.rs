//! `provost-agent simulate`: many light agents in one process, to measure a hub with.
//!
//! Each has its own identity, enrolment, trust state, blobs, mTLS session, heartbeats and signed
//! chain, over the same uplink and the same verification of bundles as a real one. What they lack
//! is a source of objects and a disk under the chain; and a bundle is compiled and tested once for all.

pub mod chain;
pub mod records;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use provost_runtime::clock::{SharedClock, System};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tasks::Tasks;
use provost_runtime::{admin, telemetry};
use serde::Serialize;
use tokio::sync::watch;

use crate::bundles::Shared;
use crate::config::{Config, Manifests, Settings, Source};
use crate::disk;
use crate::run::{Agent, DataPlane};
use chain::{Simulated, Tally};

/// Between two portions of records, where a rate is asked for.
const PORTION: Duration = Duration::from_millis(100);
/// Between two looks for the file that the records begin with.
const LOOK: Duration = Duration::from_millis(20);
/// What the agents get to end their sessions.
const GRACE: Duration = Duration::from_secs(10);

pub const EXAMPLES: &str = "Examples:
  for i in $(seq 10); do provost fleet token create --root root.json; done > tokens
  provost-agent simulate --agents 10 --token-file tokens --records 1000
  provost-agent simulate --agents 10 --token-file tokens --rate 500 --stay

A token works once, so the file has one line for each agent. Records begin when a bundle is active
on all of them: publish one first. `provost bench fleet` does all of it.";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many agents.
    #[arg(long, value_name = "N")]
    agents: usize,
    /// Enrolment tokens, one a line.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where the hub is, as https://host:port; may be repeated. Default: what the tokens say.
    #[arg(long = "hub", value_name = "URL")]
    hubs: Vec<String>,
    /// Verdict records that each agent sends.
    #[arg(long, value_name = "M", default_value_t = 1000)]
    records: u64,
    /// Objects of each agent: so many records state an object, the others a change of one.
    #[arg(long, value_name = "K", default_value_t = 200)]
    objects: u64,
    /// Records a second, of all agents together. Default: as fast as they are acknowledged.
    #[arg(long, value_name = "R")]
    rate: Option<u64>,
    /// Go on with heartbeats, and take bundles, until SIGTERM.
    #[arg(long)]
    stay: bool,
    /// Begin the records when this file exists, not before.
    #[arg(long, value_name = "FILE")]
    begin_with: Option<PathBuf>,
    /// Also write what is printed to this file.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Where the agents keep identities and bundles. Default: a temporary folder.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// Printed as JSON when every record is acknowledged.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    version: u32,
    agents: usize,
    records: u64,
    /// Of the records, before compression.
    encoded_bytes: u64,
    /// From the first record that was allowed to the last acknowledgement.
    milliseconds: u64,
    records_per_second: u64,
    resyncs_asked: u64,
}

struct Fleet {
    agents: Vec<(Agent, Arc<Simulated>)>,
    tally: watch::Receiver<Tally>,
}

impl Arguments {
    /// True when every record was acknowledged.
    pub async fn run(&self) -> anyhow::Result<bool> {
        let log = telemetry::Settings { filter: "warn".to_owned(), ..Default::default() };
        let _telemetry = telemetry::init("provost-agent", &log)?;
        let tokens = tokens(&self.token_file, self.agents)?;
        let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
        let folder = self.data_dir.as_deref().unwrap_or(temporary.path());
        let shutdown = Shutdown::new();
        shutdown.on_signals()?;
        let tasks = Tasks::new(shutdown.clone());
        let clock = System::shared();
        let done = match self.start(folder, &tokens, &clock, &tasks).await {
            Ok(fleet) => shutdown.or(self.drive(&fleet, &clock)).await.transpose(),
            Err(error) => Err(error),
        };
        if self.stay && matches!(done, Ok(Some(()))) {
            shutdown.wait().await;
        }
        shutdown.trigger();
        let ended = tasks.join(GRACE).await;
        let done = done?;
        ended?;
        Ok(done.is_some())
    }

    async fn start(
        &self,
        folder: &Path,
        tokens: &[String],
        clock: &SharedClock,
        tasks: &Tasks,
    ) -> anyhow::Result<Fleet> {
        let (sender, tally) = watch::channel(Tally::default());
        let (sender, shared) = (Arc::new(sender), Shared::default());
        let mut agents = Vec::with_capacity(tokens.len());
        for (number, token) in tokens.iter().enumerate() {
            let name = format!("simulated-{number}");
            let data_dir = folder.join(&name);
            let config = Config::check(self.settings(name, data_dir, token))?;
            let chain = Simulated::new(self.objects, Arc::clone(clock), Arc::clone(&sender));
            let plane = DataPlane { chain: chain.clone(), journal: chain.clone() };
            let listener = admin::bind(config.admin_listen).await?;
            let (clock, shared) = (Arc::clone(clock), shared.clone());
            let agent =
                Agent::start_on(plane, Some(shared), config, clock, listener, tasks).await?;
            agents.push((agent, chain));
        }
        Ok(Fleet { agents, tally })
    }

    fn settings(&self, name: String, data_dir: PathBuf, token: &str) -> Settings {
        let manifests =
            Manifests { dir: data_dir.clone(), namespace: String::new(), rescan_ms: 60_000 };
        let mut settings = Settings {
            data_dir,
            name,
            hubs: self.hubs.clone(),
            token: token.to_owned(),
            // Named because settings have to; nothing reads it.
            source: Some(Source::Manifests(manifests)),
            ..Settings::default()
        };
        settings.admin.listen.set_port(0);
        settings.reconnect.first_ms = 500;
        settings.reconnect.cap_ms = 5_000;
        settings
    }

    /// Until the hub has acknowledged all that was asked for.
    async fn drive(&self, fleet: &Fleet, clock: &SharedClock) -> anyhow::Result<()> {
        for (agent, _) in &fleet.agents {
            let mut view = agent.board.bundles.clone();
            view.wait_for(|view| view.active.is_some()).await.context("an agent ended")?;
        }
        if let Some(file) = &self.begin_with {
            while !file.exists() {
                tokio::time::sleep(LOOK).await;
            }
        }
        let total = self.records * fleet.agents.len() as u64;
        let begun = clock.monotonic();
        let mut tally = fleet.tally.clone();
        let all = async { tally.wait_for(|tally| tally.acked >= total).await.map(|last| *last) };
        let (tally, ()) = tokio::join!(all, self.allow(&fleet.agents));
        let tally = tally.context("the agents ended")?;
        let took = clock.monotonic().saturating_sub(begun);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let summary = Summary {
            version: 1,
            agents: fleet.agents.len(),
            records: total,
            encoded_bytes: tally.bytes,
            milliseconds,
            records_per_second: total * 1000 / milliseconds,
            resyncs_asked: tally.resyncs,
        };
        let text = serde_json::to_string_pretty(&summary)?;
        if let Some(path) = &self.summary {
            disk::replace(path, text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        println!("{text}");
        Ok(())
    }
}

impl Arguments {
    /// Returns when every record may be made.
    async fn allow(&self, agents: &[(Agent, Arc<Simulated>)]) {
        let Some(rate) = self.rate else {
            agents.iter().for_each(|(_, chain)| chain.allow(self.records));
            return;
        };
        let total = self.records * agents.len() as u64;
        let portion = (rate / portions_a_second()).max(1);
        let mut tick = tokio::time::interval(PORTION);
        let mut next = agents.iter().cycle();
        for first in (0..total).step_by(usize::try_from(portion).unwrap_or(usize::MAX)) {
            tick.tick().await;
            for _ in first..total.min(first + portion) {
                let Some((_, chain)) = next.next() else { return };
                chain.allow(1);
            }
        }
    }
}

fn portions_a_second() -> u64 {
    u64::try_from(Duration::from_secs(1).as_millis() / PORTION.as_millis()).unwrap_or(1)
}

fn tokens(file: &Path, agents: usize) -> anyhow::Result<Vec<String>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<String> = lines.take(agents).map(str::to_owned).collect();
    if agents == 0 || tokens.len() < agents {
        bail!(
            "{} holds {} tokens and {agents} agents are asked for: one a line for each agent",
            file.display(),
            tokens.len()
        );
    }
    Ok(tokens)
}
