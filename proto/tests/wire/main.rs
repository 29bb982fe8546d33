//! The wire's bytes: golden files, round trips of everything, and decoders that take any bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod samples;

use bytes::Bytes;
use proptest::prelude::*;
use provost_model::finding::{Finding, Fingerprint};
use provost_model::id::{BootId, SnapshotId};
use provost_model::policy::{Action, Checkpoint, Severity};
use provost_model::record::*;
use provost_model::subject::{Attributes, ResourceRef, Subject};
use provost_model::verdict::Outcome;
use provost_model::{Digest, Path, PolicySet, Segment};
use provost_proto::batch::{self, Batch};
use provost_proto::{Error, Message as _};
use provost_proto::{enrol, envelope, heartbeat, policy_set, record, v1};
use provost_trust::{Envelope, KeyPair};

use samples::{attributes, bodies, entry, header, records, sample_batch, subject};

/// One line of hex per record. A change of these bytes is a change of the protocol.
#[test]
fn golden_records() {
    let lines: String =
        records().iter().map(|r| format!("{}\n", hex::encode(record::encode(r)))).collect();
    golden("records.hex", &lines);
    let stored = std::fs::read_to_string(golden_path("records.hex")).unwrap();
    for (line, expected) in stored.lines().zip(records()) {
        assert_eq!(record::decode(&hex::decode(line).unwrap()).unwrap(), expected);
    }
}

#[test]
fn golden_batch_body() {
    // Compressed bytes may change with zstd; what is inside may not.
    let payload = v1::BatchPayload::decode(&batch::encode(&sample_batch()).unwrap()[..]).unwrap();
    let size = usize::try_from(payload.body_size).unwrap();
    let body = zstd::bulk::decompress(&payload.body, size).unwrap();
    golden("batch_body.hex", &format!("{}\n", hex::encode(body)));
}

fn golden_path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn golden(name: &str, actual: &str) {
    let path = golden_path(name);
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let fresh = path.with_extension("new");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&fresh, actual).unwrap();
        panic!(
            "{} differs; if the change is meant, move {} over it",
            path.display(),
            fresh.display()
        );
    }
}

/// What was sent as an embedded message and what is sent as bytes are the same on the wire.
#[test]
fn an_envelope_as_bytes_is_an_envelope_as_a_message() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Embedded {
        #[prost(message, optional, tag = "1")]
        envelope: Option<v1::Envelope>,
    }
    let key = KeyPair::from_seed(&[7; 32]).unwrap();
    let signed = Envelope::sign("type", vec![1, 2, 3], &[&key]);
    let wire = v1::Batch { envelope: envelope::encode(signed.clone()) }.encode_to_vec();
    let embedded = Embedded { envelope: Some(envelope::to_wire(signed.clone())) };
    assert_eq!(wire, embedded.encode_to_vec());
    assert_eq!(envelope::decode(&v1::Heartbeat::decode(&wire[..]).unwrap().envelope), Ok(signed));
    assert_eq!(envelope::decode(&[]), Err(Error::Missing { field: "envelope" }));
}

#[test]
fn batches_round_trip_and_hold_their_chain() {
    let batch = sample_batch();
    let again = batch::decode(&batch::encode(&batch).unwrap()).unwrap();
    assert_eq!(again, batch);
    assert!(again.chain_holds());
    let mut other = batch;
    other.head = Digest::of(b"elsewhere");
    assert!(!other.chain_holds());
}

#[test]
fn a_batch_whose_items_do_not_fill_its_range_is_refused() {
    for (first, last) in [(40, 50), (40, 52), (41, 51), (0, 51), (u64::MAX, u64::MAX)] {
        let batch = Batch { first_seq: first, last_seq: last, ..sample_batch() };
        assert!(batch::encode(&batch).is_err(), "{first} {last}");
    }
    let empty = Batch { items: Vec::new(), ..sample_batch() };
    assert_eq!(batch::encode(&empty), Err(Error::Missing { field: "batch.items" }));
}

/// A small body that says it is small and unpacks to much more, and one that declares too much.
#[test]
fn a_decompression_bomb_stops_at_its_declared_size() {
    let bytes = batch::encode(&sample_batch()).unwrap();
    let mut payload = v1::BatchPayload::decode(&bytes[..]).unwrap();
    payload.body = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 19).unwrap().into();
    payload.body_size = 1_000;
    let error = batch::decode(&payload.encode_to_vec()).unwrap_err();
    assert!(matches!(error, Error::Bad { field: "batch.body", .. }), "{error}");
    payload.body_size = 64 * 1024 * 1024;
    let error = batch::decode(&payload.encode_to_vec()).unwrap_err();
    assert!(matches!(error, Error::TooLong { field: "batch.body_size", .. }), "{error}");
}

