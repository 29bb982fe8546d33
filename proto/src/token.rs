//! Enrolment tokens: one line of text that holds all an agent needs to trust its hub.
//!
//! The hashes pin the CA and the root before anything secret is sent; the root's hash comes from
//! the operator's own file, never from the hub.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use provost_model::Digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const PREFIX: &str = "pvt1.";
const MAX_BYTES: usize = 8 * 1024;
const MAX_HUBS: usize = 16;

/// `pvt1.<base64url of JSON>`. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Token {
    /// `https://host:port` of agent listeners, tried in order.
    pub hubs: Vec<String>,
    pub trust_domain: String,
    /// Of the CA certificate's DER.
    pub ca_sha256: Digest,
    /// Of the root's payload.
    pub root_sha256: Digest,
    /// Single use; the hub keeps its hash only.
    pub secret: Zeroizing<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an enrolment token: {what}; take the whole line that `provost fleet token create` printed"
)]
pub struct BadToken {
    what: &'static str,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("hubs", &self.hubs)
            .field("trust_domain", &self.trust_domain)
            .field("ca_sha256", &self.ca_sha256)
            .field("root_sha256", &self.root_sha256)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// The one line to hand over. Secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // Strings and digests always serialise.
        let json = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*json)))
    }

    fn check(self) -> Result<Self, BadToken> {
        if self.hubs.is_empty() || self.hubs.len() > MAX_HUBS {
            return Err(BadToken { what: "it names no hub, or too many" });
        }
        if self.secret.is_empty() {
            return Err(BadToken { what: "it has no secret" });
        }
        Ok(self)
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        let body =
            text.strip_prefix(PREFIX).ok_or(BadToken { what: "it must start with pvt1." })?;
        if text.len() > MAX_BYTES {
            return Err(BadToken { what: "too long" });
        }
        let cut = BadToken { what: "it is cut off or was altered" };
        let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| cut.clone())?);
        let token: Self = serde_json::from_slice(&json).map_err(|_| cut)?;
        token.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            hubs: vec!["https://hub.example:8443".to_owned()],
            trust_domain: "fleet.example".to_owned(),
            ca_sha256: Digest::of(b"ca"),
            root_sha256: Digest::of(b"root"),
            secret: Zeroizing::new("s3cret".to_owned()),
        }
    }

    #[test]
    fn one_line_round_trips_and_debug_hides_the_secret() {
        let text = token().to_text();
        assert!(text.starts_with("pvt1.") && !text.contains('\n'));
        assert_eq!(format!(" {}\n", *text).parse(), Ok(token()));
        assert!(!format!("{:?}", token()).contains("s3cret"));
    }

    #[test]
    fn damage_is_named() {
        let text = token().to_text();
        for bad in ["", "pvt2.x", "pvt1.", &text[..text.len() - 9], &text.replace('.', "")] {
            let error = bad.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains("provost fleet token create"), "{bad}: {error}");
        }
        let no_hub = Token { hubs: Vec::new(), ..token() };
        assert!(no_hub.to_text().parse::<Token>().is_err());
    }
}
