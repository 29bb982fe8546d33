//! A row of each table, read whole into the store's types; what a query counts or joins is read beside that query.

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;

use super::row::Fields as _;
use crate::store::access::ApiTokenRow;
use crate::store::bundles::BundleRow;
use crate::store::history::{AdmissionRow, ObjectName, TransitionRow};
use crate::store::identity::{CertificateRow, Cluster, ClusterStatus, Instance, TokenRow};
use crate::store::reports::{AlarmRow, BatchRow, GapRow, HeartbeatRow, Position};
use crate::store::{Actor, AuditEntry, Error, Result};

pub(super) fn position(row: &SqliteRow) -> Result<Position> {
    Ok(Position {
        epoch: row.count("epoch")?,
        seq: row.count("acked_seq")?,
        head: row.parsed("head")?,
    })
}

pub(super) fn heartbeat(row: &SqliteRow) -> Result<HeartbeatRow> {
    Ok(HeartbeatRow {
        cluster: row.parsed("cluster_id")?,
        instance: row.parsed("instance_id")?,
        received_at_ms: row.int("received_at_ms")?,
        epoch: row.count("epoch")?,
        last_seq: row.count("last_seq")?,
        head: row.parsed("head")?,
        spool_records: row.count("spool_records")?,
        spool_bytes: row.count("spool_bytes")?,
        spool_oldest_age_ms: row.count("spool_oldest_age_ms")?,
        trust_state_digest: row.text("trust_state_digest")?,
        health: Some(row.json("health")?),
        envelope: Bytes::from(row.bytes("envelope")?),
    })
}

pub(super) fn alarm(row: &SqliteRow) -> Result<AlarmRow> {
    Ok(AlarmRow {
        cluster: row.parsed("cluster_id")?,
        instance: row.parsed("instance_id")?,
        code: row.text("code")?,
        detail: row.text("detail")?,
        times: row.count("times")?,
        raised_at_ms: row.int("raised_at_ms")?,
        last_at_ms: row.int("last_at_ms")?,
        resolved_at_ms: row.int_opt("resolved_at_ms")?,
    })
}

pub(super) fn gap(row: &SqliteRow) -> Result<GapRow> {
    Ok(GapRow {
        cluster: row.parsed("cluster_id")?,
        instance: row.parsed("instance_id")?,
        epoch: row.count("epoch")?,
        from_seq: row.count("from_seq")?,
        to_seq: row.count("to_seq")?,
        declared: row.flag("declared")?,
        reason: row.text("reason")?,
        counts: row.text("counts")?,
        detected_at_ms: row.int("detected_at_ms")?,
        resolved_at_ms: row.int_opt("resolved_at_ms")?,
    })
}

pub(super) fn batch(row: &SqliteRow) -> Result<BatchRow> {
    Ok(BatchRow {
        cluster: row.parsed("cluster_id")?,
        instance: row.parsed("instance_id")?,
        epoch: row.count("epoch")?,
        first_seq: row.count("first_seq")?,
        last_seq: row.count("last_seq")?,
        prev_head: row.parsed("prev_head")?,
        head: row.parsed("head")?,
        received_at_ms: row.int("received_at_ms")?,
        envelope: Bytes::from(row.bytes("envelope")?),
    })
}

pub(super) fn token(row: &SqliteRow) -> Result<TokenRow> {
    Ok(TokenRow {
        token: row.parsed("token_hash")?,
        display_name: row.text("display_name")?,
        labels: row.json("labels")?,
        created_at_ms: row.int("created_at_ms")?,
        created_by: row.text("created_by")?,
        expires_at_ms: row.int("expires_at_ms")?,
        used_at_ms: row.int_opt("used_at_ms")?,
        used_by: row.parsed_opt("used_by")?,
    })
}

