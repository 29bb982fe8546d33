//! Which hub, and with which token: flags, then the environment, then the configuration file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use provost_runtime::config::{self, Overrides};
use reqwest::Url;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Hub;
use crate::exit::{UsageError, unreadable};
use crate::output::{Format, Output};

/// Larger than any token.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Where the hub is, and how to sign in. `~/.config/provost/config.yaml` holds what is not given
/// (`server`, `token_file`, `ca`); a token itself is taken from a file or from PROVOST_TOKEN.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Hub")]
pub struct HubArgs {
    /// Address of the hub's API, such as https://hub.example:8080.
    #[arg(long, env = "PROVOST_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// File with an API token.
    #[arg(long, env = "PROVOST_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// CA certificates (PEM) that the hub's certificate must come from, in place of the system's.
    #[arg(long, env = "PROVOST_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Configuration file.
    #[arg(long, env = "PROVOST_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The head of every command that asks a hub and prints one document.
#[derive(Clone, Debug, clap::Args)]
pub struct Asked {
    // Before the hub's arguments, which put a heading over what follows.
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub server: HubArgs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    server: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
}

/// All decided.
pub struct Settings {
    pub server: Url,
    pub token: Option<Zeroizing<String>>,
    pub ca_pem: Option<Vec<u8>>,
}

impl Asked {
    pub fn open(&self) -> anyhow::Result<Hub> {
        Hub::open(&self.server)
    }

    pub const fn format(&self) -> Format {
        self.output.format
    }
}

impl HubArgs {
    /// This hub and token, whatever the environment says; no configuration file.
    #[must_use]
    pub fn of(server: &str, token_file: &Path) -> Self {
        let (server, token_file) = (Some(server.to_owned()), Some(token_file.to_owned()));
        Self { server, token_file, ca: None, config: None }
    }

    pub fn settle(&self) -> anyhow::Result<Settings> {
        let file = self.read_file()?;
        let server = self.server.clone().or(file.server).ok_or_else(|| {
            UsageError(
                "which hub? Give --server URL, set PROVOST_SERVER, or write server into ~/.config/provost/config.yaml"
                    .to_owned(),
            )
        })?;
        let server = address(&server)?;
        let token_file = self.token_file.clone().or(file.token_file);
        let token = match (&self.token_file, environment("PROVOST_TOKEN")) {
            // A file that was asked for wins over the environment, which wins over the configuration.
            (None, Some(token)) => Some(Zeroizing::new(token)),
            _ => token_file.as_deref().map(read_token).transpose()?,
        };
        let ca = self.ca.clone().or(file.ca);
        let ca_pem = ca
            .map(|path| std::fs::read(&path).map_err(|error| unreadable(&path, error)))
            .transpose()?;
        Ok(Settings { server, token, ca_pem })
    }

    /// The configuration file that would be read, whether or not it exists.
    #[must_use]
    pub fn config_path(&self) -> Option<PathBuf> {
        if self.config.is_some() {
            return self.config.clone();
        }
        let base = environment("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(environment("HOME")?).join(".config")))?;
        Some(base.join("provost").join("config.yaml"))
    }

    /// The token file that would be read.
    pub fn token_path(&self) -> anyhow::Result<Option<PathBuf>> {
        Ok(self.token_file.clone().or(self.read_file()?.token_file))
    }

    fn read_file(&self) -> anyhow::Result<File> {
        match self.config_path() {
            Some(path) if self.config.is_some() || path.exists() => {
                config::load::<File>(Some(&path), &Overrides::default())
                    .map_err(|error| UsageError(error.to_string()).into())
            }
            _ => Ok(File::default()),
        }
    }
}

impl Settings {
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.server)
    }
}

/// Plain HTTP would show the token to everybody on the way: loopback only.
fn address(text: &str) -> Result<Url, UsageError> {
    let url: Url = text
        .parse()
        .map_err(|error| UsageError(format!("--server {text:?} is no address: {error}")))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(UsageError(format!("{text}: a hub on another machine needs https"))),
        _ => Err(UsageError(format!("{text}: write http:// (loopback) or https:// before it"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read_token(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text))
        .map_err(|error| unreadable(path, error))
        .context("the token file")?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(UsageError(format!("{} holds no token", path.display())).into());
    }
    Ok(Zeroizing::new(token.to_owned()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a secret is no flag, because process lists show flags; HOME is the user's, not a setting"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_over_plain_http_on_loopback_only() {
        for (text, allowed) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost:8080", true),
            ("http://[::1]:8080", true),
            ("https://hub.example", true),
            ("http://hub.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("hub.example:8080", false),
        ] {
            assert_eq!(address(text).is_ok(), allowed, "{text}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (config, token) = (folder.path().join("c.yaml"), folder.path().join("t"));
        std::fs::write(&token, "  secret\n").unwrap();
        let text = format!("server: https://a.example\ntoken_file: {}\n", token.display());
        std::fs::write(&config, text).unwrap();
        let args = HubArgs { config: Some(config.clone()), ..HubArgs::default() };
        assert_eq!(args.settle().unwrap().server.as_str(), "https://a.example/");
        let args = HubArgs { server: Some("https://b.example".to_owned()), ..args };
        assert_eq!(args.settle().unwrap().server.as_str(), "https://b.example/");
        std::fs::write(&config, "sever: https://a.example\n").unwrap();
        assert!(args.settle().is_err(), "a misspelt setting is not ignored");
    }
}
