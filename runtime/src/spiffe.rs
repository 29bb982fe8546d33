//! Identities as SPIFFE ids, and only the two shapes that this product knows.
//!
//! Invariant: an id parses only from its one canonical text, so that comparing ids whole is
//! comparing texts whole.

use std::fmt;
use std::str::FromStr;

/// `spiffe://<trust-domain>/hub` or `spiffe://<trust-domain>/cluster/<32 hex digits>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    role: Role,
}

/// Lower-case letters, digits, dots and hyphens; at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Hub,
    /// The cluster's 128-bit id.
    Cluster([u8; 16]),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "{text:?} is not a trust domain: use 1 to 255 lower-case letters, digits, dots and hyphens"
    )]
    TrustDomain { text: String },
    #[error("{text:?} is not an identity of this product")]
    Id { text: String },
}

impl SpiffeId {
    #[must_use]
    pub const fn hub(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, role: Role::Hub }
    }

    #[must_use]
    pub const fn cluster(trust_domain: TrustDomain, id: [u8; 16]) -> Self {
        Self { trust_domain, role: Role::Cluster(id) }
    }

    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The cluster id, where this is a cluster's.
    #[must_use]
    pub const fn cluster_id(&self) -> Option<[u8; 16]> {
        match self.role {
            Role::Cluster(id) => Some(id),
            Role::Hub => None,
        }
    }
}

impl TrustDomain {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
        let edges = |c: char| c == '.' || c == '-';
        if text.is_empty()
            || text.len() > 255
            || !plain
            || text.starts_with(edges)
            || text.ends_with(edges)
        {
            return Err(Error::TrustDomain { text: text.chars().take(80).collect() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Hub => write!(f, "spiffe://{}/hub", self.trust_domain),
            Role::Cluster(id) => {
                write!(f, "spiffe://{}/cluster/{}", self.trust_domain, hex::encode(id))
            }
        }
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Id { text: text.chars().take(300).collect() };
        let rest = text.strip_prefix("spiffe://").ok_or_else(bad)?;
        let (domain, path) = rest.split_once('/').ok_or_else(bad)?;
        let trust_domain = domain.parse().map_err(|_| bad())?;
        let role = match path.strip_prefix("cluster/") {
            None if path == "hub" => Role::Hub,
            Some(digits) => {
                let mut id = [0; 16];
                hex::decode_to_slice(digits, &mut id).map_err(|_| bad())?;
                Role::Cluster(id)
            }
            None => return Err(bad()),
        };
        let id = Self { trust_domain, role };
        if id.to_string() == text { Ok(id) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_texts_parse() {
        for good in
            ["spiffe://example.org/hub", "spiffe://fleet/cluster/00112233445566778899aabbccddeeff"]
        {
            assert_eq!(good.parse::<SpiffeId>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "spiffe://Example.org/hub",
            "spiffe://example.org/hub/",
            "spiffe://example.org/hub?x",
            "spiffe:///hub",
            "https://example.org/hub",
            "spiffe://example.org/cluster/00112233445566778899AABBCCDDEEFF",
            "spiffe://example.org/cluster/0011",
            "spiffe://example.org/agent",
            "spiffe://user@example.org/hub",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
