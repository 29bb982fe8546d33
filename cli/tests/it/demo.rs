//! Scenario: somebody ends `provost demo` in the middle of its story, gently or not. Guarantee: no
//! daemon and no folder stays behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Far more than any step takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Beside the program; where they are not, a test is left out, but not in CI.
pub fn are_daemons_built(program: &Path) -> bool {
    let missing = |name: &&str| !program.with_file_name(name).is_file();
    let Some(daemon) = ["provost-agent", "provost-aggregator"].into_iter().find(missing) else {
        return true;
    };
    println!("left out: {daemon} is not built");
    #[expect(clippy::disallowed_methods, reason = "CI is the machine's word")]
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "{daemon} is not built in CI");
    false
}

/// A demo whose temporary folder is a folder of the test.
struct Demo {
    child: Child,
    temporary: tempfile::TempDir,
}

impl Demo {
    /// None where the daemons were not built beside the program.
    fn start(temporary: tempfile::TempDir) -> Option<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_provost"));
        if !are_daemons_built(program) {
            return None;
        }
        let child = Command::new(program)
            .arg("demo")
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, temporary })
    }

    /// Reads the story until a line contains `text`, and returns what was told so far.
    fn told(&mut self, text: &str) -> String {
        let mut story = BufReader::new(self.child.stdout.as_mut().unwrap());
        let mut told = String::new();
        while !told.contains(text) {
            let read = story.read_line(&mut told).unwrap();
            assert!(read > 0, "the demo ended before it said {text:?}:\n{told}");
        }
        told
    }

    fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait("the demo ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn left(&self) -> Vec<PathBuf> {
        fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Where the hub and an agent listen, once both do.
    fn addresses(&self) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        wait("hub and agent listen", || {
            found = self.left().iter().filter_map(|folder| listening(folder)).flatten().collect();
            found.len() == 2
        });
        found
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening(folder: &Path) -> Option<Vec<SocketAddr>> {
    let hub = fs::read(folder.join("hub/addresses.json")).ok()?;
    let hub: serde_json::Value = serde_json::from_slice(&hub).ok()?;
    let agent = fs::read_to_string(folder.join("cloud-eu/data/admin.addr")).ok()?;
    Some(vec![hub["api"].as_str()?.parse().ok()?, agent.trim().parse().ok()?])
}

fn answers(address: &SocketAddr) -> bool {
    TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok()
}

#[expect(clippy::disallowed_methods, reason = "how long to wait for another process")]
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ctrl_c_in_the_story_ends_everything() {
    let Some(mut demo) = Demo::start(tempfile::tempdir().unwrap()) else { return };
    demo.told("Six clusters enrol");
    let addresses = demo.addresses();
    assert!(addresses.iter().all(answers), "{addresses:?}");
    demo.signal("INT");
    assert_eq!(demo.ended().code(), Some(130));
    // It returned, so everything is gone already.
    assert_eq!(demo.left(), Vec::<PathBuf>::new());
    assert!(!addresses.iter().any(answers), "{addresses:?}");
}

#[test]
fn a_demo_ends_at_its_first_word_and_sweeps_what_a_dead_one_left() {
    let temporary = tempfile::tempdir().unwrap();
    let dead = temporary.path().join("provost-demo-dead");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("demo.lock"), "").unwrap();
    let foreign = temporary.path().join("somebody-elses");
    fs::create_dir(&foreign).unwrap();
    let Some(mut demo) = Demo::start(temporary) else { return };
    demo.told("provost-demo-dead");
    demo.signal("TERM");
    assert_eq!(demo.ended().code(), Some(143));
    assert_eq!(demo.left(), [foreign]);
}

#[test]
fn a_killed_demo_takes_its_daemons_with_it() {
    let Some(mut demo) = Demo::start(tempfile::tempdir().unwrap()) else { return };
    demo.told("Six clusters enrol");
    let addresses = demo.addresses();
    demo.signal("KILL");
    assert_eq!(demo.ended().signal(), Some(9));
    wait("the daemons end", || !addresses.iter().any(answers));
    wait("the folder goes", || demo.left().is_empty());
}

#[test]
fn only_a_check_has_a_result_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let said = crate::program::provost(folder.path(), &["demo", "-o", "json"], "");
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
    assert!(said.err.contains("--check"), "{}", said.err);
}
