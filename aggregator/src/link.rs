//! Addresses of pages: paths and query strings, encoded.

use std::fmt::Write as _;

/// Percent-encodes all but unreserved characters.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A path with a query string, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    text: String,
    has_query: bool,
}

impl Link {
    /// `path` is a constant or made of encoded parts.
    #[must_use]
    pub fn to(path: impl Into<String>) -> Self {
        Self { text: path.into(), has_query: false }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl AsRef<str>) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(key);
        self.text.push('=');
        self.text.push_str(&encode(value.as_ref()));
        self
    }

    #[must_use]
    pub fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

impl From<Link> for String {
    fn from(link: Link) -> Self {
        link.text
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a login goes on: a path of this hub, never another site.
#[must_use]
pub fn local_path(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.starts_with("/login")
        && next.bytes().all(|b| b.is_ascii_graphic());
    if local { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_encode_what_is_put_into_them() {
        let link = Link::to("/findings").with("q", "a&b=<c>").maybe("x", None).with("y", "é");
        assert_eq!(link.to_string(), "/findings?q=a%26b%3D%3Cc%3E&y=%C3%A9");
    }

    #[test]
    fn a_login_goes_on_here_and_nowhere_else() {
        for (next, expected) in [
            ("/findings?q=a", "/findings?q=a"),
            ("//evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example/", "/"),
            ("/login/once/x", "/"),
            ("/a\r\nSet-Cookie: x", "/"),
            ("", "/"),
        ] {
            assert_eq!(local_path(next), expected, "{next}");
        }
    }
}
