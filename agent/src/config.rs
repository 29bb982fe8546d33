//! Settings of the agent, as `docs/operations.md` lists them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use provost_model::Digest;
use provost_proto::token::Token;
use provost_runtime::config::{self, Error, Overrides, rule};
use provost_runtime::tls::{BadProxy, HubUrl, Proxy};
use provost_runtime::{pki, telemetry};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Variables of the agent start with it.
pub const ENVIRONMENT_PREFIX: &str = "PROVOST_AGENT";
/// A token file holds one line.
const MAX_TOKEN_FILE_BYTES: u64 = 16 * 1024;
/// More than any list of CAs needs.
const MAX_CA_FILE_BYTES: u64 = 1024 * 1024;

/// As written: every field may stand in the file, the environment or a flag.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub data_dir: PathBuf,
    /// What people call this cluster; a label, not an identity. Empty: the host's name.
    pub name: String,
    /// `https://host:port`; empty: those of the token.
    pub hubs: Vec<String>,
    /// Enrolment token; needed once. Better in a file.
    pub token: String,
    pub token_file: Option<PathBuf>,
    pub source: Option<Source>,
    pub admin: Admin,
    /// Unset: the agent answers no admission reviews.
    pub admission: Option<Admission>,
    /// `http://[user:password@]host:port`, or `https://` for TLS to the proxy; empty: none.
    pub proxy: String,
    /// PEM: who signs the certificate of a proxy reached by TLS. Unset: the CAs of the system.
    pub proxy_ca_file: Option<PathBuf>,
    pub spool: Spool,
    pub reconnect: Reconnect,
    pub log: telemetry::Settings,
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A directory of manifests.
    Manifests(Manifests),
    /// The API server.
    Cluster(Cluster),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifests {
    pub dir: PathBuf,
    /// Fills the namespace of namespaced kinds that name none.
    #[serde(default)]
    pub namespace: String,
    /// The directory is read anew this often, besides being watched.
    #[serde(default = "default_rescan_ms")]
    pub rescan_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Unset: the service account of the pod, else the usual places.
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Loopback only. Port 0 takes a free one; the address is written to `admin.addr` in the data folder.
    pub listen: SocketAddr,
}

/// The port on which the API server asks. It may listen anywhere: TLS is always on, what it answers
/// is no secret of the cluster to the API server, and what anybody else may cost is bounded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// Port 0 takes a free one; the address is written to `admission.addr` in the data folder.
    pub listen: SocketAddr,
    /// Names in the certificate, as the API server calls the agent.
    pub names: Vec<String>,
    /// PEM: only clients with a certificate that one of these CAs signed are heard. Unset: anybody.
    pub client_ca_file: Option<PathBuf>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9443)),
            names: vec!["provost-agent.provost-system.svc".to_owned()],
            client_ca_file: None,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    pub max_bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconnect {
    /// Window of the first delay.
    pub first_ms: u64,
    pub cap_ms: u64,
}

const fn default_rescan_ms() -> u64 {
    10_000
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/provost-agent"),
            name: String::new(),
            hubs: Vec::new(),
            token: String::new(),
            token_file: None,
            source: None,
            admin: Admin::default(),
            admission: None,
            proxy: String::new(),
            proxy_ca_file: None,
            spool: Spool::default(),
            reconnect: Reconnect::default(),
            log: telemetry::Settings::default(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9470)) }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self { max_bytes: 256 * 1024 * 1024 }
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { first_ms: 2_000, cap_ms: 300_000 }
    }
}

/// Checked: what the agent runs with.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub name: String,
    /// Empty: those of the token, or of the enrolment on disk.
    pub hubs: Vec<HubUrl>,
    pub token: Option<Token>,
    /// The token file that is named in the settings and is not there.
    pub token_missing: Option<PathBuf>,
    pub source: Source,
    pub admin_listen: SocketAddr,
    pub admission: Option<Admission>,
    pub proxy: Option<Proxy>,
    pub spool_max_bytes: u64,
    pub reconnect_first: Duration,
    pub reconnect_cap: Duration,
    pub log: telemetry::Settings,
    /// Names these settings in Hello, so that the hub sees when they change.
    pub digest: Digest,
}

impl Config {
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, Error> {
        Self::check(config::load(file, overrides)?).map_err(|error| error.located(file, overrides))
    }

