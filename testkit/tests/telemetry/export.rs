//! What reaches a receiver, and what happens without one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::trace::v1::Span;
use provost_model::Subject;
use provost_model::record::RecordBody;
use serde_json::{Value, json};

use super::fleet::{Fleet, get, pod, until};
use super::receiver::{Arrived, Receiver, said, text};

const AGENT: &str = "provost-agent";
const HUB: &str = "provost-aggregator";
/// What a change goes through, whatever it is.
const WAY: &[&str] = &["change", "record", "spool", "send", "commit"];
/// A caller's trace, and the span in it that calls.
const CALLER: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
/// What both daemons say when they are told to stop.
const LAST_WORDS: &str = "shutting down; a second signal exits at once";

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
    let agent = fleet.agent("edge", &log, &json!({"token_file": fleet.token()}));
    fleet.settled("edge", &agent, 1);
    fleet.write("web.yaml", &pod("web", true));
    let trace = until("the trace is whole", || {
        let parts = [&["evaluate"][..], WAY].concat();
        receiver.look(|arrived| whole(arrived, "change", "web", &parts))
    });
    let change = trace.span(AGENT, "change");
    assert!(change.parent_span_id.is_empty());
    assert_eq!(text(&change.attributes, "k8s.resource.kind"), "Pod");
    assert_eq!(text(&change.attributes, "k8s.namespace.name"), "shop");
    let record = trace.span(AGENT, "record");
    for (service, name, parent) in [
        (AGENT, "evaluate", change),
        (AGENT, "record", change),
        (AGENT, "spool", record),
        (AGENT, "send", record),
        (HUB, "commit", record),
    ] {
        trace.is_child(service, name, parent);
        let begun = trace.span(service, name).start_time_unix_nano;
        assert!(begun >= change.start_time_unix_nano, "{name} is too early");
    }
    // The batch has a trace of its own, which names those of its records.
    receiver.look(|arrived| {
        let commit = trace.span(HUB, "commit");
        let ingest = find(arrived, |span| span.span_id == commit.links[0].span_id);
        let batch = find(arrived, |span| span.span_id == ingest.parent_span_id);
        assert_eq!((ingest.name.as_str(), batch.name.as_str()), ("ingest", "batch"));
        assert!(batch.links.iter().any(|link| link.trace_id == change.trace_id));
    });

    // A caller's own trace goes on in the hub.
    get(fleet.hub_address("api"), "/login", &of_caller(CALLER, "01")).unwrap();
    until("the request is traced", || {
        receiver.look(|arrived| {
            let found = arrived
                .spans
                .iter()
                .find(|(_, span)| span.name == "request" && hex(&span.trace_id) == CALLER);
            let (_, span) = found.ok_or("no such span")?;
            assert_eq!(text(&span.attributes, "http.route"), "/login");
            Ok(())
        })
    });
    until("metrics and logs of both arrive", || receiver.look(everything_else));
}

