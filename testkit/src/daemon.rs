//! One of the three programs as a process, killed when its value is dropped.
#![expect(clippy::expect_used, reason = "what a test cannot set up fails the test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::wait::{now, until};

/// No step of a test waits longer.
pub const LIMIT: Duration = Duration::from_secs(90);
/// One of the daemons, running or not.
pub struct Daemon {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// How a daemon ended, and how long that took.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub took: Duration,
}

/// A program of this build, beside the tests.
///
/// # Panics
/// Where it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let path = test.ancestors().nth(2).expect("target/<profile>/deps/<test>").join(name);
    assert!(path.is_file(), "{} is missing: `make build` makes it", path.display());
    path
}

impl Daemon {
    /// Its settings and its log stand beside `folder`.
    #[must_use]
    pub fn new(name: &str, folder: &Path, settings: &Value) -> Self {
        let config = folder.with_extension("yaml");
        fs::write(&config, settings.to_string()).expect("settings are written");
        Self { program: program(name), config, log: folder.with_extension("log"), child: None }
    }

    /// # Panics
    /// Where the program cannot be started.
    pub fn start(&mut self) {
        self.start_under(&[]);
    }

    /// As `command... program run --config FILE`, such as under another user.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start_under(&mut self, command: &[&str]) {
        let mut log = File::options();
        let log = log.create(true).append(true).open(&self.log).expect("a log");
        let mut words: Vec<&std::ffi::OsStr> = command.iter().map(AsRef::as_ref).collect();
        words.extend([self.program.as_os_str(), "run".as_ref(), "--config".as_ref()]);
        words.push(self.config.as_os_str());
        let (first, rest) = words.split_first().expect("a program");
        let child = Command::new(first)
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.child = Some(child);
    }

    /// kill -9. Nothing where it does not run.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let Some(child) = &self.child else { return };
        let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal {name}");
    }

    /// Asks it to end, and waits for it.
    pub fn stop(&mut self) -> Ended {
        let begun = now();
        self.signal("TERM");
        Ended { status: self.ended(LIMIT), took: begun.elapsed() }
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        let status = until("the process ends", limit, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        self.child = None;
        status
    }

    /// The file of its settings.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// True as long as it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log, for a message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
