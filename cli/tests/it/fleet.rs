//! What `provost fleet` makes of a hub's answers. The hub is one that says what it is told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::program::provost;

const CLUSTER: &str = "01010101010101010101010101010101";
const INSTANCE: &str = "02020202020202020202020202020202";

/// Answers so many requests and gives back their first lines.
fn hub(answers: Vec<(u16, String)>) -> (String, JoinHandle<Vec<String>>) {
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

fn release(url: &str, more: &[&str]) -> crate::program::Said {
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
