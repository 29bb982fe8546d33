//! What `provost fleet` makes of a hub's answers. The hub is one that says what it is told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::program::{Said, provost, write};
use crate::trust;

const CLUSTER: &str = "01010101010101010101010101010101";
const INSTANCE: &str = "02020202020202020202020202020202";

/// Answers so many requests and gives back their first lines.
pub fn hub(answers: Vec<(u16, String)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let one = |(status, body): (u16, String)| {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.trim().to_ascii_lowercase();
                if let Some(size) = line.strip_prefix("content-length: ") {
                    length = size.parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut sent = vec![0; length];
            reader.read_exact(&mut sent).unwrap();
            let size = if status == 204 {
                String::new()
            } else {
                format!("Content-Length: {}\r\n", body.len())
            };
            let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n{size}\r\n{body}");
            reader.get_mut().write_all(head.as_bytes()).unwrap();
            first.trim().to_owned()
        };
        answers.into_iter().map(one).collect()
    };
    (url, std::thread::spawn(serve))
}

fn clusters() -> (u16, String) {
    (200, json!({"items": [{"id": CLUSTER, "name": "edge", "status": "APPROVED"}]}).to_string())
}

fn release(url: &str, more: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "secret\n").unwrap();
    let mut arguments = vec!["fleet", "release", CLUSTER, "--instance", INSTANCE];
    arguments.extend(["--server", url, "--token-file", "token"]);
    arguments.extend(more);
    provost(folder.path(), &arguments, "")
}

/// The hub answers a release with 204 and nothing.
#[test]
fn a_release_is_told_as_json() {
    let (url, hub) = hub(vec![clusters(), (204, String::new())]);
    let said = release(&url, &["-o", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told, json!({"cluster": CLUSTER, "instance": INSTANCE}));
    let asked = hub.join().unwrap();
    let path = format!("POST /api/v1/clusters/{CLUSTER}/instances/{INSTANCE}/release HTTP/1.1");
    assert_eq!(asked[1], path);
}

#[test]
fn a_release_that_the_hub_refuses_fails() {
    let problem = json!({"type": "about:blank", "title": "Not found", "status": 404,
        "code": "NOT_FOUND", "detail": "no quarantine"});
    let (url, hub) = hub(vec![clusters(), (404, problem.to_string())]);
    let said = release(&url, &["-o", "json"]);
    assert_ne!(said.code, 0);
    assert_eq!(said.out, "");
    assert!(said.err.contains("NOT_FOUND: no quarantine"), "{}", said.err);
    hub.join().unwrap();
}

fn create_token(answers: &[&Value], more: &[&str]) -> (Said, Vec<String>) {
    let folder = trust::fleet();
    trust::signed_root(folder.path());
    write(folder.path(), "token", "secret\n");
    let (url, hub) = hub(answers.iter().map(|answer| (200, answer.to_string())).collect());
    let head = ["fleet", "token", "create", "--root", "root.json", "--token-file", "token"];
    let said = provost(folder.path(), &[&head[..], &["--server", &url], more].concat(), "");
    (said, hub.join().unwrap())
}

#[test]
fn no_secret_is_issued_for_a_token_that_no_agent_could_use() {
    let digest = "ab".repeat(32);
    let facts = |urls: &Value, digest: &str| json!({"trustDomain": "demo", "caDigest": digest, "agentUrls": urls});
    let good = json!(["https://hub.example:8443"]);
    let many: Value = (0..100).map(|n| format!("https://hub-{n}.example:8443")).collect();
    for (facts, more, expected) in [
        (facts(&json!([]), &digest), &[][..], "give --hub https://HOST:PORT"),
        (facts(&json!(["http://hub:1"]), &digest), &[], "agents.urls in the hub's settings"),
        (facts(&many, &digest), &[], "no agent could read the token"),
        (facts(&good, "short"), &[], "the hub's CA digest"),
        (facts(&good, &digest), &["--hub", "hub:8443"], "--hub"),
    ] {
        let (said, asked) = create_token(&[&facts], more);
        assert!(said.err.contains(expected) && said.code >= 2, "{} {}", said.code, said.err);
        assert_eq!(asked, ["GET /api/v1/hub HTTP/1.1"]);
    }
    let issued = json!({"secret": "s", "expires": "2026-11-22T08:00:00Z"});
    let (said, asked) = create_token(&[&facts(&good, &digest), &issued], &[]);
    assert!(said.code == 0 && said.out.starts_with("pvt1."), "{}", said.err);
    assert_eq!(asked[1], "POST /api/v1/enrol-tokens HTTP/1.1");
}

#[test]
fn a_roll_up_by_policy_is_the_hubs_and_the_fleet_decides_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "token", "secret\n");
    let rows =
        json!({"version": 1, "freshness": 1.0, "items": [{"policy": "host-path", "score": 0.5}]});
    let fleet = json!({"openFindings": 1});
    let status = |url: &str, more: &[&str]| {
        let head = ["fleet", "status", "--server", url, "--token-file", "token", "--by", "policy"];
        provost(folder.path(), &[&head[..], more].concat(), "")
    };
    let (url, asked) = hub(vec![(200, fleet.to_string()), (200, rows.to_string())]);
    let said = status(&url, &["-o", "json"]);
    assert_eq!((said.code, said.document()), (1, rows));
    assert_eq!(asked.join().unwrap()[1], "GET /api/v1/rollups/policies HTTP/1.1");
    let said = status("http://127.0.0.1:1", &["--cluster", "edge"]);
    assert!(said.code == 2 && said.err.contains("leave --cluster away"), "{}", said.err);
}

#[test]
fn tokens_are_listed_over_all_pages() {
    for (command, path) in [("api-token", "tokens"), ("token", "enrol-tokens")] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "token", "secret\n");
        let first = json!({"items": [{"name": "a"}], "total": 2, "next": "more"});
        let second = json!({"items": [{"name": "b"}], "total": 2});
        let (url, asked) = hub(vec![(200, first.to_string()), (200, second.to_string())]);
        let line = ["fleet", command, "list", "-o", "json", "--server", &url];
        let said = provost(folder.path(), &[&line[..], &["--token-file", "token"]].concat(), "");
        assert_eq!(
            said.document()["tokens"],
            json!([{"name": "a"}, {"name": "b"}]),
            "{}",
            said.err
        );
        let second = &asked.join().unwrap()[1];
        assert_eq!(second, &format!("GET /api/v1/{path}?limit=500&cursor=more HTTP/1.1"));
    }
}
