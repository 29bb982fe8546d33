//! Opens the admission port: its certificate, and where others find it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use provost_engine::{CompiledSet, Evaluator};
use provost_runtime::admin::Health;
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::Registry;
use provost_runtime::tasks::Tasks;
use tokio::sync::watch;

use super::{Admission, Certificate, serve};
use crate::config;
use crate::disk;
use crate::ports::AdmissionPort;
use crate::report::Reporter;

/// In the data folder: where the admission port listens.
pub const ADDRESS_FILE: &str = "admission.addr";
/// In the data folder: the certificate.
pub const FOLDER: &str = "admission";

pub struct Door<'a> {
    pub settings: &'a config::Admission,
    pub port: AdmissionPort,
    pub data_dir: &'a Path,
    pub registry: &'a Registry,
    pub health: &'a Health,
    /// What certificates of clients are judged by.
    pub trusted: SharedClock,
    pub tasks: &'a Tasks,
}

impl Door<'_> {
    pub fn open(
        self,
        evaluator: Evaluator,
        sets: watch::Receiver<Arc<CompiledSet>>,
        reporter: Reporter,
        clock: SharedClock,
    ) -> anyhow::Result<()> {
        let AdmissionPort { listener, clients } = self.port;
        let address = listener.local_addr()?;
        let certificate =
            Certificate::load_or_create(&self.data_dir.join(FOLDER), &self.settings.names)?;
        let admission = Admission::new(evaluator, sets, Some(reporter), clock, self.registry)
            .for_clients(clients)
            .with_health(self.health.clone());
        serve(admission, listener, &certificate, self.trusted, self.tasks)?;
        let path = self.data_dir.join(ADDRESS_FILE);
        disk::replace(&path, format!("{address}\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        tracing::info!(%address, "admission reviews are answered");
        Ok(())
    }
}
