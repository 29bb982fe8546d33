//! What an auditor takes away by the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use provost_aggregator::store::reports::HeartbeatRow;
use provost_model::Digest;

use super::fleet::{Fleet, NOW_MS};

/// Guarantee: a heartbeat leaves the hub with the bytes that it was stored with.
#[tokio::test]
async fn heartbeats_leave_as_they_came() {
    let fleet = Fleet::start().await;
    let (cluster, instance, _) = fleet.pending("edge", "edge").await;
    let path = format!("/api/v1/clusters/{cluster}/heartbeats");
    assert_eq!(fleet.get(&path).await.json(), serde_json::json!([]));
    let row = HeartbeatRow {
        cluster,
        instance,
        received_at_ms: NOW_MS,
        epoch: 3,
        last_seq: 7,
        head: Digest::of(b"head"),
        spool_records: 0,
        spool_bytes: 0,
        spool_oldest_age_ms: 0,
        trust_state_digest: String::new(),
        health: None,
        envelope: Bytes::from_static(b"as it came"),
    };
    fleet.store().heartbeat(&row).await.unwrap();
    let answer = fleet.get(&path).await.json();
    assert_eq!(answer[0]["envelope"], STANDARD.encode("as it came"));
    assert_eq!((&answer[0]["epoch"], &answer[0]["lastSeq"]), (&3.into(), &7.into()));
    assert_eq!(answer[0]["instance"], instance.to_string());
    fleet.stop().await;
}
