//! Settings under `log`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use zeroize::Zeroizing;

use super::Error;

/// A file of headers or CA certificates is smaller than this.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings under `log`: logs, and the export of logs, metrics and traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub format: Format,
    /// `info`, or per target: `info,provost_agent::uplink=debug`. Empty: `info`.
    pub filter: String,
    /// OTLP/gRPC endpoint, such as `http://127.0.0.1:4317`. Empty: nothing is exported.
    pub otlp_endpoint: String,
    /// `name=value,name=value`, sent with every export.
    pub otlp_headers: Headers,
    /// The same from a file, one to a line.
    pub otlp_headers_file: Option<PathBuf>,
    /// PEM: the receiver's CA. Unset: those of the system.
    pub otlp_ca_file: Option<PathBuf>,
    /// For one export.
    pub otlp_timeout_ms: u64,
    /// Metrics are exported this often.
    pub otlp_interval_ms: u64,
    /// Share of changes that are traced, 0 to 1, where nobody upstream decided.
    pub otlp_trace_ratio: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Human,
    Json,
}

/// They may hold credentials, so nothing prints them.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Headers(Zeroizing<String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "set" })
    }
}

impl From<&str> for Headers {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            format: Format::default(),
            filter: String::new(),
            otlp_endpoint: String::new(),
            otlp_headers: Headers::default(),
            otlp_headers_file: None,
            otlp_ca_file: None,
            otlp_timeout_ms: 10_000,
            otlp_interval_ms: 60_000,
            otlp_trace_ratio: 0.01,
        }
    }
}

/// Where and how to export; checked.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub endpoint: Endpoint,
    pub headers: MetadataMap,
    pub timeout: Duration,
    pub interval: Duration,
    pub ratio: f64,
}

impl Target {
    /// None: nothing is to be exported.
    pub(super) fn of(settings: &Settings) -> Result<Option<Self>, Error> {
        let Settings {
            format: _,
            filter: _,
            otlp_endpoint,
            otlp_headers,
            otlp_headers_file,
            otlp_ca_file,
            otlp_timeout_ms,
            otlp_interval_ms,
            otlp_trace_ratio: ratio,
        } = settings;
        if !(0.0..=1.0).contains(ratio) {
            return Err(wrong("otlp_trace_ratio", "from 0 to 1"));
        }
        if !(10..=300_000).contains(otlp_timeout_ms) {
            return Err(wrong("otlp_timeout_ms", "from 10 to 300000"));
        }
        if !(100..=3_600_000).contains(otlp_interval_ms) {
            return Err(wrong("otlp_interval_ms", "from 100 to 3600000"));
        }
        let mut text = Zeroizing::new(otlp_headers.0.replace(',', "\n"));
        if let Some(path) = otlp_headers_file {
            text.push('\n');
            text.push_str(&read("otlp_headers_file", path)?);
        }
        let headers = headers(&text)?;
        if otlp_endpoint.is_empty() {
            return Ok(None);
        }
        let timeout = Duration::from_millis(*otlp_timeout_ms);
        let endpoint = Endpoint::from_shared(otlp_endpoint.clone())
            .map_err(|_| wrong("otlp_endpoint", "write http://host:port or https://host:port"))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            .user_agent(concat!("provost/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| wrong("otlp_endpoint", "no such user agent"))?;
        let ca = otlp_ca_file.as_ref().map(|path| read("otlp_ca_file", path)).transpose()?;
        let endpoint = match endpoint.uri().scheme_str() {
            Some("https") => {
                let tls = match ca {
                    Some(pem) => ClientTlsConfig::new().ca_certificate(ca_of(&pem)?),
                    None => ClientTlsConfig::new().with_native_roots(),
                };
                let unusable = |error: tonic::transport::Error| Error::Tls(error.into());
                endpoint.tls_config(tls).map_err(unusable)?
            }
            Some("http") if ca.is_none() => endpoint,
            Some("http") => return Err(wrong("otlp_ca_file", "goes with an https endpoint")),
            _ => return Err(wrong("otlp_endpoint", "write http://host:port or https://host:port")),
        };
        let interval = Duration::from_millis(*otlp_interval_ms);
        Ok(Some(Self { endpoint, headers, timeout, interval, ratio: *ratio }))
    }
}

fn ca_of(pem: &str) -> Result<Certificate, Error> {
    let found = crate::pki::certificates_from_pem(pem);
    if found.is_ok_and(|certificates| !certificates.is_empty()) {
        Ok(Certificate::from_pem(pem))
    } else {
        Err(wrong("otlp_ca_file", "holds no PEM certificate"))
    }
}

fn headers(text: &str) -> Result<MetadataMap, Error> {
    let mut map = MetadataMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let malformed = || wrong("otlp_headers", "each is name=value");
        let (name, value) = line.split_once('=').ok_or_else(malformed)?;
        let name = name.trim().to_ascii_lowercase();
        let name: MetadataKey<Ascii> = name.parse().map_err(|_| malformed())?;
        let mut value: MetadataValue<Ascii> = value.trim().parse().map_err(|_| malformed())?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}

fn read(key: &'static str, path: &std::path::Path) -> Result<Zeroizing<String>, Error> {
    let at = |source| Error::Read { key, path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(at)?.len() > MAX_FILE_BYTES {
        return Err(wrong(key, "larger than 1 MiB"));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(at)
}

fn wrong(key: &'static str, what: &'static str) -> Error {
    Error::Setting { key, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(change: impl FnOnce(&mut Settings)) -> Result<Option<Target>, String> {
        let mut settings =
            Settings { otlp_endpoint: "http://127.0.0.1:4317".to_owned(), ..Settings::default() };
        change(&mut settings);
        Target::of(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_checked_before_anything_is_sent() {
        assert!(target(|_| {}).unwrap().is_some());
        assert!(target(|s| s.otlp_endpoint.clear()).unwrap().is_none());
        for (key, wrong) in [
            ("otlp_endpoint", target(|s| s.otlp_endpoint = "localhost".to_owned())),
            ("otlp_trace_ratio", target(|s| s.otlp_trace_ratio = 1.5)),
            ("otlp_trace_ratio", target(|s| s.otlp_trace_ratio = f64::NAN)),
            ("otlp_timeout_ms", target(|s| s.otlp_timeout_ms = 0)),
            ("otlp_interval_ms", target(|s| s.otlp_interval_ms = 1)),
            ("otlp_headers", target(|s| s.otlp_headers = "no value".into())),
            ("otlp_ca_file", target(|s| s.otlp_ca_file = Some("/nowhere/ca.pem".into()))),
        ] {
            let error = wrong.unwrap_err();
            assert!(error.starts_with(&format!("log.{key}: ")), "{error}");
        }
    }

    #[test]
    fn headers_come_from_text_and_file_and_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        std::fs::write(&path, "authorization=Bearer s3cret==\n").unwrap();
        let target = target(|s| {
            s.otlp_headers = "X-Tenant=shop, x-other=1".into();
            s.otlp_headers_file = Some(path);
        });
        let headers = target.unwrap().unwrap().headers;
        assert_eq!(headers.get("authorization").unwrap(), "Bearer s3cret==");
        assert_eq!(headers.get("x-tenant").unwrap(), "shop");
        assert_eq!(headers.get("x-other").unwrap(), "1");
        assert!(!format!("{headers:?}").contains("s3cret"));
        let settings = Settings { otlp_headers: "a=s3cret".into(), ..Settings::default() };
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
