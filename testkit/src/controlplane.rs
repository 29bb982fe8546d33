//! A real Kubernetes control plane for a test: `testkit/controlplane`, or with
//! `PROVOST_TEST_CLUSTER=KUBECONFIG` the one that `KUBECONFIG` names.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

use crate::available;

/// Lives as long as this value; its folder goes with it.
pub struct ControlPlane {
    kubeconfig: PathBuf,
    own: Option<Own>,
}

struct Own {
    program: PathBuf,
    folder: TempDir,
    child: Option<Child>,
}

impl ControlPlane {
    /// None where there is no control plane to be had; that has been said then.
    pub fn start() -> anyhow::Result<Option<Self>> {
        // The tests make namespaces and register a webhook: a cluster that happens to be configured
        // is not touched unless that is said.
        let wanted = available::setting("PROVOST_TEST_CLUSTER").as_deref() == Some("KUBECONFIG");
        if let Some(kubeconfig) = available::setting("KUBECONFIG").filter(|_| wanted) {
            return Ok(Some(Self { kubeconfig: kubeconfig.into(), own: None }));
        }
        let Some(program) =
            available::from_environment("PROVOST_CONTROLPLANE", "a real API server")
        else {
            return Ok(None);
        };
        let folder = tempfile::tempdir().context("a folder for the control plane")?;
        let child = Some(spawn(&program, folder.path())?);
        let kubeconfig = folder.path().join("kubeconfig");
        Ok(Some(Self { kubeconfig, own: Some(Own { program, folder, child }) }))
    }

    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Stops the API server as a crash would. False where it is not ours to stop.
    pub fn kill(&mut self) -> bool {
        self.own.as_mut().is_some_and(|own| {
            own.stop();
            true
        })
    }

    /// Starts it again on the same data and port.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let Some(own) = &mut self.own else { bail!("not our control plane") };
        own.stop();
        own.child = Some(spawn(&own.program, own.folder.path())?);
        Ok(())
    }
}

/// A client with everything allowed.
pub async fn client(plane: &ControlPlane) -> anyhow::Result<kube::Client> {
    let file = Kubeconfig::read_from(plane.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

impl Own {
    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns once the API server answers. Its standard input is ours: when we die, it ends.
fn spawn(program: &Path, folder: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::create(folder.join("log")).context("the control plane's log")?;
    let mut child = Command::new(program)
        .arg("--data")
        .arg(folder)
        .arg("--exit-with-stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let output = child.stdout.take().context("its output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).context("its first line")?;
    if !line.starts_with("ready ") {
        let _ = child.kill();
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        let tail: Vec<_> = log.lines().rev().take(5).collect();
        bail!("the control plane did not become ready: {}", tail.join(" | "));
    }
    Ok(child)
}
