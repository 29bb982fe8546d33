//! The root: which keys may sign what, and how many of them it takes.
//!
//! Its own role signs its successor. The director signs online, on the hub, so its keys can hold
//! no other role: whoever takes the hub must not thereby sign policies. A role may have no key;
//! then nothing is accepted from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use provost_model::limits::MAX_SIGNATURES;
use serde::{Deserialize, Serialize};

use crate::dsse::{Envelope, payload_type};
use crate::error::Error;
use crate::key::{KeyId, PublicKey};
use crate::strict;
use crate::text;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// From 1, each exactly one more than the last.
    pub version: u64,
    pub created: Timestamp,
    /// Afterwards nothing new is accepted under it; what is in force stays.
    pub expires: Timestamp,
    pub keys: BTreeMap<KeyId, KeyRecord>,
    pub roles: Roles,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    pub algorithm: Algorithm,
    pub public: PublicKey,
    /// Who holds it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// Taken from the key record, never from the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Ed25519,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    pub root: RoleKeys,
    pub policy: RoleKeys,
    pub exemption: RoleKeys,
    pub director: RoleKeys,
    pub operator: RoleKeys,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleKeys {
    /// Signatures of distinct keys that it takes; at least 1.
    pub threshold: u32,
    pub keys: BTreeSet<KeyId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs roots.
    Root,
    /// Signs policy manifests.
    Policy,
    /// Signs exemption sets.
    Exemption,
    /// The hub: signs assignments, and grants that no operator signed.
    Director,
    /// People: sign cluster grants.
    Operator,
}

const WHAT: &str = "root";

impl Root {
    /// Version 1 with no key yet, every threshold 1.
    #[must_use]
    pub fn first(created: Timestamp, expires: Timestamp) -> Self {
        Self { version: 1, created, expires, keys: BTreeMap::new(), roles: Roles::default() }
    }

    /// The same keys and roles, one version on.
    #[must_use]
    pub fn successor(&self, created: Timestamp, expires: Timestamp) -> Self {
        Self { version: self.version.saturating_add(1), created, expires, ..self.clone() }
    }

    /// Puts a key into a role. A name that is given replaces the one known.
    pub fn add_key(&mut self, role: Role, public: PublicKey, name: &str) {
        let record = self.keys.entry(public.id()).or_insert_with(|| KeyRecord {
            algorithm: Algorithm::Ed25519,
            public,
            name: String::new(),
        });
        if !name.is_empty() {
            name.clone_into(&mut record.name);
        }
        self.role_mut(role).keys.insert(public.id());
    }

    /// Takes a key out of a role, and out of the root where no role names it any more. False where
    /// the role did not have it.
    pub fn remove_key(&mut self, role: Role, key_id: KeyId) -> bool {
        let had = self.role_mut(role).keys.remove(&key_id);
        if !Role::ALL.iter().any(|role| self.role(*role).keys.contains(&key_id)) {
            self.keys.remove(&key_id);
        }
        had
    }

    #[must_use]
    pub const fn role(&self, role: Role) -> &RoleKeys {
        match role {
            Role::Root => &self.roles.root,
            Role::Policy => &self.roles.policy,
            Role::Exemption => &self.roles.exemption,
            Role::Director => &self.roles.director,
            Role::Operator => &self.roles.operator,
        }
    }

    pub const fn role_mut(&mut self, role: Role) -> &mut RoleKeys {
        match role {
            Role::Root => &mut self.roles.root,
            Role::Policy => &mut self.roles.policy,
            Role::Exemption => &mut self.roles.exemption,
            Role::Director => &mut self.roles.director,
            Role::Operator => &mut self.roles.operator,
        }
    }

    /// The public keys of a role.
    #[must_use]
    pub fn keys_of(&self, role: Role) -> Vec<PublicKey> {
        let ids = &self.role(role).keys;
        ids.iter().filter_map(|id| self.keys.get(id)).map(|record| record.public).collect()
    }

    /// Checks the rules that hold within one root, and writes the bytes to sign.
    pub fn to_unsigned(&self) -> Result<Envelope, Error> {
        self.check()?;
        Ok(Envelope::unsigned(payload_type::ROOT, strict::to_json(WHAT, self)?))
    }

    /// Reads a payload. What it says is not trusted yet: a signature check comes before or after,
    /// see [`crate::TrustedRoot`].
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let root: Self = strict::from_json(WHAT, payload)?;
        root.check()?;
        Ok(root)
    }

    fn check(&self) -> Result<(), Error> {
        let malformed = |reason: String| Err(Error::Malformed { what: WHAT, reason });
        if self.version == 0 {
            return malformed("versions start at 1".to_owned());
        }
        if self.created >= self.expires {
            return malformed("it expires before it was created".to_owned());
        }
        for (key_id, record) in &self.keys {
            if record.public.id() != *key_id {
                return malformed(format!("key id {key_id} is not the SHA-256 of its key"));
            }
            if !Role::ALL.iter().any(|role| self.role(*role).keys.contains(key_id)) {
                return malformed(format!("key {key_id} holds no role"));
            }
            if !text::is_plain_line(&record.name) {
                return malformed(format!("the name of key {key_id} is no line of text"));
            }
        }
        for role in Role::ALL {
            self.check_role(*role)?;
        }
        if self.roles.root.keys.is_empty() {
            return malformed("the root role needs a key".to_owned());
        }
        Ok(())
    }

    fn check_role(&self, role: Role) -> Result<(), Error> {
        let malformed = |reason: String| Err(Error::Malformed { what: WHAT, reason });
        let RoleKeys { threshold, keys } = self.role(role);
        if let Some(key_id) = keys.iter().find(|key_id| !self.keys.contains_key(key_id)) {
            return malformed(format!("role {role} names key {key_id}, which is not listed"));
        }
        if *threshold == 0 || *threshold as usize > MAX_SIGNATURES {
            return malformed(format!("role {role}: a threshold is 1 to {MAX_SIGNATURES}"));
        }
        if !keys.is_empty() && *threshold as usize > keys.len() {
            return malformed(format!(
                "role {role} has {} keys and could never reach its threshold of {threshold}",
                keys.len()
            ));
        }
        if role != Role::Director {
            let director = &self.roles.director.keys;
            if let Some(key_id) = keys.intersection(director).next() {
                return malformed(format!(
                    "key {key_id} is a director key and can hold role {role} no more: a director key lies on the hub"
                ));
            }
        }
        Ok(())
    }
}

impl Default for RoleKeys {
    fn default() -> Self {
        Self { threshold: 1, keys: BTreeSet::new() }
    }
}

impl Role {
    pub const ALL: &'static [Self] =
        &[Self::Root, Self::Policy, Self::Exemption, Self::Director, Self::Operator];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Policy => "policy",
            Self::Exemption => "exemption",
            Self::Director => "director",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No role has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {0:?}: expected root, policy, exemption, director or operator")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let role = Self::ALL.iter().copied().find(|role| role.as_str() == text);
        role.ok_or_else(|| UnknownRole(text.chars().take(80).collect()))
    }
}
