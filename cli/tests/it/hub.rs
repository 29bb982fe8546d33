//! What commands say to a hub, and what they do not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::program::{Said, provost, write};
use crate::trust;

/// Answers every request with `facts`, and tells which were made. A real hub has no settings that are wrong.
fn misled_hub(facts: Value) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let _ = sender.send(request);
            let body = facts.to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}", body.len());
            let _ = write!(stream, "{head}\r\n\r\n{body}");
        }
    });
    (address, asked)
}

fn create_token(facts: Value, more: &[&str]) -> (Said, Vec<String>) {
    let folder = trust::fleet();
    trust::signed_root(folder.path());
    write(folder.path(), "hub.token", "provost_token\n");
    let (address, asked) = misled_hub(facts);
    let server = format!("http://{address}");
    let head = ["fleet", "token", "create", "--root", "root.json", "--token-file", "hub.token"];
    let said = provost(folder.path(), &[&head[..], &["--server", &server], more].concat(), "");
    (said, asked.try_iter().collect())
}

#[test]
fn no_secret_is_issued_for_a_token_that_no_agent_could_use() {
    let digest = "ab".repeat(32);
    let facts = |urls: Value, digest: &str| json!({"trustDomain": "demo", "caDigest": digest, "agentUrls": urls});
    let good = json!(["https://hub.example:8443"]);
    let many: Vec<_> = (0..100).map(|n| format!("https://hub-{n}.example:8443")).collect();
    for (urls, digest, more, expected) in [
        (json!([]), digest.as_str(), &[][..], "give --hub https://HOST:PORT"),
        (json!(["http://hub:1"]), &digest, &[], "agents.urls in the hub's settings"),
        (json!(many), &digest, &[], "no agent could read the token"),
        (good.clone(), "short", &[], "the hub's CA digest"),
        (good.clone(), &digest, &["--hub", "hub:8443"], "--hub"),
    ] {
        let (said, asked) = create_token(facts(urls, digest), more);
        assert!(said.err.contains(expected) && said.code >= 2, "{} {}", said.code, said.err);
        assert!(asked.iter().all(|request| request.starts_with("GET ")), "{asked:?}");
    }
    let (_, asked) = create_token(facts(good, &digest), &[]);
    assert!(asked.iter().any(|request| request.starts_with("POST ")), "{asked:?}");
}
