//! The process that starts the daemons of a demo, and that ends them whatever becomes of the demo.
//!
//! `provost demo` writes orders, one a line, to the keeper's standard input. When that closes, since the
//! demo is done, was interrupted or was killed, the keeper kills the daemons, waits for them and
//! removes the folder: one way to clean up, taken every time. It stands in a process group of its
//! own with the daemons, so that Ctrl-C reaches the demo alone.

use std::fs::{self, File};
use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::folder;
use crate::exit::Exit;

/// Which daemons ended by themselves: a line each.
const ENDED: &str = "ended";
/// Between two looks at the daemons.
const LOOK: Duration = Duration::from_millis(100);

/// What the demo asks of the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    Start(Start),
    /// In order, by SIGTERM; then there is a file of [`Order::stopped`].
    Stop {
        name: String,
    },
}

/// A daemon to start.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub log: PathBuf,
}

/// The demo's end of it.
pub struct Keeper {
    child: Child,
    orders: Orders,
}

/// Gives orders; any number may be held.
#[derive(Clone)]
pub struct Orders {
    pipe: Arc<Mutex<Option<ChildStdin>>>,
    folder: PathBuf,
}

impl Keeper {
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["demo", "--keep"])
            .arg(folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the keeper of the daemons")?;
        let pipe = Arc::new(Mutex::new(child.stdin.take()));
        Ok(Self { child, orders: Orders { pipe, folder: folder.to_owned() } })
    }

    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }
}

impl Drop for Keeper {
    /// Returns when daemons and folder are gone.
    fn drop(&mut self) {
        self.orders.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.child.wait();
    }
}

impl Orders {
    pub fn give(&self, order: &Order) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = pipe.as_mut().context("the demo is ending")?;
        pipe.write_all(&line).context("the keeper of the daemons is gone")
    }

    /// Fails when a daemon has ended by itself.
    pub fn all_alive(&self) -> anyhow::Result<()> {
        match fs::read_to_string(self.folder.join(ENDED)) {
            Ok(ended) => bail!("{}", ended.trim()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context("the keeper of the daemons cannot be asked"),
        }
    }
}

/// The keeper itself, until its standard input closes.
pub fn keep(folder: &Path) -> anyhow::Result<Exit> {
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines();
        lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut daemons: Vec<Daemon> = Vec::new();
    loop {
        match orders.recv_timeout(LOOK) {
            Ok(line) => {
                if let Err(error) = obey(&line, &mut daemons, folder) {
                    tell(folder, &format!("{error:#}"));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        daemons.retain_mut(|daemon| match daemon.child.try_wait() {
            Ok(Some(status)) => {
                tell(folder, &format!("{} ended by itself ({status})", daemon.name));
                false
            }
            _ => true,
        });
    }
    drop(daemons);
    folder::remove(folder)?;
    Ok(Exit::Clean)
}

fn obey(line: &str, daemons: &mut Vec<Daemon>, folder: &Path) -> anyhow::Result<()> {
    match serde_json::from_str(line).context("an order that nobody can read")? {
        Order::Start(start) => {
            let daemon = Daemon::start(start)?;
            fs::write(Order::pid(folder, &daemon.name), daemon.child.id().to_string())?;
            daemons.push(daemon);
        }
        Order::Stop { name } => {
            let place = daemons.iter().position(|daemon| daemon.name == name);
            let mut daemon = daemons.remove(place.context("no such daemon")?);
            kill_process(Pid::from_child(&daemon.child), Signal::TERM)?;
            daemon.child.wait()?;
            File::create(Order::stopped(folder, &name))?;
        }
    }
    Ok(())
}

impl Order {
    /// The file that says that a daemon was stopped.
    pub fn stopped(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.stopped"))
    }

    /// The file that says which process a daemon is.
    pub fn pid(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.pid"))
    }
}

struct Daemon {
    name: String,
    child: Child,
}

impl Daemon {
    fn start(order: Start) -> anyhow::Result<Self> {
        let Start { name, program, arguments, log } = order;
        let child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::options().create(true).append(true).open(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name, child })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By a file: nobody may read a pipe any more, and writing to it would end the keeper too early.
fn tell(folder: &Path, text: &str) {
    let file = File::options().create(true).append(true).open(folder.join(ENDED));
    if let Ok(mut file) = file {
        let _ = writeln!(file, "{text}");
    }
}
