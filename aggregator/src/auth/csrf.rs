//! Forgery tokens: a second value, derived from the cookie's secret, that a form must send along.
//!
//! Another site can make a browser send the cookie, and can neither read it nor derive from it.
//! Nothing is stored: the token is recomputed from the cookie of the request itself.

use provost_model::Digest;

/// Separates this use of the secret from the hash under which the session is stored.
const DOMAIN: &[u8] = b"provost csrf v1\0";

/// The token that forms of the session with `cookie_secret` carry.
#[must_use]
pub fn token(cookie_secret: &str) -> String {
    Digest::of_parts(&[DOMAIN, cookie_secret.as_bytes()]).to_string()
}

/// Compares without telling by time how much of `presented` was right.
#[must_use]
pub fn matches(expected: &str, presented: &str) -> bool {
    let (a, b) = (expected.as_bytes(), presented.as_bytes());
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_own_session_only() {
        assert!(matches(&token("one"), &token("one")));
        assert!(!matches(&token("one"), &token("two")));
        assert!(!matches(&token("one"), ""));
        assert_ne!(token("one"), Digest::of(b"one").to_string());
    }
}
