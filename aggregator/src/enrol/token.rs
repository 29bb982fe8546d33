//! Enrolment tokens: made for an operator, hashed at rest, good once and for at most 15 minutes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use provost_model::{Code, Digest, Labels};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::hub::Hub;
use crate::refusal::{Refusal, Result};
use crate::store::Actor;
use crate::store::identity::NewToken;

/// The longest life of an enrolment token.
pub const MAX_LIFE_S: u64 = 15 * 60;
const SECRET_BYTES: usize = 32;
const MAX_LABELS: usize = 32;
const MAX_NAME_BYTES: usize = 253;

#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Name that the cluster gets; empty: the agent's own.
    pub display_name: String,
    pub labels: Labels,
    /// None: the longest.
    pub life_s: Option<u64>,
}

/// What the operator's tool makes a token of; it adds the digest of the operator's own root.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    pub secret: Zeroizing<String>,
    pub trust_domain: String,
    /// SHA-256 of the CA certificate (DER).
    pub ca: Digest,
    /// Where agents reach the hub.
    pub hub_urls: Vec<String>,
    pub expires_at_ms: i64,
}

/// Makes a token; only the hash of its secret is kept.
pub async fn create(hub: &Hub, request: TokenRequest, actor: &Actor) -> Result<CreatedToken> {
    let TokenRequest { display_name, labels, life_s } = request;
    let life_s = life_s.unwrap_or(MAX_LIFE_S);
    if life_s == 0 || life_s > MAX_LIFE_S {
        return Err(Refusal::new(Code::Invalid, format!("a token lives 1 to {MAX_LIFE_S} s")));
    }
    if labels.len() > MAX_LABELS || display_name.len() > MAX_NAME_BYTES {
        return Err(Refusal::new(
            Code::Limit,
            format!("at most {MAX_LABELS} labels and {MAX_NAME_BYTES} bytes of name"),
        ));
    }
    let secret = draw_secret();
    let now_ms = hub.clock.wall_ms();
    let expires_at_ms = now_ms.saturating_add_unsigned(life_s * 1000);
    let token =
        NewToken { token: Digest::of(secret.as_bytes()), display_name, labels, expires_at_ms };
    hub.store.create_token(&token, actor, now_ms).await?;
    Ok(CreatedToken {
        secret,
        trust_domain: hub.trust_domain.to_string(),
        ca: Digest::from_bytes(hub.keys.ca.sha256()),
        hub_urls: hub.agent_urls(),
        expires_at_ms,
    })
}

fn draw_secret() -> Zeroizing<String> {
    let bytes: Zeroizing<[u8; SECRET_BYTES]> = Zeroizing::new(rand::random());
    Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]))
}
