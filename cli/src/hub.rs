//! The hub's REST API, as commands use it: one place for addresses, tokens and errors.
//!
//! Invariants: every failure says what to do; a token is sent to the address it was given for and
//! nowhere else (no redirects are followed); a loopback hub is never asked through a proxy.

mod settings;

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

pub use settings::{Asked, HubArgs};

/// Publication compiles and tests a whole library on the hub.
const TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A hub and who we are to it.
pub struct Hub {
    base: Url,
    token: Option<Zeroizing<String>>,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the hub at {url} cannot be reached: check --server (or PROVOST_SERVER), and that it runs"
    )]
    Unreachable { url: String, source: reqwest::Error },
    #[error(
        "there is no token for {url}: give --token-file FILE, set PROVOST_TOKEN, or write token_file into the configuration"
    )]
    NoToken { url: String },
    #[error(
        "the hub at {url} does not know the token, or it has expired: have an admin make one with 'provost fleet api-token create'"
    )]
    Unauthenticated { url: String },
    #[error("{0}")]
    Refused(Problem),
    #[error("{url} answered {status}, and not as a hub does: is it the address of the API?")]
    NotAHub { url: String, status: StatusCode },
}

/// An answer of type `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    pub code: String,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub detail: String,
    #[serde(default)]
    pub help: String,
    #[serde(default)]
    pub errors: Vec<ProblemEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProblemEntry {
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    #[serde(default)]
    next: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)?;
        for error in &self.errors {
            write!(f, "\n  {} {}: {}", error.path, error.code, error.message)?;
        }
        if !self.help.is_empty() {
            write!(f, "\n{}", self.help)?;
        }
        Ok(())
    }
}

impl Error {
    /// The hub refused the request as such; sent again, it would be refused again.
    #[must_use]
    pub fn is_wrong_call(&self) -> bool {
        let Self::Refused(problem) = self else { return false };
        ["INVALID", "NOT_FOUND"].contains(&problem.code.as_str())
    }
}

impl Hub {
    /// Reads settings and token; nothing is sent yet.
    pub fn open(args: &HubArgs) -> anyhow::Result<Self> {
        let settings = args.settle()?;
        provost_runtime::tls::install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("provost/", env!("CARGO_PKG_VERSION")));
        if settings.is_loopback() {
            builder = builder.no_proxy();
        }
        if let Some(pem) = &settings.ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem)
                .context("the CA file holds no certificate in PEM")?;
            builder = builder.tls_certs_only(certificates);
        }
        Ok(Self {
            client: builder.build().context("cannot set up HTTP")?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            base: settings.server,
            token: settings.token,
        })
    }

    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.ask(Method::GET, path, None::<&()>)
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.ask(Method::POST, path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Result<Value, Error> {
        self.ask(Method::DELETE, path, None::<&()>)
    }

    /// Rows of every page, up to `limit`, each handed to `row` as it comes.
    pub fn pages(
        &self,
        path: &str,
        limit: Option<usize>,
        mut row: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut cursor: Option<String> = None;
        let mut left = limit.unwrap_or(usize::MAX);
        while left > 0 {
            let size = left.min(MAX_PAGE);
            let mut address = format!("{path}{joint}limit={size}");
            if let Some(cursor) = &cursor {
                address.push_str("&cursor=");
                address.push_str(cursor);
            }
            let page: Page = self.get(&address)?;
            for item in page.items {
                row(item)?;
                left -= 1;
            }
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        Ok(())
    }

    /// Every row of a list.
    pub fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        self.pages(path, None, |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// `/healthz`, which needs no token; with how long it took and the hub's `Date`.
    pub fn health(&self) -> Result<Option<String>, Error> {
        let url = self.url("/healthz");
        self.runtime.block_on(async {
            let sent = self.client.get(url.clone()).send().await;
            let response = sent.map_err(|source| self.unreachable(source))?;
            if !response.status().is_success() {
                return Err(Error::NotAHub { url: url.to_string(), status: response.status() });
            }
            let date = response.headers().get(reqwest::header::DATE);
            Ok(date.and_then(|date| date.to_str().ok()).map(str::to_owned))
        })
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, Error> {
        let token = self.token.as_ref().ok_or_else(|| Error::NoToken { url: self.shown() })?;
        let mut request = self.client.request(method, self.url(path)).bearer_auth(token.as_str());
        if let Some(body) = body {
            request = request.json(body);
        }
        self.runtime.block_on(async {
            let response = request.send().await.map_err(|source| self.unreachable(source))?;
            let status = response.status();
            let bytes = response.bytes().await.map_err(|source| self.unreachable(source))?;
            self.read(status, &bytes)
        })
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, bytes: &[u8]) -> Result<T, Error> {
        let not_a_hub = || Error::NotAHub { url: self.shown(), status };
        if status.is_success() {
            let bytes = if bytes.is_empty() { b"null" } else { bytes };
            return serde_json::from_slice(bytes).map_err(|_| not_a_hub());
        }
        match serde_json::from_slice::<Problem>(bytes) {
            Ok(problem) if problem.code == "UNAUTHENTICATED" => {
                Err(Error::Unauthenticated { url: self.shown() })
            }
            Ok(problem) => Err(Error::Refused(problem)),
            Err(_) => Err(not_a_hub()),
        }
    }

    fn url(&self, path: &str) -> Url {
        // A path of ours joined to a checked base always parses.
        self.base.join(path).unwrap_or_else(|_| self.base.clone())
    }

    fn shown(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { url: self.shown(), source: source.without_url() }
    }
}

/// Most rows that the API gives at once.
const MAX_PAGE: usize = 500;

/// Percent-encodes all but unreserved characters.
#[must_use]
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Text that a cluster or hub sent, without anything that a terminal obeys.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                '\u{fffd}'
            }
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded_and_hostile_text_is_disarmed() {
        assert_eq!(encode("a b&c=é"), "a%20b%26c%3D%C3%A9");
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{9b}\u{202e}"), "a\u{fffd}[2Jb c\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_problem_says_what_to_do() {
        let text = r#"{"type":"x","title":"Refused","status":422,"code":"SELF_TEST_FAILED","detail":"1 test fails","help":"fix it","errors":[{"path":"a.rego","code":"COMPILE_FAILED","message":"no"}]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        let shown = problem.to_string();
        assert_eq!(shown, "SELF_TEST_FAILED: 1 test fails\n  a.rego COMPILE_FAILED: no\nfix it");
    }
}
