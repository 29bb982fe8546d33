//! The roots that the hub knows, as they were published.

use provost_proto::session::MAX_ROOTS;
use provost_trust::{Envelope, TrustedRoot};

use crate::hub::Hub;
use crate::refusal::Result;

/// Envelopes of roots that are known here and newer than `version`.
pub async fn after(hub: &Hub, version: u64) -> Result<Vec<Envelope>> {
    let rows = hub.store.roots_after(version).await?;
    rows.iter().map(|row| Ok(Envelope::from_json(row.envelope.as_bytes())?)).collect()
}

/// As many as an agent takes at once of those that follow `version`: the rest it gets with its next session.
pub async fn following(hub: &Hub, version: u64) -> Result<Vec<Envelope>> {
    let mut roots = after(hub, version).await?;
    roots.truncate(MAX_ROOTS);
    Ok(roots)
}

/// The newest, as many as an agent takes at once: of whom it is not known which one it holds.
pub async fn latest(hub: &Hub) -> Result<Vec<Envelope>> {
    let mut roots = after(hub, 0).await?;
    Ok(roots.split_off(roots.len().saturating_sub(MAX_ROOTS)))
}

/// None before the first one came.
pub async fn newest(hub: &Hub) -> Result<Option<TrustedRoot>> {
    let roots = after(hub, 0).await?;
    let Some((first, rest)) = roots.split_first() else { return Ok(None) };
    Ok(Some(TrustedRoot::from_operator(first)?.follow(rest)?))
}
