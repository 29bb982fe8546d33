//! Scenario: an auditor gets an export and checks it with the operators' root alone. Guarantee: what
//! the agents signed verifies, and no byte of it can change unnoticed.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provost_model::id::{BootId, SessionId};
use provost_model::record::{
    Class, ClockQuality, Elision, ElisionReason, ModeEvent, ModeRecord, RecordHeader,
};
use provost_model::{ClusterId, Digest, InstanceId, Labels, Record, RecordBody};
use provost_proto::batch::{self, Item};
use provost_proto::heartbeat::{self, Heartbeat};
use provost_proto::{envelope, record};
use provost_trust::dsse::payload_type;
use provost_trust::grant::{Grant, GrantedInstance};
use provost_trust::{Envelope, KeyPair, PolicyManifest, Timestamp, chain, files};
use serde_json::{Value, json};

use crate::program::{Said, provost};

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const INSTANCE: InstanceId = InstanceId::from_bytes([2; 16]);

struct Evidence {
    folder: tempfile::TempDir,
    report: KeyPair,
    director: KeyPair,
    policy: KeyPair,
}

impl Evidence {
    /// A root made by the program itself, a grant, and three batches; the last has an elision.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let (director, report) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let policy = KeyPair::generate().unwrap();
        for key in ["root", "policy"] {
            success(at, &["keys", "generate", "--out", &format!("{key}.key.json")]);
        }
        let director_key = director.public().to_string();
        let policy_key = policy.public().to_string();
        success(at, &["root", "init", "--key", "root.pub.json", "--policy-key", "policy.pub.json"]);
        success(at, &["root", "add-key", "--role", "director", "--public", &director_key]);
        success(at, &["root", "add-key", "--role", "policy", "--public", &policy_key]);
        success(at, &["root", "sign", "--key", "root.key.json"]);
        let evidence = Self { folder, report, director, policy };
        evidence.write_export();
        evidence
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("export").join(name)
    }

    fn batches(&self) -> PathBuf {
        self.at(&format!("clusters/{CLUSTER}/batches.jsonl"))
    }

    fn write_export(&self) {
        let batches = self.batches();
        fs::create_dir_all(batches.parent().unwrap()).unwrap();
        fs::create_dir_all(self.at("grants")).unwrap();
        let chain = json!({"instance": INSTANCE, "epoch": 1, "batches": 3, "lastSeq": 11});
        self.write_summary(|summary| {
            *summary = json!({
                "version": 1,
                "clusters": [{"id": CLUSTER, "name": "edge", "chains": [chain]}],
                "batches": 3, "heartbeats": 1, "grants": 1, "roots": 0, "manifests": 0,
            });
        });
        self.write_grant(&self.director);
        fs::write(batches, lines(&self.report)).unwrap();
        self.write_heartbeat(&self.report, 4, 4, None);
    }

    /// As the agent signs it; the head is that of the batches unless another one is given.
    fn write_heartbeat(&self, key: &KeyPair, last_seq: u64, acked_seq: u64, head: Option<Digest>) {
        let records = (1..=last_seq.min(6)).map(|seq| chain::leaf(&record::encode(&mode(seq))));
        let real = records.fold(chain::GENESIS, |head, leaf| chain::next(&head, &leaf));
        let payload = heartbeat::encode(&Heartbeat {
            cluster: CLUSTER,
            instance: INSTANCE,
            session: SessionId::from_bytes([5; 16]),
            epoch: 1,
            last_seq,
            head: head.unwrap_or(real),
            acked_seq,
            spool_records: last_seq - acked_seq,
            spool_bytes: 0,
            spool_oldest_age_ms: 0,
            trust_state: None,
            wall_ms: 1_795_000_000_000,
            monotonic_ms: 1,
            boot: BootId::from_bytes([3; 16]),
            health_digest: None,
            health: None,
        });
        let signed = Envelope::sign(payload_type::HEARTBEAT, payload, &[key]);
        let line = json!({"cluster": CLUSTER, "instance": INSTANCE, "epoch": 1, "lastSeq": last_seq,
            "envelope": STANDARD.encode(envelope::encode(signed))});
        fs::write(self.at(&format!("clusters/{CLUSTER}/heartbeats.jsonl")), format!("{line}\n"))
            .unwrap();
    }

    fn write_summary(&self, change: impl FnOnce(&mut Value)) {
        let path = self.at("export.json");
        let text = fs::read(&path).unwrap_or_else(|_| b"null".to_vec());
        let mut summary = serde_json::from_slice(&text).unwrap();
        change(&mut summary);
        fs::write(path, summary.to_string()).unwrap();
    }

    fn write_grant(&self, signer: &KeyPair) {
        let grant = Grant {
            cluster_id: CLUSTER,
            trust_domain: "fleet.example".to_owned(),
            version: 1,
            identity_key: KeyPair::from_seed(&[9; 32]).unwrap().public(),
            instances: vec![GrantedInstance {
                instance_id: INSTANCE,
                report_key: self.report.public(),
            }],
            labels: Labels::new(),
            issued: Timestamp::from_unix_s(1_795_000_000),
        };
        let mut envelope = grant.to_unsigned().unwrap();
        envelope.add_signature(signer);
        fs::write(self.at(&format!("grants/{CLUSTER}.json")), envelope.to_json()).unwrap();
    }

    fn write_manifest(&self) {
        let created = Timestamp::from_unix_s(1_795_000_000);
        let manifest = PolicyManifest {
            channel: "stable".to_owned(),
            version: 1,
            floor_version: 0,
            revoked_versions: Vec::new(),
            created,
            expires: Timestamp::from_unix_s(1_796_000_000),
            scope: Default::default(),
            rings: Vec::new(),
            engine: Default::default(),
            limits: Default::default(),
            content_digest: files::content_digest(&[]),
            files: Vec::new(),
        };
        let mut envelope = manifest.to_unsigned().unwrap();
        envelope.add_signature(&self.policy);
        fs::create_dir_all(self.at("manifests")).unwrap();
        let name = format!("manifests/{}.json", envelope.payload_digest());
        fs::write(self.at(&name), envelope.to_json()).unwrap();
        self.write_summary(|summary| summary["manifests"] = json!(1));
    }

    /// A root of version 2 with another policy and another director key in place of the first.
    fn rotate(&self) {
        let at = self.folder.path();
        for (role, old) in [("director", &self.director), ("policy", &self.policy)] {
            let new = KeyPair::generate().unwrap().public().to_string();
            success(at, &["root", "add-key", "--role", role, "--public", &new]);
            let old = old.public().to_string();
            success(at, &["root", "remove-key", "--role", role, "--public", &old]);
        }
        success(at, &["root", "sign", "--key", "root.key.json"]);
    }

    fn verify(&self) -> (i32, Value) {
        let said = self.run(&["-o", "json"]);
        (said.code, serde_json::from_str(&said.out).unwrap_or(Value::Null))
    }

    fn run(&self, more: &[&str]) -> Said {
        let mut arguments = vec!["verify-reports", "--from", "export", "--roots", "root.json"];
        arguments.extend(more);
        provost(self.folder.path(), &arguments, "")
    }
}

