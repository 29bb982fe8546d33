//! Encoding, signing and verifying a batch, as agent and hub do it.

use anyhow::Context as _;
use bytes::Bytes;
use provost_model::{ClusterId, InstanceId, Record};
use provost_proto::batch::{Batch, Item};
use provost_proto::{batch, envelope, record};
use provost_trust::chain::{self, GENESIS};
use provost_trust::dsse::payload_type;
use provost_trust::{Envelope, KeyPair};

use crate::records;
use crate::timing::median_us;

const RECORDS: u64 = 512;

pub fn run() -> anyhow::Result<()> {
    println!("\na batch of {RECORDS} records, microseconds");
    for (what, from) in [("new objects", 0), ("changes", RECORDS)] {
        let all = records::records(&records::world(RECORDS)?, from, RECORDS);
        one(what, all)?;
    }
    Ok(())
}

fn one(what: &str, mut all: Vec<Record>) -> anyhow::Result<()> {
    for (seq, record) in (1..).zip(&mut all) {
        record.header.seq = seq;
    }
    let encode = median_us(20, || all.iter().map(record::encode).collect::<Vec<Bytes>>());
    let items: Vec<Bytes> = all.iter().map(record::encode).collect();
    let plain: usize = items.iter().map(Bytes::len).sum();
    let head = chain::extend(GENESIS, items.iter().map(|bytes| &bytes[..]));
    let batch = Batch {
        cluster: ClusterId::from_bytes([1; 16]),
        instance: InstanceId::from_bytes([2; 16]),
        epoch: 1,
        prev_head: GENESIS,
        head,
        first_seq: 1,
        last_seq: RECORDS,
        items: items.into_iter().map(Item::Record).collect(),
    };
    let payload = batch::encode(&batch)?;
    let compress = median_us(20, || batch::encode(&batch).map(|payload| payload.len()));
    let key = KeyPair::generate()?;
    let sign = median_us(20, || {
        envelope::encode(Envelope::sign(payload_type::BATCH, payload.clone(), &[&key]))
    });
    let wire = envelope::encode(Envelope::sign(payload_type::BATCH, payload.clone(), &[&key]));
    let public = [key.public()];
    let verify = median_us(20, || {
        let envelope = envelope::decode(&wire).ok()?;
        envelope.verify(payload_type::BATCH, &public, 1).ok().map(|payload| payload.len())
    });
    let decode = median_us(20, || decoded(&payload));
    decoded(&payload).context("the batch can be read")?;
    let each = wire.len() / all.len();
    println!(
        "  {what:12} encode {encode:8.0}  chain+zstd {compress:8.0}  sign {sign:6.0}  verify {verify:6.0}  \
         decode+chain {decode:8.0}  {} bytes plain, {} signed ({each} each)",
        plain,
        wire.len()
    );
    Ok(())
}

/// What the hub does with a verified payload.
fn decoded(payload: &[u8]) -> Option<usize> {
    let batch = batch::decode(payload).ok()?;
    let records = batch.items.iter().filter(|item| match item {
        Item::Record(bytes) => record::decode(bytes).is_ok(),
        Item::Elision(_) => false,
    });
    let count = records.count();
    batch.chain_holds().then_some(count)
}
