//! Cursors: where a list goes on. Opaque to clients, bound to the list and filter they came from.
//!
//! A cursor holds a position and no right: every page is authorised and filtered anew. One that
//! was made for another list or other filters is refused, because it would silently skip rows.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use provost_model::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Rows of a page where the request does not say.
pub const DEFAULT_LIMIT: u32 = 50;
/// Most rows that one page may have.
pub const MAX_LIMIT: u32 = 500;
/// Longest cursor that is decoded at all.
const MAX_TEXT_BYTES: usize = 4096;
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Body<K> {
    v: u8,
    /// Digest of list name and filter, shortened: it guards against mistakes, not against forgery.
    f: String,
    k: K,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the cursor is not one that this hub made; start again without it")]
    Malformed,
    #[error("the cursor belongs to another list or other filters; start again without it")]
    OtherQuery,
}

/// Names a list with its filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    pub fn new(list: &str, filter: &impl Serialize) -> Self {
        let filter = serde_json::to_vec(filter).unwrap_or_default();
        Self(Digest::of_parts(&[list.as_bytes(), b"\0", &filter]).short())
    }

    pub fn encode<K: Serialize>(&self, key: &K) -> String {
        let body = Body { v: VERSION, f: self.0.clone(), k: key };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&body).unwrap_or_default())
    }

    pub fn decode<K: DeserializeOwned>(&self, text: &str) -> Result<K, Error> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::Malformed)?;
        let body: Body<serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(|_| Error::Malformed)?;
        if body.v != VERSION {
            return Err(Error::Malformed);
        }
        if body.f != self.0 {
            return Err(Error::OtherQuery);
        }
        serde_json::from_value(body.k).map_err(|_| Error::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_on_in_its_own_list_only() {
        let scope = Scope::new("findings", &["high"]);
        let text = scope.encode(&("a", 7));
        assert_eq!(scope.decode::<(String, u32)>(&text), Ok(("a".to_owned(), 7)));
        let other = Scope::new("findings", &["low"]);
        assert_eq!(other.decode::<(String, u32)>(&text), Err(Error::OtherQuery));
        let other = Scope::new("clusters", &["high"]);
        assert_eq!(other.decode::<(String, u32)>(&text), Err(Error::OtherQuery));
    }

    #[test]
    fn garbage_is_refused() {
        let scope = Scope::new("findings", &());
        for text in ["", "!", "e30", &"A".repeat(MAX_TEXT_BYTES + 1), "eyJ2IjoxfQ"] {
            assert_eq!(scope.decode::<u32>(text), Err(Error::Malformed), "{text}");
        }
        let text = scope.encode(&"text");
        assert_eq!(scope.decode::<u32>(&text), Err(Error::Malformed));
    }
}