fn success(folder: &Path, arguments: &[&str]) {
    let said = provost(folder, arguments, "");
    assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
}

fn lines(key: &KeyPair) -> String {
    let (mut seq, mut head) = (0, chain::GENESIS);
    let mut text = String::new();
    for number in 0..3 {
        let (first_seq, prev_head) = (seq + 1, head);
        let mut items = Vec::new();
        for _ in 0..2 {
            seq += 1;
            let bytes = record::encode(&mode(seq));
            head = chain::next(&head, &chain::leaf(&bytes));
            items.push(Item::Record(bytes));
        }
        if number == 2 {
            let elision = Elision {
                from_seq: seq + 1,
                to_seq: seq + 5,
                chain_before: head,
                chain_after: Digest::of(b"after"),
                reason: ElisionReason::Cap,
                counts: Vec::new(),
            };
            (seq, head) = (elision.to_seq, elision.chain_after);
            items.push(Item::Elision(elision));
        }
        let payload = batch::encode(&batch::Batch {
            cluster: CLUSTER,
            instance: INSTANCE,
            epoch: 1,
            prev_head,
            head,
            first_seq,
            last_seq: seq,
            items,
        });
        let signed = Envelope::sign(payload_type::BATCH, payload.unwrap(), &[key]);
        let wire = envelope::encode(signed);
        let line = json!({"cluster": CLUSTER, "instance": INSTANCE, "epoch": 1,
            "firstSeq": first_seq, "lastSeq": seq, "envelope": STANDARD.encode(wire)});
        text.push_str(&format!("{line}\n"));
    }
    text
}

