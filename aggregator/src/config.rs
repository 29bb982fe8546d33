//! Settings of the hub: `provost-aggregator run --config FILE`, then `PROVOST_AGGREGATOR_*`, then flags.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use provost_runtime::config::{self, Error, Overrides};
use provost_runtime::spiffe::TrustDomain;
use provost_runtime::telemetry;
use serde::Deserialize;

/// Variables `PROVOST_AGGREGATOR_*`.
pub const ENVIRONMENT: &str = "PROVOST_AGGREGATOR";
/// What agents keep to, whatever a hub says: shorter, heartbeats are load and no sign of life.
const MIN_HEARTBEAT_MS: u64 = 200;
const MAX_HEARTBEAT_MS: u64 = 300_000;

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Database, keys, tokens. Made if it is missing, with mode 0700.
    pub data_dir: PathBuf,
    /// Set at first start and never changed after it.
    pub trust_domain: String,
    pub agents: AgentListener,
    pub api: ApiListener,
    pub admin: AdminListener,
    /// Approve every cluster that enrols with a good token. For demonstrations.
    pub auto_approve: bool,
    pub heartbeat_interval_ms: u64,
    pub log: telemetry::Settings,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentListener {
    /// Port 0: a free one; `addresses.json` in the data folder says which.
    pub listen: SocketAddr,
    /// Where agents reach the hub, as `https://host:port`; they stand in enrolment tokens. None: the bound address.
    pub urls: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiListener {
    pub listen: SocketAddr,
    /// Certificate chain and key in PEM. Without them only loopback is allowed.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminListener {
    /// Health, readiness, metrics; loopback only.
    pub listen: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/provost-aggregator"),
            trust_domain: "provost.local".to_owned(),
            agents: AgentListener::default(),
            api: ApiListener::default(),
            admin: AdminListener::default(),
            auto_approve: false,
            heartbeat_interval_ms: 30_000,
            log: telemetry::Settings::default(),
        }
    }
}

impl Default for AgentListener {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)), urls: Vec::new() }
    }
}

impl Default for ApiListener {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls_certificate: None,
            tls_key: None,
        }
    }
}

impl Default for AdminListener {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)) }
    }
}

impl Config {
    /// Reads the file, lays the overrides over it, and checks the rules.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, Error> {
        let settings: Self = config::load(file, overrides)?;
        settings.check().map_err(|error| error.located(file, overrides))?;
        Ok(settings)
    }

    /// Rules between settings.
    pub fn check(&self) -> Result<(), Error> {
        if let Err(error) = self.trust_domain.parse::<TrustDomain>() {
            return Err(config::rule("trust_domain", error.to_string()));
        }
        if !(MIN_HEARTBEAT_MS..=MAX_HEARTBEAT_MS).contains(&self.heartbeat_interval_ms) {
            let message = format!("must be {MIN_HEARTBEAT_MS} to {MAX_HEARTBEAT_MS}");
            return Err(config::rule("heartbeat_interval_ms", message));
        }
        if self.api.tls_certificate.is_some() != self.api.tls_key.is_some() {
            return Err(config::rule("api.tls_certificate", "goes together with api.tls_key"));
        }
        if self.api.tls_key.is_none() && !self.api.listen.ip().is_loopback() {
            let message = format!(
                "{} can be reached from other machines: give api.tls_certificate and api.tls_key, or a loopback address",
                self.api.listen
            );
            return Err(config::rule("api.listen", message));
        }
        if !self.admin.listen.ip().is_loopback() {
            let message =
                format!("{} is not on loopback, the only place for it", self.admin.listen);
            return Err(config::rule("admin.listen", message));
        }
        if self.agents.urls.iter().any(|url| url.parse::<provost_runtime::tls::HubUrl>().is_err()) {
            return Err(config::rule("agents.urls", "each must be https://host:port"));
        }
        Ok(())
    }

    #[must_use]
    pub const fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn settings_are_read_and_checked() {
        let path = std::path::Path::new("hub.yaml");
        let text =
            "data_dir: /tmp/hub\nagents: {listen: \"127.0.0.1:0\"}\nheartbeat_interval_ms: 1000\n";
        let read: Config = config::parse(path, text, &Overrides::default()).unwrap();
        read.check().unwrap();
        assert_eq!(read.heartbeat_interval(), Duration::from_secs(1));
        assert!(config::parse::<Config>(path, "data_dri: /tmp\n", &Overrides::default()).is_err());
        let error = Config { heartbeat_interval_ms: 1, ..read.clone() }.check().unwrap_err();
        assert!(error.to_string().starts_with("heartbeat_interval_ms"), "{error}");
        let url = AgentListener { urls: vec!["http://hub".to_owned()], ..AgentListener::default() };
        assert!(Config { agents: url, ..read.clone() }.check().is_err());
        let half = ApiListener { tls_key: Some("k".into()), ..ApiListener::default() };
        assert!(Config { api: half, ..read }.check().is_err());
    }

    /// What may stand under a key, from the error about what may not.
    fn known(key: &str) -> Vec<String> {
        let text = if key.is_empty() {
            "nonsense: 1".to_owned()
        } else {
            format!("{key}: {{nonsense: 1}}")
        };
        let path = Path::new("hub.yaml");
        let error = config::parse::<Config>(path, &text, &Overrides::default()).unwrap_err();
        let error = error.to_string();
        let known = error.split_once("expected ").and_then(|(_, rest)| rest.split_once(" at line"));
        let (known, _) = known.unwrap_or_else(|| panic!("{key}: {error}"));
        known.trim_start_matches("one of ").split(", ").map(str::to_owned).collect()
    }

    /// Guarantee: docs/operations.md has a row for every setting, and none for what is no setting.
    #[test]
    fn every_setting_has_its_row() {
        let page = include_str!("../../docs/operations.md");
        let mut documented = BTreeSet::new();
        for heading in ["\n## A hub\n", "\n## Telemetry\n"] {
            let (_, section) = page.split_once(heading).unwrap();
            let (_, table) = section.split_once("| setting |").unwrap();
            let (table, _) = table.split_once("\n\n").unwrap();
            let cells = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
            documented.extend(cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)));
        }
        let groups = ["agents", "api", "admin", "log"];
        let mut real: BTreeSet<String> = known("").into_iter().collect();
        real.retain(|key| !groups.contains(&key.as_str()));
        for group in groups {
            real.extend(known(group).iter().map(|key| format!("{group}.{key}")));
        }
        assert_eq!(documented, real.iter().map(String::as_str).collect());
    }

    #[test]
    fn listening_beyond_loopback_is_refused_before_anything_is_made() {
        let wide: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let plain = ApiListener { listen: wide, ..ApiListener::default() };
        let error = Config { api: plain.clone(), ..Config::default() }.check().unwrap_err();
        assert!(error.to_string().starts_with("api.listen"), "{error}");
        let (certificate, key) = (Some("c".into()), Some("k".into()));
        let with_tls = ApiListener { tls_certificate: certificate, tls_key: key, ..plain };
        Config { api: with_tls, ..Config::default() }.check().unwrap();
        let admin = AdminListener { listen: wide };
        let error = Config { admin, ..Config::default() }.check().unwrap_err();
        assert!(error.to_string().starts_with("admin.listen"), "{error}");
    }
}
