//! The two cookies of the console: the session, and the one that protects the login form.
//!
//! Both are `HttpOnly` and `SameSite`; over TLS they are `Secure` and carry the `__Host-` prefix,
//! so that no other host and no plain-text page can set them.

use std::time::Duration;

/// Whether the listener that sets and reads the cookies speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tls,
    /// Loopback only.
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    Session,
    /// Random value of an anonymous visitor, from which the login form's forgery token is derived.
    Login,
}

impl Cookie {
    #[must_use]
    pub const fn name(self, transport: Transport) -> &'static str {
        match (self, transport) {
            (Self::Session, Transport::Tls) => "__Host-provost-session",
            (Self::Session, Transport::Plain) => "provost-session",
            (Self::Login, Transport::Tls) => "__Host-provost-login",
            (Self::Login, Transport::Plain) => "provost-login",
        }
    }

    /// The value of `Set-Cookie`. `Lax` lets a permalink open signed in; every change asks for a
    /// forgery token besides.
    #[must_use]
    pub fn set(self, transport: Transport, value: &str, max_age: Duration) -> String {
        let name = self.name(transport);
        let secure = match transport {
            Transport::Tls => "; Secure",
            Transport::Plain => "",
        };
        let age_s = max_age.as_secs();
        format!("{name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}")
    }

    #[must_use]
    pub fn clear(self, transport: Transport) -> String {
        self.set(transport, "", Duration::ZERO)
    }

    /// Its value in a `Cookie` header. Two cookies of the name mean that somebody planted one:
    /// neither counts.
    #[must_use]
    pub fn find(self, transport: Transport, header: &str) -> Option<&str> {
        let name = self.name(transport);
        let mut values = header
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        let value = values.next()?;
        (values.next().is_none() && !value.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_cookie_is_closed_to_scripts_and_other_sites() {
        let plain = Cookie::Session.set(Transport::Plain, "x", Duration::from_secs(60));
        assert_eq!(plain, "provost-session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
        let tls = Cookie::Session.set(Transport::Tls, "x", Duration::from_secs(60));
        assert!(tls.starts_with("__Host-provost-session=x; "), "{tls}");
        assert!(tls.ends_with("; Secure"), "{tls}");
    }

    #[test]
    fn a_cookie_is_found_whole_or_not_at_all() {
        let find = |header| Cookie::Session.find(Transport::Plain, header);
        assert_eq!(find("a=b; provost-session=v; c=d"), Some("v"));
        assert_eq!(find("xprovost-session=v"), None);
        assert_eq!(find("provost-session="), None);
        assert_eq!(find("provost-session=a; provost-session=b"), None);
    }
}