pub(super) fn cluster(row: &SqliteRow) -> Result<Cluster> {
    let status = row.text("status")?;
    Ok(Cluster {
        id: row.parsed("cluster_id")?,
        display_name: row.text("display_name")?,
        status: ClusterStatus::parse(&status).ok_or_else(|| Error::corrupt("clusters", &status))?,
        labels: row.json("labels")?,
        grant: row.text_opt("grant_envelope")?,
        grant_version: row.count("grant_version")?,
        identity_key: row.key("identity_key")?,
        cluster_uid: row.text("cluster_uid")?,
        server_version: row.text("server_version")?,
        enrolled_at_ms: row.int("enrolled_at_ms")?,
        decided_at_ms: row.int_opt("decided_at_ms")?,
        decided_by: row.text_opt("decided_by")?,
        last_heard_at_ms: row.int_opt("last_heard_at_ms")?,
        auditing_instance: row.parsed_opt("auditing_instance")?,
        quarantined: row.flag("quarantined")?,
        agent_version: row.text("agent_version")?,
        clock_offset_ms: row.int("clock_offset_ms")?,
        active_manifest: row.parsed_opt("active_manifest")?,
        active_version: row.count_opt("active_version")?,
        policy_set: row.parsed_opt("policy_set")?,
        snapshot_at_ms: row.int_opt("snapshot_at_ms")?,
    })
}

pub(super) fn instance(row: &SqliteRow) -> Result<Instance> {
    Ok(Instance {
        cluster: row.parsed("cluster_id")?,
        id: row.parsed("instance_id")?,
        report_key: row.key("report_key")?,
        join_counter: row.count("join_counter")?,
        enrolled_at_ms: row.int("enrolled_at_ms")?,
        last_heard_at_ms: row.int_opt("last_heard_at_ms")?,
        quarantine: row.text_opt("quarantine_code")?,
        quarantined_at_ms: row.int_opt("quarantined_at_ms")?,
    })
}

pub(super) fn certificate(row: &SqliteRow) -> Result<CertificateRow> {
    Ok(CertificateRow {
        serial: row.text("serial")?,
        cluster: row.parsed("cluster_id")?,
        instance: row.parsed("instance_id")?,
        spki: row.parsed("spki_digest")?,
        issued_at_ms: row.int("issued_at_ms")?,
        not_after_ms: row.int("not_after_ms")?,
        revoked_at_ms: row.int_opt("revoked_at_ms")?,
    })
}

pub(super) fn bundle(row: &SqliteRow) -> Result<BundleRow> {
    Ok(BundleRow {
        channel: row.text("channel")?,
        version: row.count("version")?,
        manifest: row.parsed("manifest_digest")?,
        content: row.parsed("content_digest")?,
        envelope: row.text("manifest_envelope")?,
        floor_version: row.count("floor_version")?,
        created_at_ms: row.int("created_at_ms")?,
        expires_at_ms: row.int("expires_at_ms")?,
        policies: row.count("policies")?,
        published_at_ms: row.int("published_at_ms")?,
        published_by: row.text("published_by")?,
    })
}

pub(super) fn api_token(row: &SqliteRow) -> Result<ApiTokenRow> {
    Ok(ApiTokenRow {
        token: row.parsed("token_hash")?,
        name: row.text("name")?,
        role: row.text("role")?,
        created_at_ms: row.int("created_at_ms")?,
        created_by: row.text("created_by")?,
        expires_at_ms: row.int("expires_at_ms")?,
        revoked_at_ms: row.int_opt("revoked_at_ms")?,
    })
}

pub(super) fn audit(row: &SqliteRow) -> Result<(i64, AuditEntry)> {
    let entry = AuditEntry {
        at_ms: row.int("at_ms")?,
        actor: Actor(row.text("actor")?),
        action: row.text("action")?,
        target: row.text("target")?,
        result: row.text("result")?,
        detail: row.text("detail")?,
    };
    Ok((row.int("id")?, entry))
}

pub(super) fn transition(row: &SqliteRow) -> Result<TransitionRow> {
    Ok(TransitionRow {
        id: row.int("id")?,
        from_outcome: row.text_opt("from_outcome")?,
        to_outcome: row.text_opt("to_outcome")?,
        reason: row.text("reason")?,
        coalesced: row.count("coalesced")?,
        valid_at_ms: row.int("valid_at_ms")?,
        received_at_ms: row.int("received_at_ms")?,
    })
}

pub(super) fn admission(row: &SqliteRow) -> Result<AdmissionRow> {
    Ok(AdmissionRow {
        id: row.int("id")?,
        cluster: row.parsed("cluster_id")?,
        object: ObjectName {
            group: row.text("api_group")?,
            kind: row.text("kind")?,
            namespace: row.text("namespace")?,
            name: row.text("name")?,
        },
        operation: row.text("operation")?,
        allowed: row.flag("allowed")?,
        verdicts: row.text("verdicts")?,
        coalesced: row.count("coalesced")?,
        valid_at_ms: row.int("valid_at_ms")?,
    })
}
