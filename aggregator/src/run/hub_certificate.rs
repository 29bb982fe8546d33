//! The hub's own certificate on the agent listener: a fresh one at each start, and another at half of its life.

use std::sync::Arc;
use std::time::Duration;

use provost_runtime::pki::{self, TlsKey, Usage, Validity};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::tls::{self, CertificateSlot};

use crate::hub::Hub;

/// Renewed at half of it.
const LIFE_S: i64 = 30 * 86_400;
/// How often its age is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot issue the hub's certificate")]
    Pki(#[from] pki::Error),
    #[error("cannot use the hub's certificate")]
    Tls(#[from] tls::Error),
}

/// A fresh key and certificate, with the CA beside it.
pub fn first(hub: &Hub) -> Result<CertificateSlot, Error> {
    let slot = CertificateSlot::empty();
    renew(hub, &slot)?;
    Ok(slot)
}

/// Connections that are open go on with the old one.
fn renew(hub: &Hub, slot: &CertificateSlot) -> Result<(), Error> {
    let ca = &hub.keys.ca;
    let key = TlsKey::generate()?;
    let usage = Usage::Hub { trust_domain: hub.trust_domain.clone() };
    let validity = Validity::from_now(hub.clock.wall_ms() / 1000, LIFE_S);
    let issued = ca.issue_own(&key, &usage, validity)?;
    slot.replace(vec![issued.certificate, ca.certificate().clone()], &key)?;
    Ok(())
}

/// Replaces the hub's certificate at half of its life, until shutdown. Goes by the wall clock, which somebody may set.
pub async fn keep(hub: Arc<Hub>, slot: CertificateSlot, shutdown: Shutdown) -> Result<(), Error> {
    let mut issued_ms = hub.clock.wall_ms();
    while shutdown.sleep(LOOK_EVERY).await {
        let now_ms = hub.clock.wall_ms();
        if now_ms.abs_diff(issued_ms) >= LIFE_S.unsigned_abs() * 1000 / 2 {
            renew(&hub, &slot)?;
            issued_ms = now_ms;
        }
    }
    Ok(())
}
