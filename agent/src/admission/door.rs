//! Opens the admission port: its certificate, its listener, and where others find it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use provost_engine::{CompiledSet, Evaluator};
use provost_runtime::admin::Health;
use provost_runtime::clock::SharedClock;
use provost_runtime::metrics::Registry;
use provost_runtime::tasks::Tasks;
use provost_runtime::{pki, tls};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Admission, Certificate, serve};
use crate::config;
use crate::disk;
use crate::report::Reporter;

/// In the data folder: where the admission port listens.
pub const ADDRESS_FILE: &str = "admission.addr";
/// In the data folder: the certificate.
pub(super) const FOLDER: &str = "admission";

/// More than any list of CAs needs.
const MAX_CA_FILE_BYTES: u64 = 1024 * 1024;

pub struct Door<'a> {
    pub settings: &'a config::Admission,
    pub data_dir: &'a Path,
    pub registry: &'a Registry,
    pub health: &'a Health,
    pub tasks: &'a Tasks,
}

impl Door<'_> {
    pub async fn open(
        self,
        evaluator: Evaluator,
        sets: watch::Receiver<Arc<CompiledSet>>,
        reporter: Reporter,
        clock: SharedClock,
    ) -> anyhow::Result<()> {
        let config::Admission { listen, names, client_ca_file } = self.settings;
        let clients = clients(client_ca_file.as_deref())?;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen} (admission.listen)"))?;
        let address = listener.local_addr()?;
        let now = i64::try_from(clock.wall_secs()).unwrap_or(i64::MAX);
        let certificate = Certificate::load_or_create(&self.data_dir.join(FOLDER), names, now)?;
        let admission =
            Admission::new(evaluator, sets, Some(reporter), Arc::clone(&clock), self.registry)
                .for_clients(clients)
                .with_health(self.health.clone());
        serve(admission, listener, &certificate, clock, self.tasks)?;
        let path = self.data_dir.join(ADDRESS_FILE);
        disk::replace(&path, format!("{address}\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        tracing::info!(%address, "admission reviews are answered");
        Ok(())
    }
}

/// A file that cannot be used is an error: to go on without it would let anybody ask.
fn clients(ca_file: Option<&Path>) -> anyhow::Result<tls::Clients> {
    let Some(path) = ca_file else { return Ok(tls::Clients::Anonymous) };
    let unusable = || format!("cannot use {} (admission.client_ca_file)", path.display());
    let pem = disk::read_optional(path, MAX_CA_FILE_BYTES).with_context(unusable)?;
    let pem = String::from_utf8(pem.context("there is no such file").with_context(unusable)?);
    let roots = pki::certificates_from_pem(&pem.with_context(unusable)?).with_context(unusable)?;
    Ok(tls::Clients::Ca { roots })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_cannot_be_used_opens_no_door() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(matches!(clients(None), Ok(tls::Clients::Anonymous)));
        assert!(clients(Some(&path)).is_err());
        std::fs::write(&path, "no certificate").unwrap();
        assert!(clients(Some(&path)).is_err());
    }
}
