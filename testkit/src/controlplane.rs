//! A real Kubernetes control plane for a test: the cluster of `KUBECONFIG` or the binaries of
//! `KUBEBUILDER_ASSETS` where they are set, else `testkit/controlplane`.

mod assets;
mod choice;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

use self::assets::Assets;
use self::choice::{Choice, Wishes};
use crate::available;

/// Lives as long as this value; its folder goes with it.
pub struct ControlPlane {
    kubeconfig: PathBuf,
    own: Option<Own>,
    /// Of a shared cluster: one test at a time, because manifests name their namespaces.
    _turn: Option<File>,
}

struct Own {
    program: Program,
    folder: TempDir,
    running: Option<Running>,
}

enum Program {
    /// etcd and API server in one.
    One(PathBuf),
    Assets(Assets),
}

enum Running {
    One(Child),
    Assets(assets::Running),
}

impl ControlPlane {
    /// None where there is no control plane to be had; that has been said then.
    pub fn start() -> anyhow::Result<Option<Self>> {
        let (choice, said) = Wishes::of_environment().choose()?;
        if let Some(said) = said {
            available::say(&said);
        }
        let bin = match choice {
            Choice::Kubeconfig(kubeconfig) => {
                let turn = std::env::temp_dir().join("provost-test-cluster.lock");
                let turn = File::create(turn).context("a lock")?;
                turn.lock().context("a turn on the shared cluster")?;
                return Ok(Some(Self { kubeconfig, own: None, _turn: Some(turn) }));
            }
            Choice::Assets(bin) => Some(bin),
            Choice::Own => None,
        };
        let folder = tempfile::tempdir().context("a folder for the control plane")?;
        let program = match bin {
            Some(bin) => Program::Assets(Assets::prepare(&bin, folder.path())?),
            None => {
                let found =
                    available::from_environment("PROVOST_CONTROLPLANE", "a real API server");
                let Some(program) = found else { return Ok(None) };
                Program::One(program)
            }
        };
        let running = Some(program.start(folder.path())?);
        let kubeconfig = folder.path().join("kubeconfig");
        Ok(Some(Self { kubeconfig, own: Some(Own { program, folder, running }), _turn: None }))
    }

    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Others use it too: it holds more than one test's objects, and is left as it was found.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.own.is_none()
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
        own.running = Some(own.program.start(own.folder.path())?);
        Ok(())
    }
}

/// A client with everything allowed.
pub async fn client(plane: &ControlPlane) -> anyhow::Result<kube::Client> {
    client_of(plane.kubeconfig()).await
}

/// A client of the account that the file names.
pub async fn client_of(kubeconfig: &Path) -> anyhow::Result<kube::Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

impl Program {
    fn start(&self, folder: &Path) -> anyhow::Result<Running> {
        Ok(match self {
            Self::One(program) => Running::One(spawn(program, folder)?),
            Self::Assets(assets) => Running::Assets(assets.start(folder)?),
        })
    }
}

impl Own {
    fn stop(&mut self) {
        match self.running.take() {
            Some(Running::One(mut child)) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Some(Running::Assets(running)) => running.stop(),
            None => {}
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
    let log = File::create(folder.join("log")).context("the control plane's log")?;
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
