//! Bundles that were prepared once for several agents of one process.
//!
//! What is compiled knows the id and labels of the cluster it was compiled for, so that only agents
//! that evaluate nothing may share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use provost_model::Digest;
use tokio::sync::OnceCell;

use super::Prepared;

/// Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Shared {
    by_manifest: Arc<Mutex<HashMap<Digest, Arc<OnceCell<Prepared>>>>>,
}

impl Shared {
    /// What was prepared for this manifest; else the outcome of `prepare`, kept when it is good.
    pub(super) async fn once<E>(
        &self,
        manifest: Digest,
        prepare: impl Future<Output = Result<Prepared, E>>,
    ) -> Result<Prepared, E> {
        let cell = {
            let mut all = self.by_manifest.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(manifest).or_default())
        };
        cell.get_or_try_init(|| prepare).await.cloned()
    }
}