#[test]
fn limits_and_unknown_words_are_refused_by_field() {
    let decode = |change: &dyn Fn(&mut v1::Record)| {
        let mut wire = v1::Record::decode(&record::encode(&records()[0])[..]).unwrap();
        change(&mut wire);
        record::decode(&wire.encode_to_vec()).unwrap_err()
    };
    fn verdict_of(wire: &mut v1::Record) -> &mut v1::VerdictRecord {
        match wire.body.as_mut() {
            Some(v1::record::Body::Verdict(verdict)) => verdict,
            _ => unreachable!("the first sample is a verdict"),
        }
    }
    assert_eq!(decode(&|r| r.seq = 0), Error::Missing { field: "record.seq" });
    assert_eq!(decode(&|r| r.class = 0), Error::Missing { field: "record.class" });
    assert_eq!(decode(&|r| r.class = 9), Error::Unknown { field: "record.class", value: 9 });
    assert_eq!(decode(&|r| r.body = None), Error::Missing { field: "record.body" });
    assert!(matches!(decode(&|r| r.boot_id = Bytes::from_static(b"x")), Error::Bad { .. }));
    let many = decode(&|r| {
        let findings = &mut verdict_of(r).verdicts[0].findings;
        *findings = vec![findings[0].clone(); 21];
    });
    assert_eq!(many, Error::TooLong { field: "verdict.findings", size: 21, limit: 20 });
    let few = decode(&|r| verdict_of(r).verdicts[0].findings_total = 0);
    assert!(matches!(few, Error::Bad { field: "verdict.findings_total", .. }));
    let long = decode(&|r| verdict_of(r).verdicts[0].findings[0].message = "x".repeat(1025));
    assert!(matches!(long, Error::TooLong { field: "finding.message", .. }));
    let patch = decode(&|r| verdict_of(r).verdicts[0].findings[0].patch = Bytes::from_static(b"{"));
    assert!(matches!(patch, Error::Bad { field: "finding.patch", .. }));
    let labels = decode(&|r| {
        let labels = &mut verdict_of(r).attributes.as_mut().unwrap().labels;
        labels.extend((0..16).map(|n| (n.to_string(), String::new())));
    });
    assert!(matches!(labels, Error::TooLong { field: "attributes.labels", .. }));
    let error = record::decode(&vec![0; 512 * 1024 + 1]).unwrap_err();
    assert!(matches!(error, Error::TooLong { field: "record", .. }));
}

#[test]
fn policy_sets_round_trip_and_must_be_sorted() {
    let set = PolicySet { entries: vec![entry("a", "default"), entry("b", "default")] };
    assert_eq!(policy_set::decode(&policy_set::encode(&set)).unwrap(), set);
    assert_eq!(policy_set::decode(&[]).unwrap(), PolicySet::default());
    assert_eq!(policy_set::digest(&set), Digest::of(&policy_set::encode(&set)));
    for wrong in [vec![entry("b", "default"), entry("a", "default")], vec![entry("a", "x"); 2]] {
        let bytes = policy_set::encode(&PolicySet { entries: wrong });
        assert!(matches!(policy_set::decode(&bytes), Err(Error::Bad { .. })));
    }
}

/// An empty set in force is not "no change".
/// Only what lists a whole policy set may be longer than 64 KiB, and only so much.
#[test]
fn a_long_record_is_one_that_lists_a_set() {
    let long = |body: RecordBody| {
        let record = Record { header: header(), body };
        let bytes = record::encode(&record);
        (bytes.len(), record::decode(&bytes))
    };
    let bundle = |bindings: u32| {
        let entries = (0..bindings).map(|number| entry("p", &format!("b{number:06}"))).collect();
        let policy_set = Some(PolicySet { entries });
        let RecordBody::Bundle(body) =
            bodies().into_iter().find(|body| matches!(body, RecordBody::Bundle(_))).unwrap()
        else {
            unreachable!()
        };
        long(RecordBody::Bundle(BundleRecord { policy_set, ..body }))
    };
    let (bytes, read) = bundle(1000);
    assert!(bytes > 64 * 1024 && read.is_ok(), "{bytes} {read:?}");
    let (bytes, read) = bundle(6000);
    assert!(bytes > 512 * 1024 && matches!(read, Err(Error::TooLong { .. })), "{bytes}");
    let passes = VerdictRecord {
        subject: subject(),
        attributes: attributes(),
        verdicts: Vec::new(),
        passes: (20_000..60_000).collect(),
        withdrawn: Vec::new(),
        snapshot: None,
    };
    let (bytes, read) = long(RecordBody::Verdict(passes));
    assert!(bytes > 64 * 1024 && matches!(read, Err(Error::TooLong { .. })), "{bytes}");
}

