//! How far enrolment has come, on disk: what an agent needs to return to its hub without a token.

use std::path::{Path, PathBuf};

use provost_model::{ClusterId, Digest};
use provost_proto::token::Token;
use serde::{Deserialize, Serialize};

use super::{Error, read_json, write_json};

const FILE: &str = "enrolment.json";
const FORMAT_VERSION: u32 = 1;

/// The pins come from the token and never change; the secret is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enrolment {
    version: u32,
    pub stage: Stage,
    pub hubs: Vec<String>,
    pub trust_domain: String,
    pub ca_sha256: Digest,
    pub root_sha256: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<ClusterId>,
    pub join_counter: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Asked with a token; whether the hub took it is not known.
    Asked,
    /// The hub knows us; a person has to approve.
    Pending,
    Enrolled,
}

impl Enrolment {
    #[must_use]
    pub fn asked(token: &Token) -> Self {
        Self {
            version: FORMAT_VERSION,
            stage: Stage::Asked,
            hubs: token.hubs.clone(),
            trust_domain: token.trust_domain.clone(),
            ca_sha256: token.ca_sha256,
            root_sha256: token.root_sha256,
            cluster_id: None,
            join_counter: 0,
        }
    }

    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = path(folder);
        let Some(enrolment) = read_json::<Self>(&path)? else { return Ok(None) };
        if enrolment.version != FORMAT_VERSION {
            return Err(Error::Newer { path, version: enrolment.version });
        }
        Ok(Some(enrolment))
    }

    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        write_json(&path(folder), self)
    }

    /// Whether a token leads to the same hub under the same root.
    #[must_use]
    pub fn fits(&self, token: &Token) -> bool {
        self.trust_domain == token.trust_domain
            && self.ca_sha256 == token.ca_sha256
            && self.root_sha256 == token.root_sha256
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It holds the pins: without them nothing is trusted, so that the agent ends and names it.
    #[test]
    fn a_torn_or_newer_enrolment_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let enrolment = Enrolment {
            version: FORMAT_VERSION,
            stage: Stage::Enrolled,
            hubs: vec!["https://hub:1".to_owned()],
            trust_domain: "fleet.test".to_owned(),
            ca_sha256: Digest::of(b"ca"),
            root_sha256: Digest::of(b"root"),
            cluster_id: None,
            join_counter: 0,
        };
        enrolment.write(folder.path()).unwrap();
        assert_eq!(Enrolment::read(folder.path()).unwrap(), Some(enrolment));
        let path = path(folder.path());
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(matches!(Enrolment::read(folder.path()), Err(Error::Damaged { .. })));
        std::fs::write(&path, whole.replacen("\"version\": 1", "\"version\": 2", 1)).unwrap();
        assert!(matches!(Enrolment::read(folder.path()), Err(Error::Newer { version: 2, .. })));
    }
}