fn mode(seq: u64) -> Record {
    Record {
        header: RecordHeader {
            seq,
            class: Class::P0,
            boot: BootId::from_bytes([3; 16]),
            monotonic_ms: seq,
            wall_ms: 1_795_000_000_000,
            clock_quality: ClockQuality::Synced,
            policy_set: None,
            coalesced: 1,
            exemption_id: String::new(),
            trace_parent: String::new(),
        },
        body: RecordBody::Mode(ModeRecord {
            event: ModeEvent::Started,
            capability: "watch".to_owned(),
            detail: "a".repeat(40),
        }),
    }
}

#[test]
fn what_agents_signed_verifies_and_its_gaps_are_listed() {
    let (code, report) = Evidence::new().verify();
    assert_eq!(code, 0, "{report}");
    let cluster = &report["clusters"][0];
    assert_eq!(
        (&cluster["records"], &cluster["batches"], &cluster["elided"]),
        (&json!(6), &json!(3), &json!(5))
    );
    assert_eq!(
        cluster["chains"][0]["gaps"][0],
        json!({"fromSeq": 7, "toSeq": 11, "reason": "cap"})
    );
    assert_eq!(cluster["grantedBy"], "director");
}

/// Every byte of the second envelope, one at a time.
#[test]
fn no_altered_byte_goes_unnoticed() {
    let evidence = Evidence::new();
    let path = evidence.batches();
    let text = fs::read_to_string(&path).unwrap();
    let whole: Vec<&str> = text.lines().collect();
    let mut line: Value = serde_json::from_str(whole[1]).unwrap();
    let bytes = STANDARD.decode(line["envelope"].as_str().unwrap()).unwrap();
    // Every seventh keeps the test short and still reaches type, payload, key id and signature.
    for at in (0..bytes.len()).step_by(7) {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        line["envelope"] = STANDARD.encode(altered).into();
        fs::write(&path, format!("{}\n{line}\n{}\n", whole[0], whole[2])).unwrap();
        let (code, report) = evidence.verify();
        assert_eq!((code, &report["verified"]), (1, &json!(false)), "byte {at}: {report}");
    }
}

#[test]
fn a_batch_left_out_moved_or_repeated_is_noticed() {
    let evidence = Evidence::new();
    let path = evidence.batches();
    let text = fs::read_to_string(&path).unwrap();
    let all: Vec<&str> = text.lines().collect();
    let orders = [&[0, 2][..], &[1, 2], &[1, 0, 2], &[0, 1, 1, 2]];
    for order in orders {
        let lines: Vec<&str> = order.iter().map(|index| all[*index]).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(evidence.verify().0, 1, "{order:?}");
    }
}

#[test]
fn a_grant_of_somebody_else_vouches_for_nothing() {
    let evidence = Evidence::new();
    evidence.write_grant(&KeyPair::generate().unwrap());
    let (code, report) = evidence.verify();
    assert_eq!(code, 1);
    let said = report["clusters"][0]["failures"][0].as_str().unwrap();
    assert!(said.contains("grant does not verify"), "{said}");

    evidence.write_grant(&evidence.director);
    fs::write(evidence.batches(), lines(&KeyPair::generate().unwrap())).unwrap();
    assert_eq!(evidence.verify().0, 1, "reports signed by another key");

    fs::remove_file(evidence.at(&format!("grants/{CLUSTER}.json"))).unwrap();
    assert_eq!(evidence.verify().0, 1, "without a grant");
}