/// Scenario: an API server asks with a trace of its own, without one, with nonsense, and with one that is not sampled.
/// Guarantee: the trace of the first goes on through evaluation, spool and link to the commit in the hub, and its record
/// carries it there; the second and the third begin one; the fourth has none.
#[test]
fn an_admission_review_is_traced_from_its_caller_to_the_hub() {
    const UNSAMPLED: &str = "1bf7651916cd43dd8448eb211c80319c";
    let receiver = Receiver::start();
    let log = log(&format!("http://{}", receiver.address));
    let fleet = Fleet::start(&log, &["host-network"]);
    fleet.write("first.yaml", &pod("first", false));
    let agent = fleet.agent("edge", &log, &json!({"token_file": fleet.token()}));
    fleet.settled("edge", &agent, 1);
    let asks = |name: &str, headers: &str| {
        let spec = json!({"hostNetwork": true, "containers": [{"name": "a", "image": "a:1"}]});
        let metadata = json!({"name": name, "namespace": "shop"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        let answer = fleet.review("edge", &pod, headers);
        assert_eq!(answer["uid"], "1", "{answer}");
    };
    asks("unsampled", &of_caller(UNSAMPLED, "00"));
    asks("alone", "");
    asks("nonsense", "traceparent: nonsense\r\n");
    asks("web", &of_caller(CALLER, "01"));
    let arrives = |name: &str| {
        let parts = ["evaluate", "spool", "send", "commit"];
        until("the trace is whole", || {
            receiver.look(|arrived| whole(arrived, "admission review", name, &parts))
        })
    };
    let mut recorded = BTreeMap::from([("unsampled".to_owned(), String::new())]);
    for (name, parent) in [("alone", ""), ("nonsense", ""), ("web", SPAN)] {
        let trace = arrives(name);
        let review = trace.span(AGENT, "admission review");
        assert_eq!(hex(&review.parent_span_id), parent);
        assert_eq!(hex(&review.trace_id) == CALLER, name == "web");
        for (service, name) in
            [(AGENT, "evaluate"), (AGENT, "spool"), (AGENT, "send"), (HUB, "commit")]
        {
            trace.is_child(service, name, review);
        }
        let context = format!("00-{}-{}-01", hex(&review.trace_id), hex(&review.span_id));
        recorded.insert(name.to_owned(), context);
    }
    receiver.look(|arrived| {
        assert!(arrived.spans.iter().all(|(_, span)| hex(&span.trace_id) != UNSAMPLED));
    });
    let records = fleet.records().into_iter().map(|record| provost_proto::record::decode(&record));
    let admitted = records.filter_map(|record| {
        let record = record.unwrap();
        let RecordBody::Admission(event) = record.body else { return None };
        let Subject::Kubernetes(subject) = event.subject else { return None };
        Some((subject.name, record.header.trace_parent))
    });
    assert_eq!(admitted.collect::<BTreeMap<_, _>>(), recorded);
}

/// Scenario: a manifest that broke a policy is deleted. Guarantee: the closing of its finding is one trace as well, from
/// where the source saw it to the commit in the hub, and the record of it carries it.
#[test]
fn a_removal_is_one_trace_from_the_file_to_the_hub() {
    let receiver = Receiver::start();
    let log = log(&format!("http://{}", receiver.address));
    let fleet = Fleet::start(&log, &["host-network"]);
    fleet.write("web.yaml", &pod("web", true));
    fleet.write("first.yaml", &pod("first", false));
    let agent = fleet.agent("edge", &log, &json!({"token_file": fleet.token()}));
    fleet.settled("edge", &agent, 2);
    until("the change is traced", || receiver.look(|arrived| whole(arrived, "change", "web", WAY)));
    let before = receiver.look(|arrived| arrived.spans.len());
    std::fs::remove_file(fleet.manifests().join("web.yaml")).unwrap();
    fleet.settled("edge", &agent, 1);
    let trace = until("the removal is traced", || {
        receiver.look(|arrived| {
            let spans = arrived.spans[before..].to_vec();
            whole(&Arrived { spans, ..Arrived::default() }, "change", "web", WAY)
        })
    });
    let (change, record) = (trace.span(AGENT, "change"), trace.span(AGENT, "record"));
    assert!(change.parent_span_id.is_empty());
    trace.is_child(AGENT, "record", change);
    for (service, name) in [(AGENT, "spool"), (AGENT, "send"), (HUB, "commit")] {
        trace.is_child(service, name, record);
    }
    let context = format!("00-{}-{}-01", hex(&record.trace_id), hex(&record.span_id));
    let records = fleet.records().into_iter().map(|record| provost_proto::record::decode(&record));
    let removed = records.filter_map(|record| {
        let record = record.unwrap();
        let is_removal = matches!(record.body, RecordBody::SubjectRemoved { .. });
        is_removal.then_some(record.header.trace_parent)
    });
    assert_eq!(removed.collect::<Vec<_>>(), [context]);
}

/// Scenario: nothing of the metrics is due for an hour; then both daemons are told to stop. Guarantee: what they saw,
/// counted and said last has arrived when they have ended.
#[test]
fn what_happened_last_is_exported_at_the_end() {
    let receiver = Receiver::start();
    let mut log = log(&format!("http://{}", receiver.address));
    log["otlp_interval_ms"] = json!(3_600_000);
    let mut fleet = Fleet::start(&log, &["host-network"]);
    fleet.write("first.yaml", &pod("first", false));
    let mut agent = fleet.agent("edge", &log, &json!({"token_file": fleet.token()}));
    fleet.settled("edge", &agent, 1);
    fleet.write("last.yaml", &pod("last", true));
    until("the agent knows it", || {
        let text = fleet.agent_metrics("edge")?;
        if text.contains("\nprovost_agent_objects 2\n") { Ok(()) } else { Err(text) }
    });
    receiver.look(|arrived| assert!(arrived.metrics.is_empty(), "nothing is due yet"));
    assert!(agent.stop().status.success());
    receiver.look(|arrived| {
        find(arrived, |span| {
            span.name == "change" && text(&span.attributes, "k8s.resource.name") == "last"
        });
        assert_eq!(gauge(arrived, AGENT, "provost_agent_objects"), 2.0);
        assert!(has_said(arrived, AGENT, LAST_WORDS), "{}", agent.last_words());
        assert!(!has_said(arrived, HUB, LAST_WORDS));
    });
    get(fleet.hub_address("api"), "/login", &of_caller(CALLER, "01")).unwrap();
    assert!(fleet.hub.stop().status.success());
    receiver.look(|arrived| {
        find(arrived, |span| span.name == "request" && hex(&span.trace_id) == CALLER);
        assert_eq!(gauge(arrived, HUB, "provost_build_info"), 1.0);
        assert!(has_said(arrived, HUB, LAST_WORDS), "{}", fleet.hub.last_words());
    });
}

/// The value that a service exported last.
fn gauge(arrived: &Arrived, service: &str, name: &str) -> f64 {
    let found = arrived.metrics.iter().rfind(|(of, one)| of == service && one.name == name);
    let (_, metric) = found.unwrap_or_else(|| panic!("no {name} of {service}"));
    let Some(Data::Gauge(gauge)) = &metric.data else { panic!("{metric:?}") };
    match gauge.data_points[0].value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => f64::from(i32::try_from(value).unwrap()),
        None => panic!("{metric:?}"),
    }
}

fn has_said(arrived: &Arrived, service: &str, message: &str) -> bool {
    arrived.logs.iter().any(|(of, log)| of == service && said(log.body.as_ref()) == message)
}

/// The header of a caller whose trace this is.
fn of_caller(trace: &str, flags: &str) -> String {
    format!("traceparent: 00-{trace}-{SPAN}-{flags}\r\n")
}

/// The trace that begins with a span `root` about the pod `name`, when all these parts of it are there.
fn whole(arrived: &Arrived, root: &str, name: &str, parts: &[&str]) -> Result<Trace, String> {
    let named = |span: &Span| text(&span.attributes, "k8s.resource.name") == name;
    let roots = arrived.spans.iter().filter(|(_, span)| span.name == root && named(span));
    let mut best = 0;
    for (_, root) in roots {
        let own = arrived.spans.iter().filter(|(_, span)| span.trace_id == root.trace_id);
        let own: Vec<_> = own.cloned().collect();
        let names: BTreeSet<&str> = own.iter().map(|(_, span)| span.name.as_str()).collect();
        if parts.iter().all(|part| names.contains(part)) {
            return Ok(Trace(own));
        }
        best = best.max(own.len());
    }
    Err(format!("{best} spans of {} that arrived", arrived.spans.len()))
}

/// Spans of one trace, each with the service that sent it.
#[derive(Debug)]
struct Trace(Vec<(String, Span)>);

impl Trace {
    fn span(&self, service: &str, name: &str) -> &Span {
        let found = self.0.iter().find(|(of, span)| of == service && span.name == name);
        &found.unwrap_or_else(|| panic!("no {name} of {service} in {self:#?}")).1
    }

    /// `span` of `service` is a child of `parent`.
    fn is_child(&self, service: &str, name: &str, parent: &Span) {
        let span = self.span(service, name);
        assert_eq!(span.parent_span_id, parent.span_id, "{name} is not a child of {}", parent.name);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
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

/// Scenario: no CA is set, and the receiver's is among the system's, by a file or by a folder; or it is not. Guarantee:
/// with it the agent exports; without it the agent says why not, once for each of the three signals, sends nothing,
/// and goes on.
#[test]
fn an_export_over_tls_trusts_the_cas_of_the_system() {
    let (receiver, ca) = Receiver::start_tls();
    let (_, other_ca) = Receiver::start_tls();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let by_file = format!("SSL_CERT_FILE={}", write("ca.pem", &ca));
    // Named as OpenSSL names them in a folder: by a hash, which nobody compares.
    write("certs/0123abcd.0", &ca);
    let by_folder = format!("SSL_CERT_DIR={}", folder.path().join("certs").display());
    let by_other = format!("SSL_CERT_FILE={}", write("other.pem", &other_ca));
    let fleet = Fleet::start(&json!({"format": "json"}), &["host-network"]);
    fleet.write("web.yaml", &pod("web", true));
    let log = log(&format!("https://{}", receiver.address));
    let agent = |name: &str, cas: &str| {
        let attributes = format!("OTEL_RESOURCE_ATTRIBUTES=provost.test={name}");
        let unset = ["env", "-u", "SSL_CERT_FILE", "-u", "SSL_CERT_DIR"];
        let command = [&unset[..], &[cas, &attributes]].concat();
        fleet.agent_under(&command, name, &log, &json!({"token_file": fleet.token()}))
    };
    let from = |arrived: &Arrived, name: &str| {
        arrived.resources.iter().any(|one| text(&one.attributes, "provost.test") == name)
    };
    for (name, cas) in [("file", by_file), ("folder", by_folder)] {
        let _agent = agent(name, &cas);
        until("the telemetry arrives", || {
            receiver.look(|arrived| from(arrived, name).then_some(()).ok_or_else(String::new))
        });
    }
    let other = agent("other", &by_other);
    fleet.settled("other", &other, 1);
    until("many exports failed", || {
        let text = fleet.agent_metrics("other")?;
        let failed = r#"provost_telemetry_export_failures_total{signal="metrics"} "#;
        let failed = text.lines().find_map(|line| line.strip_prefix(failed)).ok_or("none")?;
        if failed.parse::<u64>().unwrap() >= 5 { Ok(()) } else { Err(failed.to_owned()) }
    });
    fleet.write("api.yaml", &pod("api", true));
    fleet.settled("other", &other, 2);
    let said = other.log();
    let said: Vec<_> = said.lines().filter(|line| line.contains("is not exported")).collect();
    assert!((1..=3).contains(&said.len()), "{said:#?}");
    assert!(said.iter().all(|line| line.contains("invalid peer certificate")), "{said:#?}");
    receiver.look(|arrived| assert!(!from(arrived, "other")));
}
