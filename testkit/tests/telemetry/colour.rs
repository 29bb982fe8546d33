//! Escape codes: on a terminal that wants them, and nowhere else.

use std::process::{Command, Stdio};

use provost_testkit::available;
use provost_testkit::processes::{Daemon, program};
use serde_json::{Value, json};

use super::fleet::{pod, until};

const ESCAPE: char = '\u{1b}';
/// Gives the words after it a terminal, and shows on standard error what it shows.
const TERMINAL: &[&str] = &["sh", "-c", r#"exec script -qefc "$*" /dev/null 1>&2"#, "sh"];
const COLOUR: &[&str] = &["env", "-u", "NO_COLOR", "TERM=xterm"];
const NO_COLOR: &[&str] = &["env", "NO_COLOR=1", "TERM=xterm"];
const DUMB: &[&str] = &["env", "-u", "NO_COLOR", "TERM=dumb"];

/// Whether there is a program that makes a terminal.
fn has_terminal() -> bool {
    let found = Command::new("script").arg("--version").stdout(Stdio::null()).status().is_ok();
    found || available::left_out::<()>("a terminal for the programs (script)").is_some()
}

/// What a daemon logs until it says `word`, started so.
fn logged(daemon: &str, settings: &Value, word: &str, start: &[&[&str]]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings.clone();
    settings["data_dir"] = json!(folder.path().join("data"));
    let mut daemon = Daemon::new(daemon, &folder.path().join("data"), &settings);
    daemon.start_under(&start.concat());
    until("the daemon logs", || {
        let log = daemon.log();
        if log.contains(word) { Ok(log) } else { Err(log) }
    })
}

/// Guarantee: the logs of both daemons for people have colours on a terminal; none with `NO_COLOR`, on a terminal that
/// has none, into a file, or as JSON.
#[test]
fn logs_have_colours_on_a_terminal_that_wants_them() {
    if !has_terminal() {
        return;
    }
    let any = "127.0.0.1:0";
    let manifests = tempfile::tempdir().unwrap();
    let hub = json!({"agents": {"listen": any}, "api": {"listen": any}, "admin": {"listen": any}});
    let agent = json!({
        "name": "edge", "admin": {"listen": any},
        "source": {"manifests": {"dir": manifests.path()}},
        // Nobody listens there, which is said.
        "hubs": ["https://127.0.0.1:9"],
    });
    for (daemon, settings, word) in [
        ("provost-aggregator", hub, "the hub listens"),
        ("provost-agent", agent, "no session with the hub"),
    ] {
        let log = |format: &str, start: &[&[&str]]| {
            let mut settings = settings.clone();
            settings["log"] = json!({"format": format});
            logged(daemon, &settings, word, start)
        };
        for format in ["auto", "human"] {
            let coloured = log(format, &[COLOUR, TERMINAL]);
            assert!(coloured.contains(ESCAPE), "{daemon}, {format}: {coloured}");
        }
        for (format, start) in [
            ("auto", &[NO_COLOR, TERMINAL][..]),
            ("auto", &[DUMB, TERMINAL]),
            ("json", &[COLOUR, TERMINAL]),
            ("auto", &[COLOUR]),
            ("human", &[COLOUR]),
        ] {
            let plain = log(format, start);
            assert!(!plain.contains(ESCAPE), "{daemon}, {format}, {start:?}: {plain}");
        }
    }
}

/// Guarantee: as for the logs, for each of the two streams of `provost` by itself; `--color` decides over all.
#[test]
fn the_command_has_colours_where_a_stream_is_a_terminal_that_wants_them() {
    if !has_terminal() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    std::fs::write(folder.path().join("web.yaml"), pod("web", true)).unwrap();
    // One that is a problem, which is told on standard error.
    std::fs::write(folder.path().join("broken.yaml"), "a: [\n").unwrap();
    let program = program("provost");
    let run = |start: &[&str], color: &str, rest: &str| {
        let line = format!("{} --color {color} scan . {rest}", program.display());
        let words = [start, TERMINAL, &[&line]].concat();
        let output = Command::new(words[0])
            .args(&words[1..])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert!(shown.contains("web") || shown.contains("broken"), "{shown}");
        shown
    };
    let coloured = |text: &str| text.contains(ESCAPE);
    assert!(coloured(&run(COLOUR, "auto", "")));
    assert!(coloured(&run(NO_COLOR, "always", "")));
    for (start, color) in [(NO_COLOR, "auto"), (DUMB, "auto"), (COLOUR, "never")] {
        let shown = run(start, color, "");
        assert!(!coloured(&shown), "{start:?} --color {color}: {shown}");
    }
    assert!(coloured(&run(COLOUR, "auto", "2>errors")));
    let errors = file("errors");
    assert!(errors.contains("broken.yaml") && !coloured(&errors), "{errors}");
    assert!(coloured(&run(COLOUR, "auto", ">findings")));
    let findings = file("findings");
    assert!(findings.contains("web.yaml") && !coloured(&findings), "{findings}");
}
