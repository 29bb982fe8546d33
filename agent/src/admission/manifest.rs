//! `provost-agent webhook-manifest`: the registration for the API server, from the data folder.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use provost_engine::CompiledSet;
use provost_model::record::{BundleRecord, ClockQuality, SnapshotReason, TrustRecord};
use provost_runtime::clock::{Clock as _, System};

use super::door::FOLDER;
use super::{Certificate, Endpoint, Registration};
use crate::cli::SettingsFlags;
use crate::config::Settings;
use crate::report::Journal;
use crate::run;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    settings: SettingsFlags,
    /// Namespace of the agent's Service; it is excluded, so that the agent can always be mended.
    #[arg(long, default_value = "provost-system")]
    namespace: String,
    /// Name of the agent's Service.
    #[arg(long, default_value = "provost-agent")]
    service: String,
    /// Port of the agent's Service.
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// Ask at this address instead of a Service.
    #[arg(long, value_name = "URL", conflicts_with_all = ["service", "port"])]
    url: Option<String>,
    /// A further namespace that is never asked about; may be repeated.
    #[arg(long = "exclude-namespace", value_name = "NAME", default_value = "kube-system")]
    excluded: Vec<String>,
}

impl Arguments {
    /// Prints it; true when it was printed.
    pub async fn run(&self) -> anyhow::Result<bool> {
        let overrides = self.settings.overrides();
        let file = self.settings.config.as_deref();
        let settings: Settings = provost_runtime::config::load(file, &overrides)?;
        let admission = settings.admission.unwrap_or_default();
        let now = i64::try_from(System::new().wall_secs())?;
        let folder = settings.data_dir.join(FOLDER);
        let certificate = Certificate::load_or_create(&folder, &admission.names, now)?;
        let set = run::last_good_set(&settings.data_dir, Arc::new(Silent)).await?;
        let set = set.with_context(|| {
            format!(
                "there is no bundle in {} yet: enrol the agent first",
                settings.data_dir.display()
            )
        })?;
        print(&self.registration(&certificate), &set)?;
        Ok(true)
    }

    fn registration(&self, certificate: &Certificate) -> Registration {
        let endpoint = match &self.url {
            Some(url) => Endpoint::Url(url.clone()),
            None => Endpoint::Service {
                namespace: self.namespace.clone(),
                name: self.service.clone(),
                port: self.port,
            },
        };
        let mut excluded_namespaces = vec![self.namespace.clone()];
        excluded_namespaces.extend(self.excluded.iter().cloned());
        Registration { endpoint, ca_pem: certificate.ca_pem().to_owned(), excluded_namespaces }
    }
}

fn print(registration: &Registration, set: &CompiledSet) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&registration.document(set))?);
    Ok(())
}

/// Loading a bundle to look at it is no event.
struct Silent;

#[async_trait]
impl Journal for Silent {
    async fn bundle(&self, _: BundleRecord) {}
    async fn trust(&self, _: TrustRecord) {}
    async fn clock(&self, _: i64, _: ClockQuality) {}
    async fn request_snapshot(&self, _: SnapshotReason) {}
}
