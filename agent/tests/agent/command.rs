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

/// Guarantee: a kubeconfig that is not there, is none, or names a file that is not there ends the agent before anything
/// is touched, with the line of the settings, the path and the cause.
#[test]
fn a_kubeconfig_that_cannot_be_used_ends_with_2() {
    const LACKS_CA: &str = "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], \
        clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority: /nowhere/ca.pem}}], users: [{name: u, user: {}}]}";
    let folder = tempfile::tempdir().unwrap();
    let text = "data_dir: data\nsource:\n  cluster:\n    kubeconfig: kube.yaml\n";
    std::fs::write(folder.path().join("agent.yaml"), text).unwrap();
    for (kubeconfig, cause) in [
        (None, "No such file or directory"),
        (Some("kind: ["), "kube.yaml"),
        (Some(LACKS_CA), "/nowhere/ca.pem"),
    ] {
        if let Some(text) = kubeconfig {
            std::fs::write(folder.path().join("kube.yaml"), text).unwrap();
        }
        let output = run(&["run", "--config", "agent.yaml"], folder.path());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("agent.yaml:4") && error.contains("kube.yaml"), "{error}");
        assert!(error.contains(cause), "{error}");
        assert!(!folder.path().join("data").exists(), "nothing was touched");
    }
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
    let (hub, agent) = enrolled(folder.path()).await;
    // By which the hub knows it.
    let key = *hub.state().members.keys().next().unwrap();
    let status = |running: bool| {
        let output = run(&["status", "--data-dir", "data", "-o", "json"], folder.path());
        assert!(output.status.success(), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["running"], running);
        assert_eq!(json["enrolment"], "enrolled");
        assert_eq!(json["identityKey"], key.to_string());
        json
    };
    let output = run(&["status", "--data-dir", "data"], folder.path());
    let text = String::from_utf8(output.stdout).unwrap();
    let shown = text.lines().find(|line| line.starts_with("Identity"));
    assert!(shown.is_some_and(|line| line.ends_with(&key.to_string())), "{text}");
    assert_eq!(status(true)["link"]["connected"], true);
    agent.stop().await;
    assert_eq!(status(false)["cluster"], "09".repeat(16));
}
