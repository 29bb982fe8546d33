//! What reads bytes that others wrote, one function a decoder: the fuzz targets call them with
//! mutated bytes, a test replays the seeds through them.
//!
//! None may panic, whatever the bytes; what is read and can be written again must then read the same.
//! Where a checksum or a compression guards a format, there is a second way in behind it, because
//! a fuzzer guesses neither.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use provost_agent::config::Settings as AgentSettings;
use provost_proto::{
    Message, batch, enrol, heartbeat, hello, policy_set, record, session, token, v1,
};
use provost_runtime::config::{self, Overrides};
use provost_trust::exemptions::Exemptions;
use provost_trust::{Assignment, Envelope, Grant, PolicyManifest, Root};

#[path = "../../../aggregator/src/config.rs"]
#[allow(dead_code, clippy::all, clippy::pedantic)]
mod hub_config;
#[path = "../../../cli/src/commands/scan/written.rs"]
#[allow(dead_code, clippy::all, clippy::pedantic)]
mod scan_settings_file;

/// Gets the bytes.
pub type Decoder = fn(&[u8]);

/// A decoder by the name of its target and of its folder of seeds.
pub const ALL: &[(&str, Decoder)] = &[
    ("agent_config", agent_config),
    ("assignment", assignment),
    ("batch", batch_payload),
    ("batch_body", batch_body),
    ("checkpoint", checkpoint),
    ("dsse", dsse),
    ("enrol", enrolment),
    ("exemptions", exemptions),
    ("grant", grant),
    ("heartbeat", heartbeat_payload),
    ("hub_config", hub_configuration),
    ("json", json),
    ("metadata", metadata),
    ("policy_manifest", policy_manifest),
    ("policy_set", policy_set_bytes),
    ("record", record_bytes),
    ("review", review),
    ("root", root),
    ("scan_settings", scan_settings),
    ("session", session_messages),
    ("spool_end", spool_end),
    ("spool_head", spool_head),
    ("spool_manifest", spool_manifest),
    ("spool_pack", spool_pack),
    ("token", enrolment_token),
    ("yaml", yaml),
];

/// The payload of something signed: what was read is written and read again.
macro_rules! signed {
    ($name:ident, $type:ty) => {
        pub fn $name(bytes: &[u8]) {
            let Ok(read) = <$type>::parse(bytes) else { return };
            let again = read.to_unsigned().expect("what was read can be written");
            assert_eq!(<$type>::parse(&again.payload).expect("and read"), read);
        }
    };
}

signed!(root, Root);
signed!(policy_manifest, PolicyManifest);
signed!(assignment, Assignment);
signed!(grant, Grant);
signed!(exemptions, Exemptions);

pub fn dsse(bytes: &[u8]) {
    let Ok(envelope) = Envelope::from_json(bytes) else { return };
    let again = Envelope::from_json(envelope.to_json().as_bytes()).expect("it reads again");
    assert_eq!(again, envelope);
}

pub fn batch_payload(bytes: &[u8]) {
    let Ok(read) = batch::decode(bytes) else { return };
    // Bytes that the agent never writes may pass, such as an elision without a cause of ours; what
    // stands in them is fixed by the signature over these very bytes.
    let _ = read.chain_holds();
    for item in &read.items {
        if let batch::Item::Record(bytes) = item {
            record_bytes(bytes);
        }
    }
}

/// The body of a batch, behind its compression.
pub fn batch_body(bytes: &[u8]) {
    let id = Bytes::from_static(&[7; 16]);
    let digest = Bytes::from_static(&[7; 32]);
    // The first byte says how many items the payload claims; the body may disagree.
    let (&count, body) = bytes.split_first().unwrap_or((&1, &[]));
    let payload = |compression: v1::Compression, body: Vec<u8>, size: usize| v1::BatchPayload {
        cluster_id: id.clone(),
        instance_id: id.clone(),
        epoch: 1,
        prev_head: digest.clone(),
        head: digest.clone(),
        first_seq: 1,
        last_seq: u64::from(count),
        compression: compression.into(),
        body_size: u32::try_from(size).unwrap_or(u32::MAX),
        body: body.into(),
    };
    batch_payload(&payload(v1::Compression::None, body.to_vec(), body.len()).encode_to_vec());
    // The bytes as a frame of zstd, and compressed as they should be.
    let foreign = payload(v1::Compression::Zstd, body.to_vec(), usize::from(count) * 4096);
    batch_payload(&foreign.encode_to_vec());
    let frame = zstd::bulk::compress(body, 1).expect("it compresses");
    batch_payload(&payload(v1::Compression::Zstd, frame, body.len()).encode_to_vec());
}

