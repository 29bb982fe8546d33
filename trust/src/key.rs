//! Ed25519 keys. The seed never leaves [`KeyPair`] but through [`KeyPair::to_seed`], zeroed on drop.
//!
//! A key is named by the SHA-256 of its raw public half, so that one key has one name. Public keys
//! of small order are refused: under one of them a signature fits many messages.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use provost_model::Digest;
use provost_model::digest::NotADigest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Lower-case hex SHA-256 of the raw public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Digest);

/// The raw 32 bytes of an Ed25519 public key; as text 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey([u8; 32]);

/// A private key with its public half. `Debug` shows the public half alone.
pub struct KeyPair {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not an Ed25519 public key: expected 64 lower-case hex digits (32 bytes)")]
    NotAPublicKey,
    #[error("this Ed25519 public key has small order: signatures under it prove nothing")]
    SmallOrder,
    #[error("not an Ed25519 seed: expected 32 bytes")]
    NotASeed,
    #[error("the system's random source failed")]
    Random,
}

impl KeyId {
    /// The first 12 hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl PublicKey {
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, Error> {
        if is_small_order(&bytes) {
            return Err(Error::SmallOrder);
        }
        Ok(Self(bytes))
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&self.0))
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl KeyPair {
    /// A new key of the system's random source.
    pub fn generate() -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *seed).map_err(|_| Error::Random)?;
        Self::from_seed(&seed[..])
    }

    pub fn from_seed(seed: &[u8]) -> Result<Self, Error> {
        let seed: [u8; 32] = seed.try_into().map_err(|_| Error::NotASeed)?;
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| Error::NotASeed)?;
        let public = PublicKey::try_from(pair.public_key().as_ref())?;
        Ok(Self { pair, seed, public })
    }

    #[must_use]
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    #[must_use]
    pub fn id(&self) -> KeyId {
        self.public.id()
    }

    /// The raw signature, 64 bytes. Envelopes are signed through [`crate::dsse`], which binds the
    /// payload's type.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.short())
    }
}

impl FromStr for KeyId {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digest: Digest = text.parse().map_err(|_| Error::NotAPublicKey)?;
        Self::from_bytes(*digest.as_bytes())
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_bytes(bytes.try_into().map_err(|_| Error::NotAPublicKey)?)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public)
    }
}

/// The y coordinates of the points of order 1, 2, 4 and 8, little-endian, with those encodings of
/// them that are not reduced modulo p; the sign bit is ignored.
const SMALL_ORDER_Y: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn is_small_order(bytes: &[u8; 32]) -> bool {
    let mut y = *bytes;
    y[31] &= 0x7f;
    SMALL_ORDER_Y.contains(&hex::encode(y).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_vectors() {
        // RFC 8032, section 7.1: TEST 1 (empty message) and TEST 2 (one byte).
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ] {
            let pair = KeyPair::from_seed(&hex::decode(seed).unwrap()).unwrap();
            let message = hex::decode(message).unwrap();
            assert_eq!(pair.public().to_string(), public);
            assert_eq!(hex::encode(pair.sign(&message)), signature);
            assert!(pair.public().verifies(&message, &hex::decode(signature).unwrap()));
        }
    }

    #[test]
    fn a_generated_key_survives_its_seed_and_is_not_another() {
        let pair = KeyPair::generate().unwrap();
        let again = KeyPair::from_seed(&pair.to_seed()[..]).unwrap();
        assert_eq!(pair.public(), again.public());
        assert_ne!(pair.public(), KeyPair::generate().unwrap().public());
        assert!(!again.public().verifies(b"other", &pair.sign(b"message")));
    }

    #[test]
    fn what_is_shown_of_a_pair_holds_no_seed() {
        let pair = KeyPair::from_seed(&[7; 32]).unwrap();
        let shown = format!("{pair:?}");
        assert!(shown.contains(&pair.public().to_string()));
        assert!(!shown.contains(&hex::encode([7; 32])) && !shown.contains("7, 7"));
    }

    #[test]
    fn small_order_and_misshapen_keys_are_refused() {
        for y in SMALL_ORDER_Y {
            assert_eq!(y.parse::<PublicKey>(), Err(Error::SmallOrder));
            let mut negative: [u8; 32] = hex::decode(y).unwrap().try_into().unwrap();
            negative[31] |= 0x80;
            assert_eq!(PublicKey::from_bytes(negative), Err(Error::SmallOrder));
        }
        assert_eq!("abc".parse::<PublicKey>(), Err(Error::NotAPublicKey));
        assert_eq!(KeyPair::from_seed(&[1; 31]).unwrap_err(), Error::NotASeed);
    }
}