#[test]
fn an_empty_policy_set_survives() {
    let body = RecordBody::Bundle(BundleRecord {
        event: BundleEvent::PolicySetChanged,
        channel: "stable".to_owned(),
        version: 3,
        manifest: Digest::of(b"manifest"),
        policy_set: Some(PolicySet::default()),
        errors: Vec::new(),
    });
    let record = Record { header: header(), body };
    assert_eq!(record::decode(&record::encode(&record)).unwrap(), record);
}

fn word<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

prop_compose! {
    fn any_verdict()(
        binding in any::<u32>(),
        outcome in word(Outcome::ALL),
        previous in prop::option::of(word(Outcome::ALL)),
        underlying in prop::option::of(word(Outcome::ALL)),
        action in word(Action::ALL),
        severity in word(Severity::ALL),
        message in ".{0,40}",
        code in "[A-Z_]{0,12}",
        fingerprints in prop::collection::vec(any::<[u8; 16]>(), 0..4),
        more in 0..5_u32,
        line in prop::option::of(1..9_u32),
    ) -> ReportedVerdict {
        let findings: Vec<Finding> = fingerprints.into_iter().map(|bytes| Finding {
            fingerprint: Fingerprint::from_bytes(bytes),
            path: Path(vec![Segment::Key("a/b~".to_owned()), Segment::Index(bytes[0].into())]),
            message: message.clone(),
            patch: None,
            line,
        }).collect();
        let findings_total = findings.len() as u32 + more;
        ReportedVerdict {
            binding, outcome, previous, action, severity, findings, findings_total, message, code,
            underlying,
        }
    }
}

prop_compose! {
    fn any_record()(
        seq in 1..u64::MAX,
        class in word(Class::ALL),
        boot in any::<[u8; 16]>(),
        times in any::<(u64, i64)>(),
        clock_quality in word(ClockQuality::ALL),
        set in prop::option::of(any::<[u8; 32]>()),
        coalesced in 1..u32::MAX,
        exemption_id in "[a-z0-9-]{0,20}",
        checkpoint in word(Checkpoint::ALL),
        names in any::<[u8; 4]>(),
        verdicts in prop::collection::vec(any_verdict(), 0..4),
        passes in prop::collection::vec(any::<u32>(), 0..9),
        snapshot in prop::option::of(any::<[u8; 16]>()),
    ) -> Record {
        let header = RecordHeader {
            seq, class, clock_quality, coalesced, exemption_id,
            boot: BootId::from_bytes(boot),
            monotonic_ms: times.0,
            wall_ms: times.1,
            policy_set: set.map(Digest::from_bytes),
            trace_parent: String::new(),
        };
        let [a, b, c, d] = names.map(|n| n.to_string());
        let body = RecordBody::Verdict(VerdictRecord {
            subject: Subject::Kubernetes(ResourceRef { group: a, kind: b, namespace: c, name: d }),
            attributes: Attributes::at(checkpoint),
            verdicts,
            passes,
            withdrawn: Vec::new(),
            snapshot: snapshot.map(SnapshotId::from_bytes),
        });
        Record { header, body }
    }
}

proptest! {
    #[test]
    fn records_round_trip(record in any_record()) {
        let bytes = record::encode(&record);
        prop_assert_eq!(record::encoded_len(&record), bytes.len());
        prop_assert_eq!(record::decode(&bytes).unwrap(), record);
    }

    #[test]
    fn decoders_take_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = record::decode(&bytes);
        let _ = policy_set::decode(&bytes);
        let _ = batch::decode(&bytes);
        let _ = heartbeat::decode(&bytes);
        let _ = envelope::decode(&bytes);
        let _ = enrol::Enrol::decode(&bytes);
        let _ = enrol::Reenter::decode(&bytes);
        let _ = String::from_utf8_lossy(&bytes).parse::<provost_proto::token::Token>();
    }

    /// Bytes near valid ones reach deeper than random ones.
    #[test]
    fn decoders_take_damaged_bytes(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let all = records();
        let mut bytes = record::encode(which.get(&all)).to_vec();
        let position = at.index(bytes.len());
        bytes[position] ^= flip;
        let _ = record::decode(&bytes);
        let _ = record::decode(&bytes[..cut.index(bytes.len())]);
        let mut payload = batch::encode(&sample_batch()).unwrap();
        let position = at.index(payload.len());
        payload[position] ^= flip;
        let _ = batch::decode(&payload);
        let _ = batch::decode(&payload[..cut.index(payload.len())]);
    }
}
