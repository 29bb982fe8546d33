//! The hub that is measured, with keys, a root and bundles of the policy library.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use provost_runtime::shutdown::Shutdown;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::commands::demo::fleet::Fleet;
use crate::commands::demo::keeper::Orders;

pub const HUB: &str = "hub";
/// What one step may take: a hundred agents enrol on two cores.
pub const STEP: Duration = Duration::from_secs(600);
/// Between two looks at the hub, which costs it something.
pub const LOOK: Duration = Duration::from_millis(250);
/// Every agent is offered a new bundle by it; only its bindings differ.
const SECOND: &str = "id: company-registry\npolicy: allowed-registries\nparameters:\n  allowed: [registry.example.com]\n";

pub struct Setting {
    pub fleet: Fleet,
}

impl Setting {
    pub fn prepare(folder: &Path, orders: Orders, stop: Shutdown) -> anyhow::Result<Self> {
        Ok(Self { fleet: Fleet::prepare(folder, orders, None, stop)? })
    }

    /// A hub with a root, and the policy library published as version 1.
    pub fn start_hub(&mut self, heartbeat_ms: u64) -> anyhow::Result<()> {
        self.fleet.start_hub(heartbeat_ms)?;
        let run = |arguments: &[&str]| self.fleet.provost_quietly(arguments);
        run(&["keys", "generate", "--out", "root.key.json", "--name", "root"])?;
        run(&["keys", "generate", "--out", "policy.key.json", "--name", "policy"])?;
        run(&["root", "init", "--key", "root.pub.json", "--policy-key", "policy.pub.json"])?;
        let facts: Value = self.fleet.hub()?.get("/api/v1/hub")?;
        let director = facts["directorKey"].as_str().context("the hub names its director key")?;
        run(&["root", "add-key", "--role", "director", "--public", director])?;
        run(&["root", "sign", "--key", "root.key.json"])?;
        self.build("v1", "1")?;
        self.publish("v1")
    }

    /// Version 2, signed and not published yet.
    pub fn build_second(&self) -> anyhow::Result<()> {
        let bindings = self.fleet.path("policies").join("bindings");
        fs::create_dir_all(&bindings)?;
        fs::write(bindings.join("second.yaml"), SECOND)?;
        self.build("v2", "2")
    }

    pub fn publish(&self, name: &str) -> anyhow::Result<()> {
        self.fleet.provost_quietly(&["bundle", "publish", name, "--root", "root.json"])?;
        Ok(())
    }

    pub fn token(&self, name: &str, hub: &str) -> anyhow::Result<String> {
        let token = self.fleet.provost_quietly(&[
            "fleet",
            "token",
            "create",
            "--root",
            "root.json",
            "--name",
            name,
            "--hub",
            hub,
        ])?;
        Ok(token.trim().to_owned())
    }

    /// So many clusters have the version in force, as far as the hub knows.
    pub fn wait_for_version(&mut self, version: u64, clusters: usize) -> anyhow::Result<()> {
        self.wait(&format!("version {version} is active on {clusters}"), |fleet| {
            let all = fleet.hub()?.all("/api/v1/clusters")?;
            let active = all.iter().filter(|cluster| cluster["bundleVersion"] == version);
            Ok(active.count() == clusters)
        })
    }

    pub fn wait(
        &mut self,
        what: &str,
        holds: impl FnMut(&Fleet) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.fleet.wait_within(STEP, LOOK, what, holds)
    }

    /// Database and its log, as they lie on disk.
    pub fn database_bytes(&self) -> u64 {
        let size = |name| fs::metadata(self.fleet.path(HUB).join(name)).map_or(0, |m| m.len());
        size("hub.db") + size("hub.db-wal")
    }

    fn build(&self, name: &str, version: &str) -> anyhow::Result<()> {
        let run = |arguments: &[&str]| self.fleet.provost_quietly(arguments);
        run(&["bundle", "build", "policies", "--out", name, "--version", version])?;
        run(&["bundle", "sign", name, "--key", "policy.key.json"])?;
        Ok(())
    }
}

/// A time of the hub's API.
pub fn time_of(value: &Value) -> anyhow::Result<OffsetDateTime> {
    let text = value.as_str().context("a time of the hub")?;
    Ok(OffsetDateTime::parse(text, &Rfc3339)?)
}

/// In milliseconds, and zero where the difference is negative.
pub fn milliseconds_between(from: OffsetDateTime, to: OffsetDateTime) -> u64 {
    u64::try_from((to - from).whole_milliseconds()).unwrap_or(0)
}
