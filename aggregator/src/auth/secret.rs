//! Secrets that the hub hands out once and keeps only as a hash: API tokens, sessions, login links.
//!
//! A secret is a prefix that says what it is (so that secret scanners find it in a repository) and
//! 32 random bytes. With 256 bits of entropy one SHA-256 is enough: there is nothing to guess, and
//! a lookup by hash leaks no prefix of the secret by its timing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use provost_model::Digest;
use rand::TryRngCore as _;
use zeroize::Zeroizing;

const RANDOM_BYTES: usize = 32;
/// Longest text that is hashed at all; ours are under 60 bytes.
const MAX_TEXT_BYTES: usize = 256;

/// What a secret opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ApiToken,
    Session,
    LoginLink,
    /// Opens nothing: an anonymous visitor's cookie, from which the login form's token is derived.
    Login,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::ApiToken => "provost_api_",
            Self::Session => "provost_ses_",
            Self::LoginLink => "provost_once_",
            Self::Login => "provost_form_",
        }
    }
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system's random source failed")]
pub struct NoRandomness(#[source] rand::rand_core::OsError);

/// A secret in clear, for the one answer that shows it.
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn generate(kind: Kind) -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0_u8; RANDOM_BYTES]);
        rand::rngs::OsRng.try_fill_bytes(&mut *bytes).map_err(NoRandomness)?;
        let text = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(*bytes));
        Ok(Self(Zeroizing::new(text)))
    }

    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The hash under which a presented secret of `kind` would be stored; none where the text cannot
/// be such a secret, so that a session never passes for a token.
#[must_use]
pub fn hash_presented(kind: Kind, text: &str) -> Option<Digest> {
    let fits = text.len() <= MAX_TEXT_BYTES && text.starts_with(kind.prefix());
    fits.then(|| Digest::of(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presented_secret_hashes_to_what_was_stored() {
        let secret = Secret::generate(Kind::ApiToken).unwrap();
        assert_eq!(hash_presented(Kind::ApiToken, secret.reveal()), Some(secret.hash()));
        assert_eq!(hash_presented(Kind::Session, secret.reveal()), None);
        assert_eq!(hash_presented(Kind::ApiToken, &"x".repeat(MAX_TEXT_BYTES + 1)), None);
    }

    #[test]
    fn no_two_are_equal_and_none_is_printed() {
        let (a, b) =
            (Secret::generate(Kind::Session).unwrap(), Secret::generate(Kind::Session).unwrap());
        assert_ne!(a.reveal(), b.reveal());
        assert!(!format!("{a:?}").contains(&a.reveal()[Kind::Session.prefix().len()..]));
    }
}
