//! Who may ask the hub what: roles, secrets that are stored only as hashes, cookies, forgery tokens.
//!
//! Invariants: no secret is kept, logged or compared in clear; a principal exists only because a
//! token or a session was looked up by its hash and had not expired; a role is never raised by a
//! request. HTTP itself (middleware, handlers) is in `api` and `ui`.

pub mod cookie;
pub mod csrf;
pub mod role;
pub mod secret;

pub use role::Role;

/// Who makes a request, as it stands in audit rows and on pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Name of the API token; sessions act under the name of the token that opened them.
    pub name: String,
    pub role: Role,
    pub via: Via,
}

/// How a request proved who makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// `Authorization: Bearer`: no browser adds it by itself, so no forgery token is asked for.
    Token,
    /// A cookie, which browsers add by themselves: what changes something needs `csrf`.
    Session { csrf: String },
}