pub fn heartbeat_payload(bytes: &[u8]) {
    let Ok(read) = heartbeat::decode(bytes) else { return };
    assert_eq!(heartbeat::decode(&heartbeat::encode(&read)).expect("it reads again"), read);
}

pub fn enrolment(bytes: &[u8]) {
    if let Ok(read) = enrol::Enrol::decode(bytes) {
        let again = enrol::Enrol::decode(&read.encode()).expect("it reads again");
        assert_eq!(again.encode(), read.encode());
    }
    if let Ok(read) = enrol::Reenter::decode(bytes) {
        let again = enrol::Reenter::decode(&read.encode()).expect("it reads again");
        assert_eq!(again.encode(), read.encode());
    }
    if let Ok(wire) = v1::EnrolResponse::decode(bytes) {
        let _ = enrol::certificates_from_wire(wire.certificates);
    }
}

pub fn record_bytes(bytes: &[u8]) {
    let Ok(read) = record::decode(bytes) else { return };
    let encoded = record::encode(&read);
    assert_eq!(encoded.len(), record::encoded_len(&read));
    assert_eq!(record::decode(&encoded).expect("it reads again"), read);
}

pub fn policy_set_bytes(bytes: &[u8]) {
    let Ok(read) = policy_set::decode(bytes) else { return };
    assert_eq!(policy_set::decode(&policy_set::encode(&read)).expect("it reads again"), read);
}

/// Both directions of the session.
pub fn session_messages(bytes: &[u8]) {
    use v1::agent_message::Message as Up;
    use v1::hub_message::Message as Down;
    if let Ok(v1::AgentMessage { message: Some(message), .. }) = v1::AgentMessage::decode(bytes) {
        match message {
            Up::Hello(wire) => drop(hello::from_wire(wire)),
            Up::BundleAck(wire) => drop(session::BundleAnswer::try_from(wire)),
            Up::BundleNack(wire) => drop(session::BundleAnswer::try_from(wire)),
            Up::Batch(_) | Up::Heartbeat(_) => {}
        }
    }
    if let Ok(v1::HubMessage { message: Some(message), .. }) = v1::HubMessage::decode(bytes) {
        match message {
            Down::Welcome(wire) => drop(session::Welcome::try_from(wire)),
            Down::Ack(wire) => drop(session::Ack::try_from(wire)),
            Down::Assignment(wire) => drop(session::Assignment::try_from(wire)),
            Down::Exemptions(_) | Down::Request(_) => {}
        }
    }
}

/// A pack of the spool as it stands, and one frame behind pack, compression and checksums.
pub fn spool_pack(bytes: &[u8]) {
    use provost_agent::spool::frame;
    let _ = frame::unpack(bytes);
    let (&count, frames) = bytes.split_first().unwrap_or((&1, &[]));
    let mut whole = frames.to_vec();
    whole.extend(crc32c::crc32c(frames).to_be_bytes());
    let mut pack = b"PP\x01\0".to_vec();
    pack.extend(u32::from(count).to_be_bytes());
    pack.extend(u32::try_from(whole.len()).unwrap_or(u32::MAX).to_be_bytes());
    let body = zstd::bulk::compress(&whole, 1).expect("it compresses");
    let crc = crc32c::crc32c_append(crc32c::crc32c(&pack), &body);
    pack.extend(crc.to_be_bytes());
    pack.extend(body);
    if let Ok(entries) = frame::unpack(&pack) {
        let entries: Vec<_> = entries.iter().collect();
        let again = frame::unpack(&frame::pack(&entries).expect("it packs")).expect("it unpacks");
        assert!(again.iter().eq(entries), "it reads the same");
    }
}

/// The end of a store, as it stands and behind the right first line.
pub fn spool_end(bytes: &[u8]) {
    use provost_agent::spool::disk::parse_end;
    let _ = parse_end(bytes);
    let mut text = format!("provost-spool-end 1 {:08x}\n", crc32c::crc32c(bytes)).into_bytes();
    text.extend(bytes);
    let _ = parse_end(&text);
}

