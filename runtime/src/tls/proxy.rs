//! Reaching the hub through an HTTP proxy by CONNECT, in the clear or by TLS. The proxy sees the
//! hub's address and ciphertext; who listens on the way to a proxy by TLS sees no credentials either.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::client::{ConnectError, HubUrl};

/// Head of the proxy's answer; more is refused.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// `http://[user:password@]host:port`, or `https://` for TLS to the proxy.
#[derive(Clone)]
pub struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
    /// Empty: those of the system.
    pub(super) roots: Vec<CertificateDer<'static>>,
    authorization: Option<Zeroizing<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable proxy: write http://[user:password@]host:port, or https:// for TLS to it")]
pub struct BadProxy;

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl FromStr for Proxy {
    type Err = BadProxy;

    fn from_str(text: &str) -> Result<Self, BadProxy> {
        let (rest, is_tls) = match text.strip_prefix("https://") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("http://").ok_or(BadProxy)?, false),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let (host, port) = address.rsplit_once(':').ok_or(BadProxy)?;
        let port = port.parse().map_err(|_| BadProxy)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if host.is_empty() || !host.chars().all(plain) {
            return Err(BadProxy);
        }
        let authorization = credentials.map(|credentials| {
            let decoded = Zeroizing::new(percent_decoded(credentials));
            Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(&*decoded))
        });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port, is_tls, roots: Vec::new(), authorization })
    }
}

impl Proxy {
    /// Whose CAs the proxy's certificate must be signed by, in place of the system's.
    #[must_use]
    pub fn with_roots(self, roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, ..self }
    }

    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Asks for a tunnel; afterwards `stream` speaks to the hub.
    pub(super) async fn tunnel<S>(&self, stream: &mut S, hub: &HubUrl) -> Result<(), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let authority = hub.authority();
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(credentials) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", credentials.as_str()));
        }
        request.push_str("\r\n");
        let request = Zeroizing::new(request);
        stream.write_all(request.as_bytes()).await.map_err(|source| self.io(source))?;
        stream.flush().await.map_err(|source| self.io(source))?;
        let head = self.read_head(stream).await?;
        match status_of(&head) {
            Some(200..=299) => Ok(()),
            Some(status) => Err(ConnectError::ProxyRefused { proxy: self.to_string(), status }),
            None => Err(self.io(std::io::ErrorKind::InvalidData.into())),
        }
    }

    /// Byte by byte, so that nothing of the tunnel is swallowed.
    async fn read_head<S>(&self, stream: &mut S) -> Result<Vec<u8>, ConnectError>
    where
        S: AsyncRead + Unpin,
    {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == MAX_HEAD_BYTES {
                return Err(self.io(std::io::ErrorKind::InvalidData.into()));
            }
            head.push(stream.read_u8().await.map_err(|source| self.io(source))?);
        }
        Ok(head)
    }

    fn io(&self, source: std::io::Error) -> ConnectError {
        ConnectError::Io { to: self.to_string(), source }
    }
}

fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|b| *b == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        let escape = bytes.get(position..position + 3).filter(|escape| escape[0] == b'%');
        let mut byte = [0];
        match escape {
            Some(escape) if hex::decode_to_slice(&escape[1..], &mut byte).is_ok() => {
                out.push(byte[0]);
                position += 3;
            }
            _ => {
                out.push(bytes[position]);
                position += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_parse_and_hide_their_password() {
        let proxy: Proxy = "http://user:p%40ss@proxy.example:3128/".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.authorization.as_ref().unwrap().as_str(), "dXNlcjpwQHNz");
        assert_eq!(
            format!("{proxy} {proxy:?}"),
            "http://proxy.example:3128 Proxy(proxy.example:3128)"
        );
        let secure: Proxy = "https://u:p@proxy:443".parse().unwrap();
        assert!(secure.is_tls() && format!("{secure}") == "https://proxy:443");
        for bad in ["socks://proxy:1", "proxy:3128", "http://proxy", "http://:1", "http://a\r\nb:1"]
        {
            assert!(bad.parse::<Proxy>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_http_statuses_count() {
        assert_eq!(status_of(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.1 407 x\r\n\r\n"), Some(407));
        assert_eq!(status_of(b"SSH-2.0-x\r\n\r\n"), None);
    }
}
