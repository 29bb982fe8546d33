//! Findings and the fingerprint by which one is the same at all four checkpoints.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::PolicyId;
use crate::path::Path;
use crate::subject::Subject;

/// One `violation` entry of a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub fingerprint: Fingerprint,
    pub path: Path,
    pub message: String,
    /// JSON Patch operations that repair it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<serde_json::Value>,
    /// 1-based line in the file the object came from, where it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// First 16 bytes of a SHA-256 over policy, subject, path and rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint([u8; 16]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: expected 32 lower-case hex digits (16 bytes)")]
pub struct NotAFingerprint;

impl Fingerprint {
    /// `path` is a JSON Pointer whose list elements are named where they can be (`[name=web]`);
    /// `rank` is the position by message bytes among the verdict's findings of equal path. Each
    /// part is hashed after its byte length as u32 big-endian, so that no two splits collide.
    #[must_use]
    pub fn new(policy: &PolicyId, subject: &Subject, path: &str, rank: u32) -> Self {
        let rank = rank.to_string();
        let mut parts = vec![policy.as_str(), subject.type_name()];
        parts.extend(subject.identity());
        parts.extend([path, &rank]);
        let mut hasher = Sha256::new();
        for part in parts {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            hasher.update(length.to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize()[..16]);
        Self(bytes)
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let lower_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 16];
        if !lower_hex || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(NotAFingerprint);
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<&[u8]> for Fingerprint {
    type Error = NotAFingerprint;

    fn try_from(bytes: &[u8]) -> Result<Self, NotAFingerprint> {
        bytes.try_into().map(Self).map_err(|_| NotAFingerprint)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NotAFingerprint;

    fn try_from(text: String) -> Result<Self, NotAFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::ResourceRef;

    fn subject(namespace: &str, name: &str) -> Subject {
        Subject::Kubernetes(ResourceRef {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    #[test]
    fn golden() {
        let policy = "privilege-escalation".parse().unwrap();
        let path = "/spec/template/spec/containers/[name=web]/securityContext";
        let fingerprint = Fingerprint::new(&policy, &subject("shop", "cart"), path, 0);
        assert_eq!(fingerprint.to_string(), "5cd2ca3d4205ee0ebfdf420cb2b9dba3");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let policy = "a".parse().unwrap();
        let one = Fingerprint::new(&policy, &subject("ab", "c"), "", 0);
        let two = Fingerprint::new(&policy, &subject("a", "bc"), "", 0);
        assert_ne!(one, two);
    }
}
