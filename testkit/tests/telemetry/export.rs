//! What reaches a receiver, and what happens without one.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use super::fleet::{Fleet, get, pod, until};
use super::receiver::{Arrived, Receiver, said, text};

const AGENT: &str = "provost-agent";
const HUB: &str = "provost-aggregator";

fn log(endpoint: &str) -> Value {
    json!({
        "format": "json",
        "otlp_endpoint": endpoint,
        "otlp_interval_ms": 300,
        "otlp_timeout_ms": 1000,
        "otlp_trace_ratio": 1.0,
        "otlp_headers": "authorization=Bearer of-the-receiver",
    })
}

/// Scenario: a manifest changes while both daemons export to one receiver. Guarantee: one trace holds the
/// way of the change from where the source saw it to its commit in the hub, each span the child of the one before;
/// metrics and logs of both daemons arrive with who they are of.
#[test]
fn a_change_is_one_trace_from_the_file_to_the_hub() {
    let receiver = Receiver::start();
    let log = log(&format!("http://{}", receiver.address));
    let fleet = Fleet::start(&log, &["host-network"]);
    fleet.write("first.yaml", &pod("first", false));
    let mut agent = fleet.agent("edge", &log, &json!({"token_file": fleet.token()}));
    fleet.settled("edge", &agent, 1);
    fleet.write("web.yaml", &pod("web", true));
    let trace = until("the trace is whole", || receiver.look(of_web));

    let span = |service: &str, name: &str| {
        let found = trace.iter().find(|(of, span)| of == service && span.name == name);
        &found.unwrap_or_else(|| panic!("no {name} of {service} in {trace:#?}")).1
    };
    let change = span(AGENT, "change");
    assert!(change.parent_span_id.is_empty());
    assert_eq!(text(&change.attributes, "k8s.resource.kind"), "Pod");
    assert_eq!(text(&change.attributes, "k8s.namespace.name"), "shop");
    for (service, name, parent) in [
        (AGENT, "evaluate", change),
        (AGENT, "record", change),
        (AGENT, "spool", span(AGENT, "record")),
        (AGENT, "send", span(AGENT, "record")),
        (HUB, "commit", span(AGENT, "record")),
    ] {
        let span = span(service, name);
        assert_eq!(span.parent_span_id, parent.span_id, "{name} is not a child of {}", parent.name);
        assert!(span.start_time_unix_nano >= change.start_time_unix_nano, "{name} is too early");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    // The batch has a trace of its own, which names those of its records.
    receiver.look(|arrived| {
        let commit = span(HUB, "commit");
        let ingest = find(arrived, |span| span.span_id == commit.links[0].span_id);
        let batch = find(arrived, |span| span.span_id == ingest.parent_span_id);
        assert_eq!((ingest.name.as_str(), batch.name.as_str()), ("ingest", "batch"));
        assert!(batch.links.iter().any(|link| link.trace_id == change.trace_id));
    });

    // A caller's own trace goes on in the hub.
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    get(fleet.hub_address("api"), "/login", parent).unwrap();
    until("the request is traced", || {
        receiver.look(|arrived| {
            let found = arrived.spans.iter().find(|(_, span)| {
                span.name == "request" && hex(&span.trace_id) == "0af7651916cd43dd8448eb211c80319c"
            });
            let (_, span) = found.ok_or("no such span")?;
            assert_eq!(text(&span.attributes, "http.route"), "/login");
            Ok(())
        })
    });
    until("metrics and logs of both arrive", || receiver.look(everything_else));
    let before = receiver.look(|arrived| arrived.logs.len());
    assert!(agent.stop().status.success());
    // What was said last is exported, too.
    assert!(receiver.look(|arrived| arrived.logs.len() + arrived.metrics.len()) > before);
}

/// The trace of the change to the pod `web`, when all its parts are there.
fn of_web(arrived: &Arrived) -> Result<Vec<(String, Span)>, String> {
    let named = |span: &Span| text(&span.attributes, "k8s.resource.name") == "web";
    let roots = arrived.spans.iter().filter(|(_, span)| span.name == "change" && named(span));
    let mut best = 0;
    for (_, root) in roots {
        let own = arrived.spans.iter().filter(|(_, span)| span.trace_id == root.trace_id);
        let own: Vec<_> = own.cloned().collect();
        let names: BTreeSet<&str> = own.iter().map(|(_, span)| span.name.as_str()).collect();
        if ["change", "evaluate", "record", "spool", "send", "commit"]
            .iter()
            .all(|n| names.contains(n))
        {
            return Ok(own);
        }
        best = best.max(own.len());
    }
    Err(format!("{best} spans of {} that arrived", arrived.spans.len()))
}

fn find(arrived: &Arrived, is: impl Fn(&Span) -> bool) -> Span {
    arrived.spans.iter().find(|(_, span)| is(span)).expect("the span arrived").1.clone()
}

fn everything_else(arrived: &Arrived) -> Result<(), String> {
    for (service, metric) in [
        (AGENT, "provost_agent_batches_sent_total"),
        (AGENT, "provost_agent_evaluation_seconds"),
        (AGENT, "process_resident_memory_bytes"),
        (HUB, "provost_hub_batches_total"),
        (HUB, "provost_hub_store_commit_seconds"),
        (HUB, "provost_telemetry_dropped_total"),
    ] {
        if !arrived.metrics.iter().any(|(of, one)| of == service && one.name == metric) {
            return Err(format!("no {metric} of {service}"));
        }
    }
    for (service, message) in [(AGENT, "session open"), (HUB, "the hub listens")] {
        let says = |log: &opentelemetry_proto::tonic::logs::v1::LogRecord| {
            said(log.body.as_ref()) == message && log.severity_text == "INFO"
        };
        if !arrived.logs.iter().any(|(of, log)| of == service && says(log)) {
            return Err(format!("{service} did not say {message:?}"));
        }
    }
    for resource in &arrived.resources {
        assert_eq!(text(&resource.attributes, "service.version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(text(&resource.attributes, "service.instance.id").len(), 32);
    }
    assert!(arrived.authorization.iter().all(|value| value == "Bearer of-the-receiver"));
    assert_eq!(arrived.authorization.len(), arrived.resources.len(), "an export without headers");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Scenario: the receiver takes connections and says nothing. Guarantee: a finding reaches the hub all the same,
/// failures are counted, and both daemons end in time.
#[test]
fn a_receiver_that_is_silent_holds_up_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let log = log(&format!("http://{}", silent.local_addr().unwrap()));
    let mut fleet = Fleet::start(&log, &["host-network"]);
    fleet.write("web.yaml", &pod("web", true));
    let mut agent = fleet.agent("edge", &log, &json!({"token_file": fleet.token()}));
    fleet.settled("edge", &agent, 1);
    fleet.shows("host-network");
    until("failures are counted", || {
        let text = fleet.agent_metrics("edge")?;
        let counted = |line: &str| {
            line.starts_with("provost_telemetry_export_failures_total") && !line.ends_with(" 0")
        };
        if text.lines().any(counted) { Ok(()) } else { Err(text) }
    });
    assert!(agent.log().contains("telemetry is not exported"), "{}", agent.log());
    for daemon in [&mut agent, &mut fleet.hub] {
        let ended = daemon.stop();
        assert!(ended.status.success() && ended.took < Duration::from_secs(5), "{ended:?}");
    }
}

/// Scenario: the receiver is behind TLS; one daemon knows its CA, another one knows a different CA. Guarantee: the
/// first exports, the second does not, and goes on.
#[test]
fn an_export_over_tls_trusts_the_configured_ca_alone() {
    let (receiver, ca) = Receiver::start_tls();
    let (_, other_ca) = Receiver::start_tls();
    let folder = tempfile::tempdir().unwrap();
    let over_tls = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        let mut log = log(&format!("https://{}", receiver.address));
        log["otlp_ca_file"] = json!(path);
        log
    };
    let fleet = Fleet::start(&over_tls("ca.pem", &ca), &["host-network"]);
    let log = over_tls("other.pem", &other_ca);
    let agent = fleet.agent("edge", &log, &json!({"token_file": fleet.token()}));
    fleet.write("web.yaml", &pod("web", true));
    fleet.settled("edge", &agent, 1);
    until("the hub's telemetry arrives", || {
        receiver.look(|arrived| {
            let of_hub = arrived.metrics.iter().any(|(of, _)| of == HUB);
            if of_hub && !arrived.logs.is_empty() { Ok(()) } else { Err("nothing yet".to_owned()) }
        })
    });
    until("the agent says that nothing is exported", || {
        let log = agent.log();
        if log.contains("telemetry is not exported") { Ok(()) } else { Err(log) }
    });
    receiver.look(|arrived| {
        assert!(arrived.metrics.iter().all(|(of, _)| of == HUB));
        assert!(arrived.logs.iter().all(|(of, _)| of == HUB));
    });
}
