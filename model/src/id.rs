//! Identifiers. Slugs are what people write; 128-bit ids are what machines draw.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_SLUG_BYTES;

/// The text is not a valid identifier of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "{text:?} is not a valid id: use 1 to {MAX_SLUG_BYTES} lower-case letters, digits and single hyphens, starting with a letter"
    )]
    Slug { text: String },
    #[error("not a 128-bit id: expected 32 lower-case hex digits (16 bytes)")]
    Random,
}

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                if is_slug(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::Slug { text: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

slug!(
    /// Stable kebab-case name of a policy, such as `privilege-escalation`.
    PolicyId
);
slug!(
    /// Name of a binding; `default` is the one a policy's metadata implies.
    BindingId
);

impl BindingId {
    /// The binding that a policy's metadata implies.
    #[must_use]
    pub fn default_binding() -> Self {
        Self("default".to_owned())
    }

    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == "default"
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 16 bytes of a cryptographic random source, which the caller owns.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The first 8 hex digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let lower_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                let mut bytes = [0; 16];
                if !lower_hex || hex::decode_to_slice(text, &mut bytes).is_err() {
                    return Err(Error::Random);
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = Error;

            fn try_from(bytes: &[u8]) -> Result<Self, Error> {
                bytes.try_into().map(Self).map_err(|_| Error::Random)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

random_id!(
    /// A cluster, as the hub enrolled it.
    ClusterId
);
random_id!(
    /// One data folder of one agent; chain, spool, report key and session are per instance.
    InstanceId
);
random_id!(
    /// One session between an agent and the hub.
    SessionId
);
random_id!(
    /// One boot of an agent's machine: monotonic times compare within it only.
    BootId
);
random_id!(
    /// One snapshot, from its begin to its end record.
    SnapshotId
);

fn is_slug(text: &str) -> bool {
    let starts_with_letter = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let plain = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    starts_with_letter
        && plain
        && text.len() <= MAX_SLUG_BYTES
        && !text.ends_with('-')
        && !text.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_kebab_case() {
        for good in ["a", "privilege-escalation", "r2-d2"] {
            assert!(good.parse::<PolicyId>().is_ok(), "{good}");
        }
        for bad in
            ["", "A", "-a", "a-", "a--b", "a_b", "1a", "a b", &"a".repeat(MAX_SLUG_BYTES + 1)]
        {
            assert!(bad.parse::<PolicyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn random_ids_are_32_hex_digits() {
        let id = ClusterId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("AB".repeat(16).parse::<ClusterId>(), Err(Error::Random));
        assert_eq!(ClusterId::try_from(&[1_u8; 15][..]), Err(Error::Random));
    }
}
