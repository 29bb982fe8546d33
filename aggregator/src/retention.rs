//! Forgets, every hour, what nobody needs any more: nonces, certificates, sessions and tokens that are long over.
//! Evidence stays: that is for people to take away.

use std::sync::Arc;
use std::time::Duration;

use provost_runtime::shutdown::Shutdown;

use crate::hub::Hub;
use crate::store::Result;
use crate::store::retention::{Cutoffs, Swept};

const EVERY: Duration = Duration::from_secs(3600);
const DAY_MS: i64 = 86_400_000;
/// A re-entry that is shown again after this is found out by its join counter.
const REENTRY_NONCE_DAYS: i64 = 30;
/// As long as an agent may come back without a person after its certificate expired.
const CERTIFICATE_DAYS: i64 = 30;
/// People ask what became of a token for about as long.
const TOKEN_DAYS: i64 = 90;

/// Sweeps at once and every hour, until shutdown.
pub async fn keep(hub: Arc<Hub>, shutdown: Shutdown) {
    loop {
        let swept = shutdown.or(sweep(&hub)).await;
        match swept {
            None => break,
            Some(Ok(swept)) if swept == Swept::default() => {}
            Some(Ok(swept)) => {
                let Swept { reentry_nonces, certificates, sessions, tokens } = swept;
                tracing::info!(
                    reentry_nonces,
                    certificates,
                    sessions,
                    tokens,
                    "forgot what was over"
                );
            }
            // The next hour tries again; nothing depends on it.
            Some(Err(error)) => tracing::warn!(%error, "could not forget what is over"),
        }
        if shutdown.or(tokio::time::sleep(EVERY)).await.is_none() {
            break;
        }
    }
}

/// All that is due by the hub's clock.
pub async fn sweep(hub: &Hub) -> Result<Swept> {
    let mut total = Swept::default();
    loop {
        let swept = hub.store.sweep(&cutoffs(hub.clock.wall_ms())).await?;
        total.reentry_nonces += swept.reentry_nonces;
        total.certificates += swept.certificates;
        total.sessions += swept.sessions;
        total.tokens += swept.tokens;
        if !swept.is_full() {
            return Ok(total);
        }
        tokio::task::yield_now().await;
    }
}

const fn cutoffs(now_ms: i64) -> Cutoffs {
    Cutoffs {
        reentry_nonces_ms: now_ms - REENTRY_NONCE_DAYS * DAY_MS,
        certificates_ms: now_ms - CERTIFICATE_DAYS * DAY_MS,
        sessions_ms: now_ms,
        tokens_ms: now_ms - TOKEN_DAYS * DAY_MS,
    }
}