    pub fn check(settings: Settings) -> Result<Self, Error> {
        let digest = digest(&settings);
        let Settings {
            data_dir,
            name,
            hubs,
            token,
            token_file,
            source,
            admin,
            admission,
            proxy,
            proxy_ca_file,
            spool,
            reconnect,
            log,
        } = settings;
        let source = source.ok_or_else(|| {
            rule("source", "say what to watch: manifests with its dir, or cluster")
        })?;
        check_source(&source)?;
        let hubs = hubs.iter().map(|hub| hub.parse::<HubUrl>());
        let hubs = hubs.collect::<Result<_, _>>().map_err(|e| rule("hubs", e.to_string()))?;
        let proxy = read_proxy(&proxy, proxy_ca_file.as_deref())?;
        if !admin.listen.ip().is_loopback() {
            return Err(rule("admin.listen", "the admin port listens on loopback only"));
        }
        if spool.max_bytes < 32 * 1024 * 1024 {
            return Err(rule("spool.max_bytes", "at least 33554432 (32 MiB)"));
        }
        if name.len() > 253 {
            return Err(rule("name", "at most 253 bytes"));
        }
        let token = read_token(&token, token_file.as_deref())?;
        let (first_ms, cap_ms) = (reconnect.first_ms.max(1), reconnect.cap_ms.max(1));
        Ok(Self {
            data_dir,
            name: if name.is_empty() { host_name() } else { name },
            hubs,
            token_missing: token_file.filter(|_| token.is_none()),
            token,
            source,
            admin_listen: admin.listen,
            admission,
            proxy,
            spool_max_bytes: spool.max_bytes,
            reconnect_first: Duration::from_millis(first_ms),
            reconnect_cap: Duration::from_millis(cap_ms),
            log,
            digest,
        })
    }
}

fn read_proxy(text: &str, ca_file: Option<&Path>) -> Result<Option<Proxy>, Error> {
    let proxy: Option<Proxy> = match text {
        "" => None,
        text => Some(text.parse().map_err(|e: BadProxy| rule("proxy", e.to_string()))?),
    };
    let Some(path) = ca_file else { return Ok(proxy) };
    let unusable = |what: String| rule("proxy_ca_file", what);
    let Some(proxy) = proxy.filter(Proxy::is_tls) else {
        return Err(unusable("it is for a proxy that is reached by https://".to_owned()));
    };
    Ok(Some(proxy.with_roots(certificates(path).map_err(unusable)?)))
}

/// Of a PEM file that a setting names, or what is wrong with it.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unusable = |what: String| format!("cannot use {}: {what}", path.display());
    let read = crate::disk::read_optional(path, MAX_CA_FILE_BYTES);
    let pem = read.map_err(|error| unusable(error.to_string()))?;
    let pem = pem.ok_or_else(|| unusable("there is no such file".to_owned()))?;
    pki::certificates_from_pem(&String::from_utf8_lossy(&pem))
        .map_err(|error| unusable(error.to_string()))
}

fn check_source(source: &Source) -> Result<(), Error> {
    match source {
        Source::Manifests(Manifests { dir, rescan_ms, .. }) => {
            if dir.as_os_str().is_empty() {
                return Err(rule("source.manifests.dir", "name the directory"));
            }
            if *rescan_ms < 100 {
                return Err(rule("source.manifests.rescan_ms", "at least 100"));
            }
            Ok(())
        }
        Source::Cluster(_) => Ok(()),
    }
}

/// A token file that is gone is no error: the token is needed once, and the file may be cleaned up.
fn read_token(token: &str, file: Option<&Path>) -> Result<Option<Token>, Error> {
    let text = match (token, file) {
        ("", None) => return Ok(None),
        ("", Some(path)) => {
            let read = crate::disk::read_optional(path, MAX_TOKEN_FILE_BYTES);
            let bytes = read.map_err(|error| rule("token_file", error.to_string()))?;
            let Some(bytes) = bytes else { return Ok(None) };
            Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
        }
        (_, Some(_)) => return Err(rule("token_file", "set it or token, not both")),
        (token, None) => Zeroizing::new(token.to_owned()),
    };
    let key = if token.is_empty() { "token_file" } else { "token" };
    text.parse().map(Some).map_err(|e: provost_proto::token::BadToken| rule(key, e.to_string()))
}

/// Over what changes the agent's behaviour; no secret goes in, so that none can be guessed back.
fn digest(settings: &Settings) -> Digest {
    let Settings {
        name,
        hubs,
        source,
        admin,
        admission,
        spool,
        reconnect,
        // Where it keeps things, how it gets to its hub and what it logs.
        data_dir: _,
        token: _,
        token_file: _,
        proxy: _,
        proxy_ca_file: _,
        log: _,
    } = settings;
    let parts = serde_json::json!({
        "name": name,
        "hubs": hubs,
        "source": source,
        "admin": admin.listen,
        "admission": admission,
        "spool": spool.max_bytes,
        "reconnect": [reconnect.first_ms, reconnect.cap_ms],
    });
    Digest::of(parts.to_string().as_bytes())
}

fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = read.trim();
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(text: &str) -> Result<Config, String> {
        config::parse(Path::new("agent.yaml"), text, &Overrides::default())
            .and_then(Config::check)
            .map_err(|error| error.to_string())
    }

    const GOOD: &str = "source: {manifests: {dir: /srv}}\n";

    #[test]
    fn a_source_is_all_that_is_needed() {
        let config = check(GOOD).unwrap();
        let expected =
            Manifests { dir: "/srv".into(), namespace: String::new(), rescan_ms: 10_000 };
        assert_eq!(config.source, Source::Manifests(expected));
        assert!(!config.name.is_empty() && config.token.is_none());
        assert!(check("source: {cluster: {}}\n").is_ok());
    }

    #[test]
    fn rules_name_their_key() {
        for (more, key) in [
            ("hubs: [http://hub:1]\n", "hubs"),
            ("proxy: socks://x:1\n", "proxy"),
            ("admin: {listen: '0.0.0.0:1'}\n", "admin.listen"),
            ("proxy: 'https://p:1'\nproxy_ca_file: /nowhere\n", "proxy_ca_file"),
            ("proxy: 'http://p:1'\nproxy_ca_file: /nowhere\n", "proxy_ca_file"),
            ("spool: {max_bytes: 1}\n", "spool.max_bytes"),
            ("token: nonsense\n", "token"),
            ("token: x\ntoken_file: /y\n", "token_file"),
        ] {
            let error = check(&format!("{GOOD}{more}")).unwrap_err();
            assert!(error.starts_with(&format!("{key}: ")), "{more} gave {error}");
        }
        assert!(check("").unwrap_err().starts_with("source: "));
        assert!(check("source: {manifests: {dir: ''}}").unwrap_err().contains("dir"));
    }

    #[test]
    fn a_token_file_that_is_gone_is_no_error() {
        let config = check(&format!("{GOOD}token_file: /nowhere/token\n")).unwrap();
        assert!(config.token.is_none());
        assert_eq!(config.token_missing.as_deref(), Some(Path::new("/nowhere/token")));
        assert_eq!(check(GOOD).unwrap().token_missing, None);
    }

    /// What may stand under a key, from the error about what may not.
    fn known(key: &str) -> Vec<String> {
        let inside = |text: String, key: &str| format!("{{{key}: {text}}}");
        let keys = key.split('.').filter(|key| !key.is_empty());
        let error = check(&keys.rev().fold("{nonsense: 1}".to_owned(), inside)).unwrap_err();
        let known = error.split_once("expected ").and_then(|(_, rest)| rest.split_once(" at line"));
        let (known, _) = known.unwrap_or_else(|| panic!("{key}: {error}"));
        known.trim_start_matches("one of ").split(", ").map(str::to_owned).collect()
    }

    /// Guarantee: docs/operations.md has a row for every setting, and none for what is no setting.
    #[test]
    fn every_setting_has_its_row() {
        let page = include_str!("../../docs/operations.md");
        let (_, section) = page.split_once("\n## An agent\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let (_, table) = section.split_once("| setting |").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let cells = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
        let documented: BTreeSet<&str> =
            cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let mut real = BTreeSet::from(["log.*".to_owned()]);
        for group in ["", "source", "source.cluster", "source.manifests", "admin", "admission"]
            .into_iter()
            .chain(["spool", "reconnect"])
        {
            let path = |key: &String| format!("{group}.{key}").trim_start_matches('.').to_owned();
            real.extend(known(group).iter().map(path));
        }
        let groups = ["source", "admin", "admission", "spool", "reconnect", "log"];
        real.retain(|key| !groups.contains(&key.as_str()));
        assert_eq!(documented, real.iter().map(String::as_str).collect());
    }

    #[test]
    fn the_digest_follows_behaviour_and_no_secret() {
        let one = check(GOOD).unwrap().digest;
        assert_ne!(one, check(&format!("{GOOD}name: other\n")).unwrap().digest);
        assert_eq!(
            check(&format!("{GOOD}name: a\n")).unwrap().digest,
            check(&format!("{GOOD}name: a\ntoken_file: /nowhere\n")).unwrap().digest
        );
        let _ = one;
    }
}
