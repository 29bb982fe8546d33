//! The program itself: exit codes and what it prints.

use std::path::Path;
use std::process::{Command, Output};

use super::enrolled;

fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_provost-agent"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn wrong_settings_end_with_2_and_say_where() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("agent.yaml"), "name: a\nhearbeat: 3\n").unwrap();
    let output = run(&["run", "--config", "agent.yaml"], folder.path());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("agent.yaml:2:1") && error.contains("hearbeat"), "{error}");
    let output = run(&["run", "--data-dir", "data"], folder.path());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("source: "), "{error}");
}

#[test]
fn a_wrong_call_is_2_and_what_cannot_be_done_is_3() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("agent.yaml"), "admission: {}\n").unwrap();
    std::fs::write(folder.path().join("wrong.yaml"), "hearbeat: 3\n").unwrap();
    for (command, config, code) in [
        ("status", "wrong.yaml", 2),
        ("status", "nowhere.yaml", 2),
        ("webhook-manifest", "wrong.yaml", 2),
        ("webhook-manifest", "agent.yaml", 3),
    ] {
        let output = run(&[command, "--config", config, "--data-dir", "data"], folder.path());
        assert_eq!(output.status.code(), Some(code), "{command} {config}: {output:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_provost-agent"))
        .args(["status", "--data-dir", "data"])
        .current_dir(folder.path())
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(1), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_works_with_and_without_a_running_agent() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["status", "--data-dir", "data"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    let (_hub, agent) = enrolled(folder.path()).await;
    let status = |running: bool| {
        let output = run(&["status", "--data-dir", "data", "-o", "json"], folder.path());
        assert!(output.status.success(), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["running"], running);
        assert_eq!(json["enrolment"], "enrolled");
        json
    };
    assert_eq!(status(true)["link"]["connected"], true);
    agent.stop().await;
    assert_eq!(status(false)["cluster"], "09".repeat(16));
}
