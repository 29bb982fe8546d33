//! Who may ask the hub what: roles, secrets that are stored only as hashes, cookies, forgery tokens.
//!
//! Invariants: no secret is kept, logged or compared in clear; a principal exists only because a
//! token or a session was looked up by its hash and had not expired; a role is never raised by a
//! request. HTTP itself (middleware, handlers) is in `api` and `ui`.

pub mod authenticate;
pub mod cookie;
pub mod csrf;
pub mod first_token;
pub mod role;
pub mod secret;

use provost_model::Digest;

pub use role::Role;

use crate::store::Actor;

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
    Token { hash: Digest },
    /// A cookie, which browsers add by themselves: what changes something needs `csrf`.
    Session { token: Digest, csrf: String },
}

impl Principal {
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::token(&self.name)
    }

    /// Hash of the API token behind the request.
    #[must_use]
    pub fn token_hash(&self) -> Digest {
        match self.via {
            Via::Token { hash } => hash,
            Via::Session { token, .. } => token,
        }
    }
}
