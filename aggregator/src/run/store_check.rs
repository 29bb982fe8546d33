//! Readiness follows the database.

use std::sync::Arc;
use std::time::Duration;

use provost_runtime::admin::Health;
use provost_runtime::shutdown::Shutdown;

use crate::hub::Hub;

const EVERY: Duration = Duration::from_secs(10);

/// Ready while the database answers.
pub async fn watch(hub: Arc<Hub>, health: Health, shutdown: Shutdown) {
    loop {
        match hub.store.roots_after(u64::MAX >> 1).await {
            Ok(_) => health.set("store", true, ""),
            Err(error) => health.set("store", false, error.to_string()),
        }
        if shutdown.or(tokio::time::sleep(EVERY)).await.is_none() {
            break;
        }
    }
}