/// The spool's manifest, as it stands and behind the right first line.
pub fn spool_manifest(bytes: &[u8]) {
    use provost_agent::spool::recovery::{decode_manifest, encode_manifest, manifest_version};
    let _ = manifest_version(bytes);
    let mut text = format!("provost-spool-manifest 1 {:08x}\n", crc32c::crc32c(bytes)).into_bytes();
    text.extend(bytes);
    for manifest in [bytes, &text] {
        if let Some(ledger) = decode_manifest(manifest) {
            let again = decode_manifest(&encode_manifest(&ledger));
            assert_eq!(again, Some(ledger), "it reads the same");
        }
    }
}

/// A slot of the head file, as it stands and under its right checksum.
pub fn spool_head(bytes: &[u8]) {
    use provost_agent::spool::head::{SLOT_BYTES, decode};
    let mut slot = [0; SLOT_BYTES];
    let length = bytes.len().min(SLOT_BYTES);
    slot[..length].copy_from_slice(&bytes[..length]);
    let _ = decode(&slot);
    let (content, crc) = slot.split_at_mut(SLOT_BYTES - 4);
    crc.copy_from_slice(&crc32c::crc32c(content).to_be_bytes());
    let _ = decode(&slot);
}

/// The verdict table's file as it stands, and frames behind compression and checksums: each of the
/// input's chunks is a kind, a length of two bytes and so many bytes.
pub fn checkpoint(bytes: &[u8]) {
    read_checkpoint(bytes);
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let Some((&[kind, high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (payload, after) = after.split_at(length);
        let start = frames.len();
        frames.extend(*b"PT\x01");
        frames.push(kind);
        frames.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        frames.extend(payload);
        let crc = crc32c::crc32c(&frames[start..]);
        frames.extend(crc.to_be_bytes());
        rest = after;
    }
    read_checkpoint(&zstd::bulk::compress(&frames, 1).expect("it compresses"));
}

fn read_checkpoint(bytes: &[u8]) {
    use provost_agent::state::checkpoint::Reader;
    let Ok(mut reader) = Reader::new(bytes) else { return };
    while let Ok(Some(_)) = reader.next_subject() {}
}

pub fn yaml(bytes: &[u8]) {
    manifests("file.yaml", bytes);
}

pub fn json(bytes: &[u8]) {
    manifests("file.json", bytes);
}

/// What is read can be looked into and shown: every document gives JSON or says why not.
fn manifests(name: &str, bytes: &[u8]) {
    use serde::Deserialize as _;
    let content =
        provost_manifests::read_bytes(&Arc::from(name), Some(Path::new(name)), bytes.to_vec());
    for problem in &content.problems {
        let _ = problem.to_string();
    }
    for document in &content.documents {
        let _ = serde_json::Value::deserialize(&document.node);
    }
}

/// The body of an admission review.
pub fn review(bytes: &[u8]) {
    let _ = provost_agent::admission::reads(bytes);
}

/// `.provost.yaml`
pub fn scan_settings(bytes: &[u8]) {
    let _ = scan_settings_file::parse(".provost.yaml", bytes.to_vec());
}

pub fn agent_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("agent.yaml");
    let read = config::parse::<AgentSettings>(path, text, &Overrides::default());
    if let Ok(mut settings) = read {
        // What it names is read: not from this machine.
        settings.token_file = None;
        let _ = provost_agent::config::Config::check(settings);
    }
}

pub fn hub_configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("hub.yaml");
    if let Err(error) = config::parse::<hub_config::Config>(path, text, &Overrides::default()) {
        let _ = error.to_string();
    }
}

pub fn enrolment_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(read) = text.parse::<token::Token>() else { return };
    let again = read.to_text().parse::<token::Token>().expect("it reads again");
    assert_eq!(*again.to_text(), *read.to_text());
}

/// METADATA of a policy, as the comment above its package.
pub fn metadata(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut policy = String::from("# METADATA\n");
    for line in text.lines() {
        policy.push_str("# ");
        policy.push_str(line);
        policy.push('\n');
    }
    policy.push_str("package provost.area.slug\n\nviolation contains {} if false\n");
    let files =
        std::collections::BTreeMap::from([("area/slug/policy.rego".to_owned(), policy.into())]);
    if let Err(problems) = provost_bundle::source::from_files("tree", &files) {
        for problem in &problems {
            let _ = problem.to_string();
        }
    }
}
