//! What the settings name outside the data folder, found usable before anything is touched: the listeners, the
//! directory to watch, and the kubeconfig with the files that it names.

use std::path::Path;

use provost_runtime::config::{Error, rule};
use provost_runtime::{admin, tls};
use tokio::net::TcpListener;

use crate::cluster;
use crate::config::{self, Config, Manifests, Source};

/// Bound listeners.
#[derive(Debug)]
pub struct Ports {
    pub admin: TcpListener,
    /// None: the agent answers no admission reviews.
    pub admission: Option<AdmissionPort>,
}

/// Where the API server asks, and who may.
#[derive(Debug)]
pub struct AdmissionPort {
    pub listener: TcpListener,
    pub clients: tls::Clients,
}

impl Ports {
    /// # Errors
    /// Name the setting that cannot be used.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        check_folders(config)?;
        check_kubeconfig(config).await?;
        let in_use = |key: &str, address, error: std::io::Error| {
            rule(key, format!("cannot listen on {address}: {error}"))
        };
        let address = config.admin_listen;
        let admin =
            admin::bind(address).await.map_err(|error| in_use("admin.listen", address, error))?;
        let Some(config::Admission { listen, client_ca_file, .. }) = &config.admission else {
            return Ok(Self { admin, admission: None });
        };
        let clients = clients(client_ca_file.as_deref())?;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| in_use("admission.listen", *listen, error))?;
        Ok(Self { admin, admission: Some(AdmissionPort { listener, clients }) })
    }
}

fn check_folders(config: &Config) -> Result<(), Error> {
    if let Source::Manifests(Manifests { dir, .. }) = &config.source
        && !dir.is_dir()
    {
        let what = format!("{} is not a directory: create it or correct this", dir.display());
        return Err(rule("source.manifests.dir", what));
    }
    let exists = |path: &&Path| path.try_exists().unwrap_or(true);
    let nearest = config.data_dir.ancestors().find(exists).unwrap_or(Path::new("."));
    if !nearest.as_os_str().is_empty() && !nearest.is_dir() {
        let what = format!("{} is not a directory", nearest.display());
        return Err(rule("data_dir", what));
    }
    Ok(())
}

/// Whether its API server answers is another matter, and no reason not to start.
async fn check_kubeconfig(config: &Config) -> Result<(), Error> {
    let Source::Cluster(config::Cluster { kubeconfig: Some(path) }) = &config.source else {
        return Ok(());
    };
    let settings = cluster::Settings { kubeconfig: Some(path.clone()), context: None };
    let read = settings.read().await.map_err(anyhow::Error::from);
    read.map(drop).map_err(|error| rule("source.cluster.kubeconfig", format!("{error:#}")))
}

/// A file that cannot be used is an error: to go on without it would let anybody ask.
fn clients(ca_file: Option<&Path>) -> Result<tls::Clients, Error> {
    let Some(path) = ca_file else { return Ok(tls::Clients::Anonymous) };
    let roots =
        config::certificates(path).map_err(|what| rule("admission.client_ca_file", what))?;
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
