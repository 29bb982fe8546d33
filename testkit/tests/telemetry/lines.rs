//! What the daemons write to standard error: one event, one line.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fleet::{Fleet, pod, until};

/// Of the agent's data; a damaged file in it is named by its path.
const FOLDER: &str = "of\ntwo\r\nlines";

/// Scenario: both daemons log whatever they can, and of something with line breaks in it, as JSON and for people.
/// Guarantee: one event is one line in both: each line of JSON is one object with time, level and target, and
/// each line for people begins with its time and level.
#[test]
fn one_event_is_one_line() {
    for format in ["json", "human"] {
        let log = json!({"format": format, "filter": "debug"});
        let mut fleet = Fleet::start(&log, &["host-network"]);
        fleet.write("web.yaml", &pod("web", true));
        let more = json!({"token_file": fleet.token(), "name": "edge"});
        let mut agent = fleet.agent(FOLDER, &log, &more);
        fleet.settled(FOLDER, &agent, 1);
        agent.kill();
        std::fs::write(fleet.path(FOLDER).join("bundles/active.json"), "torn").unwrap();
        agent.start();
        until("the file is named", || {
            let log = agent.log();
            if log.contains("a file is set aside") { Ok(()) } else { Err(log) }
        });
        assert!(agent.stop().status.success() && fleet.hub.stop().status.success());
        for (daemon, log) in [("agent", agent.log()), ("hub", fleet.hub.log())] {
            assert!(log.ends_with('\n') && log.lines().count() > 10, "{daemon}: {log}");
            for line in log.lines() {
                let is_event = if format == "json" { is_json(line) } else { is_human(line) };
                assert!(is_event, "{daemon}, {format}: {line:?}");
            }
        }
        assert!(agent.log().contains("lines/bundles/active.json"), "with its path");
    }
}

fn is_json(line: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return false };
    let names: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    let is_time = |text: &str| text.contains('T') && text.ends_with('Z');
    ["timestamp", "level", "target"].iter().all(|name| names.contains(name))
        && fields["timestamp"].as_str().is_some_and(is_time)
}

fn is_human(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let time = words.next().unwrap_or_default();
    let level = words.next().unwrap_or_default();
    time.len() > 20
        && time.ends_with('Z')
        && ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level)
}
