//! Keys in files, as JSON with a version. The private form holds the seed; the caller writes it
//! with mode 0600 and never over another file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::Error;
use crate::key::{KeyPair, PublicKey};
use crate::root::Algorithm;
use crate::strict;
use crate::text::is_plain_line;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    kind: Algorithm,
    /// Who or what it is for, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    public: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<Secret>,
}

/// Base64, zeroed on drop.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

const WHAT: &str = "key file";
const FORMAT_VERSION: u32 = 1;
/// A key file has a few hundred bytes.
pub const MAX_KEY_FILE_BYTES: usize = 4096;

/// The private form.
pub fn private_json(pair: &KeyPair, name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let seed = Secret(STANDARD.encode(&pair.to_seed()[..]));
    strict::to_json(WHAT, &key_file(pair.public(), name, Some(seed))).map(Zeroizing::new)
}

/// The public form, to hand around.
pub fn public_json(public: PublicKey, name: &str) -> Result<Vec<u8>, Error> {
    strict::to_json(WHAT, &key_file(public, name, None))
}

/// A private key file.
pub fn read_private(bytes: &[u8]) -> Result<KeyPair, Error> {
    let file = read(bytes)?;
    let malformed = |reason: &str| Error::Malformed { what: WHAT, reason: reason.to_owned() };
    let seed = file.seed.ok_or_else(|| {
        malformed("it holds the public half alone, but a private key is needed to sign")
    })?;
    // The cause is left out: it could quote the seed.
    let seed = STANDARD.decode(seed.0.as_bytes()).map(Zeroizing::new);
    let seed = seed.map_err(|_| malformed("its seed is not base64"))?;
    let pair = KeyPair::from_seed(&seed).map_err(|error| malformed(&error.to_string()))?;
    if pair.public() != file.public {
        return Err(malformed("its public key does not belong to its seed"));
    }
    Ok(pair)
}

/// The public key and name of a private or public key file.
pub fn read_public(bytes: &[u8]) -> Result<(PublicKey, String), Error> {
    let file = read(bytes)?;
    Ok((file.public, file.name))
}

fn key_file(public: PublicKey, name: &str, seed: Option<Secret>) -> KeyFile {
    let (version, kind) = (FORMAT_VERSION, Algorithm::Ed25519);
    KeyFile { version, kind, name: name.to_owned(), public, seed }
}

fn read(bytes: &[u8]) -> Result<KeyFile, Error> {
    if bytes.len() > MAX_KEY_FILE_BYTES {
        let (size, limit) = (bytes.len() as u64, MAX_KEY_FILE_BYTES as u64);
        return Err(Error::TooLarge { what: WHAT, size, limit });
    }
    let file: KeyFile = strict::from_secret_json(WHAT, bytes)?;
    if file.version != FORMAT_VERSION {
        let field = format!("version {}", file.version);
        return Err(Error::Unsupported { what: WHAT, field });
    }
    if !is_plain_line(&file.name) {
        let reason = "its name is no line of text".to_owned();
        return Err(Error::Malformed { what: WHAT, reason });
    }
    Ok(file)
}
