//! Which API server a test uses: the one of `KUBECONFIG`, the binaries of `KUBEBUILDER_ASSETS`, or
//! `testkit/controlplane`.
//!
//! Invariant: the tests register a webhook and apply hundreds of objects, so a cluster beyond this
//! machine is used only where `PROVOST_TEST_CLUSTER=KUBECONFIG` says so. `PROVOST_TEST_CLUSTER=own` uses
//! no `KUBECONFIG` at all.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use kube::config::Kubeconfig;

use crate::available;

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub kubeconfig: Option<String>,
    pub assets: Option<String>,
    /// `PROVOST_TEST_CLUSTER`
    pub cluster: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Kubeconfig(PathBuf),
    Assets(PathBuf),
    Own,
}

impl Wishes {
    pub fn of_environment() -> Self {
        Self {
            kubeconfig: available::setting("KUBECONFIG"),
            assets: available::setting("KUBEBUILDER_ASSETS"),
            cluster: available::setting("PROVOST_TEST_CLUSTER"),
        }
    }

    /// With what is to be said about it.
    pub fn choose(&self) -> anyhow::Result<(Choice, Option<String>)> {
        let whatever = match self.cluster.as_deref() {
            None => false,
            Some("KUBECONFIG") => true,
            Some("own") => return Ok((self.without_kubeconfig(), None)),
            Some(other) => bail!("PROVOST_TEST_CLUSTER is {other}: it may be KUBECONFIG or own"),
        };
        let Some(path) = &self.kubeconfig else {
            if whatever {
                bail!("PROVOST_TEST_CLUSTER=KUBECONFIG, and KUBECONFIG is not set");
            }
            return Ok((self.without_kubeconfig(), None));
        };
        if path.contains(':') {
            bail!("KUBECONFIG names several files, the tests take one: {path}");
        }
        let path = PathBuf::from(path);
        let server = server(&path)?;
        if whatever || on_loopback(&server) {
            let said = format!("tests use the API server of KUBECONFIG: {server}");
            return Ok((Choice::Kubeconfig(path), Some(said)));
        }
        let said = format!(
            "not used: KUBECONFIG, whose server {server} is not on this machine; the tests \
             register a webhook and apply hundreds of objects, so say PROVOST_TEST_CLUSTER=KUBECONFIG if it \
             may be used"
        );
        Ok((self.without_kubeconfig(), Some(said)))
    }

    fn without_kubeconfig(&self) -> Choice {
        self.assets.as_ref().map_or(Choice::Own, |folder| Choice::Assets(folder.into()))
    }
}

/// Of the current context.
fn server(path: &std::path::Path) -> anyhow::Result<String> {
    let named = || format!("KUBECONFIG {}", path.display());
    let file = Kubeconfig::read_from(path).with_context(named)?;
    let context = file.current_context.as_deref().unwrap_or_default();
    let context = file.contexts.iter().find(|named| named.name == context);
    let cluster = context.and_then(|named| named.context.as_ref()).map(|found| &found.cluster);
    let cluster = file.clusters.iter().find(|named| Some(&named.name) == cluster);
    cluster
        .and_then(|named| named.cluster.as_ref()?.server.clone())
        .with_context(|| format!("{} has no current context with a server", named()))
}

fn on_loopback(server: &str) -> bool {
    let authority = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(folder: &tempfile::TempDir, server: &str) -> String {
        let path = folder.path().join("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: b\n\
             clusters:\n- {{name: a, cluster: {{server: 'https://127.0.0.1:1'}}}}\n\
             - {{name: c, cluster: {{server: '{server}'}}}}\n\
             contexts:\n- {{name: b, context: {{cluster: c, user: u}}}}\n\
             users:\n- {{name: u, user: {{token: t}}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    #[test]
    fn a_cluster_on_this_machine_is_used_and_another_must_be_meant() {
        let folder = tempfile::tempdir().unwrap();
        let assets = Some("/assets".to_owned());
        let given = |server: &str, cluster: Option<&str>| {
            let kubeconfig = Some(kubeconfig(&folder, server));
            let cluster = cluster.map(str::to_owned);
            Wishes { kubeconfig, assets: assets.clone(), cluster }.choose().unwrap()
        };
        let used = Choice::Kubeconfig(folder.path().join("config"));
        for server in [
            "https://127.0.0.1:6443",
            "https://localhost:6443/",
            "https://[::1]:1",
            "http://127.9.9.9",
        ] {
            assert_eq!(given(server, None).0, used, "{server}");
        }
        for server in ["https://api.example:6443", "https://10.0.0.1", "https://localhost.example"]
        {
            let (choice, said) = given(server, None);
            assert_eq!(choice, Choice::Assets("/assets".into()), "{server}");
            assert!(said.unwrap().contains("PROVOST_TEST_CLUSTER=KUBECONFIG"));
            assert_eq!(given(server, Some("KUBECONFIG")).0, used, "{server}");
        }
        assert_eq!(given("https://127.0.0.1:1", Some("own")).0, Choice::Assets("/assets".into()));
    }

    #[test]
    fn nothing_set_means_our_own_and_a_wrong_wish_is_an_error() {
        assert_eq!(Wishes::default().choose().unwrap(), (Choice::Own, None));
        let wish = |cluster: &str| Wishes { cluster: Some(cluster.into()), ..Wishes::default() };
        assert!(wish("KUBECONFIG").choose().is_err(), "none is set");
        assert!(wish("other").choose().is_err());
    }
}