#[test]
fn an_unfinished_export_is_named() {
    let evidence = Evidence::new();
    fs::remove_file(evidence.at("export.json")).unwrap();
    let said = evidence.run(&[]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("provost fleet export"), "{}", said.err);
}

#[test]
fn what_was_signed_before_a_rotation_still_verifies() {
    let evidence = Evidence::new();
    evidence.write_manifest();
    evidence.rotate();
    let whole = |report: &Value| {
        (report["rootVersion"].clone(), report["clusters"][0]["grantRootVersion"].clone())
    };
    let (code, report) = evidence.verify();
    assert_eq!(code, 0, "{report}");
    assert_eq!(whole(&report), (json!(2), json!(1)));
    assert_eq!(report["manifests"], json!({"checked": 1, "failures": []}));

    // The old root is the auditor's, the new one the export's.
    let at = evidence.folder.path();
    fs::create_dir_all(evidence.at("roots")).unwrap();
    evidence.write_summary(|summary| summary["roots"] = json!(1));
    fs::rename(at.join("root.json"), evidence.at("roots/2.json")).unwrap();
    fs::rename(at.join("root.1.json"), at.join("root.json")).unwrap();
    let (code, report) = evidence.verify();
    assert_eq!((code, whole(&report)), (0, (json!(2), json!(1))), "{report}");

    // Nobody but the root's own chain says what came before: the export cannot.
    fs::rename(at.join("root.json"), evidence.at("roots/1.json")).unwrap();
    evidence.write_summary(|summary| summary["roots"] = json!(2));
    fs::copy(evidence.at("roots/2.json"), at.join("root.json")).unwrap();
    let (code, report) = evidence.verify();
    assert_eq!((code, &report["verified"]), (1, &json!(false)), "{report}");
    assert_eq!(report["manifests"]["failures"].as_array().map(Vec::len), Some(1));
}

/// Every failure that the report tells, of whatever part.
fn failures(report: &Value) -> String {
    let lists = [
        &report["clusters"][0]["failures"],
        &report["manifests"]["failures"],
        &report["export"]["failures"],
    ];
    lists
        .iter()
        .flat_map(|list| list.as_array().into_iter().flatten())
        .map(|f| format!("{f}\n"))
        .collect()
}

#[test]
fn a_tail_cut_off_is_noticed() {
    let evidence = Evidence::new();
    let text = fs::read_to_string(evidence.batches()).unwrap();
    let shorter: Vec<&str> = text.lines().take(2).collect();
    fs::write(evidence.batches(), shorter.join("\n")).unwrap();
    let (code, report) = evidence.verify();
    assert_eq!((code, &report["verified"]), (1, &json!(false)), "{report}");
    let said = failures(&report);
    assert!(said.contains("states 3 batches to seq 11, but 2 to seq 4 verify"), "{said}");
    assert!(said.contains("states 3 batches, but has 2"), "{said}");

    for emptied in [true, false] {
        if emptied {
            fs::write(evidence.batches(), "").unwrap();
        } else {
            fs::remove_file(evidence.batches()).unwrap();
        }
        let (code, report) = evidence.verify();
        assert_eq!(code, 1, "{report}");
        assert!(failures(&report).contains("but 0 to seq 0 verify"), "{report}");
    }
}

