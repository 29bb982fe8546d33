//! What every store must do. Each case takes a fresh `Store`; a store joins by one line of [`conformance!`].

mod bundles;
mod chains;
mod counts;
mod enrolment;
mod state;

use std::sync::Arc;

use provost_aggregator::store::identity::{Approval, Enrolled, NewEnrolment, NewToken};
use provost_aggregator::store::{Actor, SqliteStore, Store};
use provost_model::{ClusterId, Digest, InstanceId, Labels};
use provost_trust::KeyPair;

use crate::chain::Chain;

/// A store, and what must live as long.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

macro_rules! conformance {
    ($store:ident, $make:path: $($area:ident { $($case:ident),+ $(,)? })+) => {
        mod $store {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$area::$case($make().await).await;
                }
            )+)+
        }
    };
}

conformance!(sqlite, super::sqlite_store:
    enrolment {
        a_token_is_good_once_for_a_hundred_at_the_same_time,
        an_agent_that_lost_the_answer_asks_again,
        a_used_token_is_over_with_its_life_or_the_first_session,
        tokens_expire_and_unknown_ones_are_unknown,
        a_join_counter_that_forks_quarantines,
        who_is_released_comes_back_with_any_counter_once,
        a_renewal_leaves_its_audit_row,
        what_is_long_over_is_forgotten,
        decisions_leave_audit_rows,
    }
    chains {
        a_batch_twice_changes_nothing,
        many_at_the_same_time_are_each_answered,
        who_gives_up_takes_nobody_along,
        an_overlap_must_hash_equal,
        a_jump_is_an_alarm_until_it_is_filled,
        an_elision_is_a_gap_and_no_alarm,
        an_elision_over_acknowledged_records_is_accepted,
        a_quarantined_instance_waits_for_its_operator,
        a_new_epoch_replaces_the_old,
        envelopes_are_kept_byte_for_byte,
        an_audited_alarm_leaves_one_row_each_time_it_opens,
    }
    state {
        findings_open_and_close_with_their_verdict,
        a_snapshot_closes_what_it_did_not_see,
        an_incomplete_snapshot_closes_nothing,
        an_elision_within_a_snapshot_voids_it,
        a_snapshot_across_batches_counts_what_arrived,
        a_changed_uid_is_another_subject,
        a_removal_ends_everything,
        records_without_their_policy_set_ask_for_a_resync,
        only_the_auditing_instance_counts,
    }
    counts {
        rollups_equal_the_rows_whatever_happens,
    }
    bundles {
        a_version_is_published_once,
        a_refused_publication_leaves_a_trace,
    }
);

async fn sqlite_store() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("hub.db")).await.unwrap();
    Fixture { store: Arc::new(store), _folder: folder }
}

pub fn actor() -> Actor {
    Actor::token("tester")
}

pub fn enrolment(token: Digest, number: u8) -> (NewEnrolment, KeyPair) {
    let report = KeyPair::from_seed(&[number; 32]).unwrap();
    let request = NewEnrolment {
        token,
        cluster: ClusterId::from_bytes([number; 16]),
        instance: InstanceId::from_bytes([number; 16]),
        identity_key: *KeyPair::from_seed(&[number ^ 0x80; 32]).unwrap().public().as_bytes(),
        report_key: *report.public().as_bytes(),
        display_name: format!("cluster-{number}"),
        cluster_uid: format!("uid-{number}"),
        server_version: "1.33".to_owned(),
        version_hash: String::new(),
    };
    (request, report)
}

pub async fn token(store: &dyn Store, secret: &str) -> Digest {
    let token = Digest::of(secret.as_bytes());
    let new = NewToken {
        token,
        display_name: String::new(),
        labels: Labels::new(),
        expires_at_ms: 10_000,
    };
    store.create_token(&new, &actor(), 0).await.unwrap();
    token
}

/// An approved cluster, and the chain of its first instance.
pub async fn cluster(store: &dyn Store, number: u8) -> Chain {
    let token = token(store, &format!("secret-{number}")).await;
    let (request, report) = enrolment(token, number);
    assert!(matches!(store.enrol(&request, 1).await.unwrap(), Enrolled::New(_)));
    let approval = Approval {
        cluster: request.cluster,
        display_name: None,
        labels: Labels::new(),
        grant: "{}".to_owned(),
        grant_version: 1,
    };
    store.approve(&approval, &actor(), 2).await.unwrap();
    Chain::new(request.cluster, request.instance, report)
}
