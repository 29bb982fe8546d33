//! Enrolment and re-entry inside one transaction each.

use provost_model::{ClusterId, InstanceId};
use sqlx::SqliteConnection;

use super::identity::{
    audit, cluster_in, clusters, instance_in, labels_json, no_cluster, quarantine,
};
use super::row::{Fields as _, int};
use super::rows;
use crate::store::identity::{
    Cluster, ClusterStatus, Enrolled, Instance, NewEnrolment, Reentered, Reentry, TokenRow,
};
use crate::store::{Actor, Result};

/// A counter counts certificates: no agent comes near this, and what comes after it is still a number to store.
const MAX_JOIN_COUNTER: u64 = 1 << 62;

pub async fn enrol(
    tx: &mut SqliteConnection,
    request: &NewEnrolment,
    now_ms: i64,
) -> Result<Enrolled> {
    let token = sqlx::query("SELECT * FROM enrol_tokens WHERE token_hash = $1")
        .bind(request.token.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(token) = token.as_ref().map(rows::token).transpose()? else {
        return Ok(Enrolled::TokenUnknown);
    };
    let known = sqlx::query(concat!(clusters!(), " WHERE identity_key = $1"))
        .bind(hex::encode(request.identity_key))
        .fetch_optional(&mut *tx)
        .await?;
    let known = known.as_ref().map(rows::cluster).transpose()?;
    if let Some(used_by) = token.used_by {
        let answerable = token.expires_at_ms > now_ms;
        let cluster = known.filter(|cluster| cluster.id == used_by && answerable);
        let Some(cluster) = cluster else { return Ok(Enrolled::TokenUsed) };
        let again = lost_the_answer(tx, &cluster, request).await?;
        return Ok(if again { Enrolled::Again(Box::new(cluster)) } else { Enrolled::TokenUsed });
    }
    if token.expires_at_ms <= now_ms {
        return Ok(Enrolled::TokenExpired { expired_at_ms: token.expires_at_ms });
    }
    if known.is_some() {
        return Ok(Enrolled::KeyInUse);
    }
    insert_cluster(tx, request, &token, now_ms).await?;
    sqlx::query("UPDATE enrol_tokens SET used_at_ms = $2, used_by = $3 WHERE token_hash = $1 AND used_at_ms IS NULL")
        .bind(request.token.to_string())
        .bind(now_ms)
        .bind(request.cluster.to_string())
        .execute(&mut *tx)
        .await?;
    let cluster =
        cluster_in(tx, request.cluster).await?.ok_or_else(|| no_cluster(request.cluster))?;
    Ok(Enrolled::New(Box::new(cluster)))
}

/// The same agent, which was not heard since: it may never have got our answer. Afterwards it re-enters instead.
async fn lost_the_answer(
    tx: &mut SqliteConnection,
    cluster: &Cluster,
    request: &NewEnrolment,
) -> Result<bool> {
    let instance = instance_in(tx, cluster.id, request.instance).await?;
    let Some(instance) = instance.filter(|known| known.report_key == request.report_key) else {
        return Ok(false);
    };
    Ok(instance.join_counter == 1 && !join(tx, &instance).await?.confirmed)
}

async fn insert_cluster(
    tx: &mut SqliteConnection,
    request: &NewEnrolment,
    token: &TokenRow,
    now_ms: i64,
) -> Result<()> {
    let name =
        if token.display_name.is_empty() { &request.display_name } else { &token.display_name };
    sqlx::query(
        "INSERT INTO clusters (cluster_id, display_name, status, labels, identity_key, cluster_uid, server_version, \
         version_hash, enrolled_at_ms) VALUES ($1, $2, 'PENDING', $3, $4, $5, $6, $7, $8)",
    )
    .bind(request.cluster.to_string())
    .bind(name)
    .bind(labels_json(&token.labels)?)
    .bind(hex::encode(request.identity_key))
    .bind(&request.cluster_uid)
    .bind(&request.server_version)
    .bind(&request.version_hash)
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    insert_instance(tx, request.cluster, request.instance, &request.report_key, now_ms).await
}

async fn insert_instance(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    instance: InstanceId,
    report_key: &[u8; 32],
    now_ms: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO instances (cluster_id, instance_id, report_key, join_counter, enrolled_at_ms) \
         VALUES ($1, $2, $3, 1, $4)",
    )
    .bind(cluster.to_string())
    .bind(instance.to_string())
    .bind(hex::encode(report_key))
    .bind(now_ms)
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn reenter(
    tx: &mut SqliteConnection,
    request: &Reentry,
    now_ms: i64,
) -> Result<Reentered> {
    let cluster = sqlx::query(concat!(clusters!(), " WHERE identity_key = $1"))
        .bind(hex::encode(request.identity_key))
        .fetch_optional(&mut *tx)
        .await?;
    let Some(cluster) = cluster.as_ref().map(rows::cluster).transpose()? else {
        return Ok(Reentered::Unknown);
    };
    let nonce = sqlx::query(
        "INSERT INTO reentry_nonces (nonce, seen_at_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(request.nonce.to_string())
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    if nonce.rows_affected() == 0 {
        return Ok(Reentered::Replayed);
    }
    let actor = Actor(format!("agent:{}", cluster.id));
    let target = format!("{}/{}", cluster.id, request.instance);
    let Some(instance) = instance_in(tx, cluster.id, request.instance).await? else {
        if !request.admit_new_instance {
            return Ok(Reentered::Unknown);
        }
        insert_instance(tx, cluster.id, request.instance, &request.report_key, now_ms).await?;
        audit(tx, &actor, "instance.join", &target, "ok", String::new(), now_ms).await?;
        return Ok(Reentered::Ok { cluster: Box::new(cluster), join_counter: 1 });
    };
    let given = instance.join_counter;
    let join = join(tx, &instance).await?;
    let lost_answer = request.join_counter.checked_add(1) == Some(given) && !join.confirmed;
    let join_counter = match request.join_counter {
        // A PENDING agent only asks; the counter counts certificates.
        _ if cluster.status != ClusterStatus::Approved => given,
        counter if counter == given => given + 1,
        _ if lost_answer => given,
        // Beyond both, so that whoever holds another copy is found out.
        counter if join.resync && counter <= MAX_JOIN_COUNTER => given.max(counter) + 1,
        counter => {
            let detail = format!("join counter {counter} where {given} was given last");
            quarantine(tx, cluster.id, instance.id, "CLONE_SUSPECTED", &detail, now_ms).await?;
            return Ok(Reentered::Forked { expected: given });
        }
    };
    sqlx::query(
        "UPDATE instances SET join_counter = $3, report_key = $4, join_confirmed = 0, join_resync = $5 \
         WHERE cluster_id = $1 AND instance_id = $2",
    )
    .bind(cluster.id.to_string())
    .bind(request.instance.to_string())
    .bind(int(join_counter))
    .bind(hex::encode(request.report_key))
    .bind(i64::from(join.resync && cluster.status != ClusterStatus::Approved))
    .execute(&mut *tx)
    .await?;
    // A PENDING agent asks every few seconds: that is no news.
    if cluster.status == ClusterStatus::Approved {
        audit(
            tx,
            &actor,
            "instance.reenter",
            &target,
            "ok",
            format!("join counter {join_counter}"),
            now_ms,
        )
        .await?;
    }
    Ok(Reentered::Ok { cluster: Box::new(cluster), join_counter })
}

/// How the last join of an instance ended.
struct Join {
    /// The agent was seen since its counter was given: before that, it may never have got the answer.
    confirmed: bool,
    /// An operator released the instance since: the next counter counts, whatever it is.
    resync: bool,
}

async fn join(tx: &mut SqliteConnection, instance: &Instance) -> Result<Join> {
    let row = sqlx::query(
        "SELECT join_confirmed, join_resync FROM instances WHERE cluster_id = $1 AND instance_id = $2",
    )
    .bind(instance.cluster.to_string())
    .bind(instance.id.to_string())
    .fetch_one(tx)
    .await?;
    Ok(Join { confirmed: row.flag("join_confirmed")?, resync: row.flag("join_resync")? })
}