/// Scenario: the hub withholds the newest batches and states a chain that ends before them. Guarantee: the agent's
/// signed heartbeat gives it away; records that were still on their way accuse nobody.
#[test]
fn a_tail_that_the_hub_withholds_is_noticed() {
    let evidence = Evidence::new();
    let (code, report) = evidence.verify();
    assert_eq!(code, 0, "{report}");
    let said = &report["clusters"][0]["heartbeats"][0];
    assert_eq!((&said["ackedSeq"], &said["notSent"]), (&json!(4), &json!(0)), "{said}");

    evidence.write_heartbeat(&evidence.report, 14, 11, None);
    let (code, report) = evidence.verify();
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["clusters"][0]["heartbeats"][0]["notSent"], json!(3));
    assert!(evidence.run(&[]).out.contains("3 records had not been taken"));

    let text = fs::read_to_string(evidence.batches()).unwrap();
    let shorter: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
    fs::write(evidence.batches(), shorter).unwrap();
    evidence.write_summary(|summary| {
        summary["batches"] = json!(2);
        let chain = &mut summary["clusters"][0]["chains"][0];
        (chain["batches"], chain["lastSeq"]) = (json!(2), json!(4));
    });
    let (code, report) = evidence.verify();
    assert_eq!(code, 1, "{report}");
    let said = failures(&report);
    assert!(said.contains("took its records to seq 11, and the export ends at 4"), "{said}");

    // All of it withheld.
    fs::write(evidence.batches(), "").unwrap();
    evidence.write_summary(|summary| {
        summary["batches"] = json!(0);
        summary["clusters"][0]["chains"] = json!([]);
    });
    let (code, report) = evidence.verify();
    assert_eq!(code, 1, "{report}");
    assert!(failures(&report).contains("the export ends at 0"), "{report}");
}

#[test]
fn a_heartbeat_of_another_history_or_key_is_noticed() {
    let evidence = Evidence::new();
    // Seq 3 lies inside the second batch.
    evidence.write_heartbeat(&evidence.report, 3, 3, None);
    assert_eq!(evidence.verify().0, 0);
    evidence.write_heartbeat(&evidence.report, 3, 3, Some(Digest::of(b"other")));
    let (code, report) = evidence.verify();
    assert_eq!(code, 1, "{report}");
    assert!(failures(&report).contains("signed another head for seq 3"), "{report}");

    evidence.write_heartbeat(&KeyPair::generate().unwrap(), 4, 4, None);
    let (code, report) = evidence.verify();
    assert_eq!(code, 1, "{report}");
    assert!(failures(&report).contains("heartbeat 1: "), "{report}");
    fs::remove_file(evidence.at(&format!("clusters/{CLUSTER}/heartbeats.jsonl"))).unwrap();
    let (code, report) = evidence.verify();
    assert_eq!(code, 1, "{report}");
    assert!(failures(&report).contains("states 1 heartbeats, but has 0"), "{report}");
}

#[test]
fn a_cluster_left_out_is_noticed() {
    let evidence = Evidence::new();
    evidence.write_summary(|summary| summary["clusters"] = json!([]));
    let (code, report) = evidence.verify();
    assert_eq!((code, &report["verified"]), (1, &json!(false)), "{report}");
    let said = failures(&report);
    assert!(said.contains(&format!("clusters/{CLUSTER} is of no cluster")), "{said}");
    assert!(said.contains(&format!("grants/{CLUSTER}.json is of no cluster")), "{said}");

    // With its folder and its grant gone too, the counts still tell.
    fs::remove_dir_all(evidence.at("clusters")).unwrap();
    fs::remove_dir_all(evidence.at("grants")).unwrap();
    let (code, report) = evidence.verify();
    assert_eq!(code, 1, "{report}");
    assert!(failures(&report).contains("states 3 batches, but has 0"), "{report}");
}

#[test]
fn people_are_told_whose_word_the_keys_are() {
    let evidence = Evidence::new();
    let said = evidence.run(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("granted by the director"), "{}", said.out);
    assert!(said.out.contains("the hub's word"), "{}", said.out);
    let operator = KeyPair::generate().unwrap();
    let public = operator.public().to_string();
    let at = evidence.folder.path();
    success(at, &["root", "add-key", "--role", "operator", "--public", &public]);
    success(at, &["root", "sign", "--key", "root.key.json"]);
    evidence.write_grant(&operator);
    let said = evidence.run(&[]);
    assert!(said.out.contains("granted by an operator"), "{}", said.out);
}
