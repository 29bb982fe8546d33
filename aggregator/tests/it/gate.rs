//! The gate of bundles: what is refused, why, and that nothing changes by it.

use std::sync::Arc;

use provost_aggregator::bundles::publish::{PublishRequest, publish};
use provost_aggregator::bundles::roots;
use provost_aggregator::ca::HubKeys;
use provost_aggregator::hub::{Hub, Settings};
use provost_aggregator::store::{Actor, SqliteStore};
use provost_model::Code;
use provost_proto::session::MAX_ROOTS;
use provost_runtime::clock::{Manual, SharedClock};
use provost_runtime::metrics::Registry;
use provost_trust::KeyPair;

use crate::signer::{Signer, altered, contents};

const NOW_MS: i64 = 1_800_000_000_000;
const POLICY: &str = "host-network";

async fn hub() -> (Arc<Hub>, Signer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let clock: SharedClock = Manual::at(NOW_MS);
    let domain = "fleet.test".parse().unwrap();
    let keys = HubKeys::open(folder.path(), &domain, &*clock).unwrap();
    let store = SqliteStore::open(&folder.path().join("hub.db")).await.unwrap();
    let settings = Settings {
        heartbeat_interval: std::time::Duration::from_secs(30),
        auto_approve: false,
        agent_urls: Vec::new(),
        agent_address: "127.0.0.1:1".parse().unwrap(),
    };
    let hub = Hub::open(store, clock, keys, domain, settings, &Registry::new()).await.unwrap();
    let signer = Signer::new(hub.keys.director.public(), NOW_MS);
    (hub, signer, folder)
}

async fn refused(hub: &Arc<Hub>, request: PublishRequest) -> Code {
    publish(hub, request, &Actor::token("tester")).await.unwrap_err().code
}

#[tokio::test]
async fn versions_rise_and_the_same_one_is_the_same() {
    let (hub, signer, _folder) = hub().await;
    let (one, two) = (contents(&[POLICY]), contents(&[POLICY, "host-path"]));
    let first = signer.publish(&hub, &one, 5).await.unwrap();
    assert!(first.published && first.tests > 0);
    assert_eq!(first.plan.policies.len(), 1);
    assert!(!signer.publish(&hub, &one, 5).await.unwrap().published, "the same again is no news");
    assert_eq!(signer.publish(&hub, &two, 4).await.unwrap_err().code, Code::Older);
    assert_eq!(signer.publish(&hub, &two, 5).await.unwrap_err().code, Code::SameVersionDiffers);
    let planned = PublishRequest { plan_only: true, ..signer.request(&two, 6) };
    let planned = publish(&hub, planned, &Actor::token("tester")).await.unwrap();
    assert!(!planned.published);
    assert_eq!(planned.plan.policies[0].policy.as_str(), "host-path");
    assert_eq!(hub.store.bundles().await.unwrap().len(), 1, "a plan publishes nothing");
    // What the hub holds need not be sent again.
    let mut delta = signer.request(&two, 6);
    let held = one.files.values().collect::<Vec<_>>();
    delta.blobs.retain(|blob| !held.contains(&blob));
    publish(&hub, delta, &Actor::token("tester")).await.unwrap();
    assert_eq!(hub.store.bundles().await.unwrap()[0].version, 6);
}

#[tokio::test]
async fn what_is_not_signed_by_the_known_root_is_refused() {
    let (hub, signer, _folder) = hub().await;
    let files = contents(&[POLICY]);
    let mut no_root = signer.request(&files, 1);
    no_root.roots.clear();
    assert_eq!(refused(&hub, no_root).await, Code::WrongRoot);
    let stranger = Signer::new(KeyPair::generate().unwrap().public(), NOW_MS);
    assert_eq!(
        refused(&hub, stranger.request(&files, 1)).await,
        Code::WrongRoot,
        "it names another director"
    );
    signer.publish(&hub, &files, 1).await.unwrap();

    let other = Signer::new(hub.keys.director.public(), NOW_MS);
    assert_eq!(
        refused(&hub, other.request(&files, 2)).await,
        Code::SameVersionDiffers,
        "another first root"
    );
    let mut unsigned = signer.request(&files, 2);
    unsigned.manifest.signatures.clear();
    assert_eq!(refused(&hub, unsigned).await, Code::Unsigned);
    let mut foreign = signer.request(&files, 2);
    foreign.manifest = other.sign(&other.manifest(&files, 2));
    assert_eq!(refused(&hub, foreign).await, Code::ThresholdNotMet);
    let mut bent = signer.request(&files, 2);
    *bent.manifest.payload.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&hub, bent).await, Code::BadSignature);
    let mut expired = signer.manifest(&files, 2);
    expired.created = provost_trust::Timestamp::from_unix_ms(NOW_MS - 2_000_000);
    expired.expires = provost_trust::Timestamp::from_unix_ms(NOW_MS - 1_000_000);
    let expired = PublishRequest { manifest: signer.sign(&expired), ..signer.request(&files, 2) };
    assert_eq!(refused(&hub, expired).await, Code::Expired);
    assert_eq!(hub.store.bundles().await.unwrap().len(), 1);
    let refusals = hub.store.audit_log(None, 20).await.unwrap();
    assert_eq!(
        refusals.iter().filter(|(_, entry)| entry.result != "ok").count(),
        7,
        "each left its row"
    );
}

#[tokio::test]
async fn files_are_exactly_those_that_were_signed() {
    let (hub, signer, _folder) = hub().await;
    let files = contents(&[POLICY]);
    let mut missing = signer.request(&files, 1);
    missing.blobs.pop();
    assert_eq!(refused(&hub, missing).await, Code::FileMissing);
    let mut bent = signer.request(&files, 1);
    let changed = altered(&files, "policy.rego", |text| format!("{text}\n# changed"));
    bent.blobs = changed.files.values().cloned().collect();
    assert_eq!(refused(&hub, bent).await, Code::FileUnexpected);
    let mut more = signer.request(&files, 1);
    more.blobs.push("package extra".into());
    assert_eq!(refused(&hub, more).await, Code::FileUnexpected);
    assert!(
        hub.store.roots_after(0).await.unwrap().is_empty(),
        "a refused publication establishes no root"
    );
}

#[tokio::test]
async fn policies_compile_and_pass_their_own_tests_before_anybody_gets_them() {
    let (hub, signer, _folder) = hub().await;
    let files = contents(&[POLICY]);
    let broken =
        altered(&files, "policy.rego", |text| format!("{text}\nviolation contains v if {{"));
    let refusal = signer.publish(&hub, &broken, 1).await.unwrap_err();
    assert!(
        !refusal.errors.is_empty() && refusal.errors[0].path.ends_with("policy.rego"),
        "{refusal:?}"
    );
    let silent = altered(&files, "policy.rego", |text| {
        text.replace("violation contains", "nothing contains")
    });
    let refusal = signer.publish(&hub, &silent, 1).await.unwrap_err();
    assert!(!refusal.errors.is_empty(), "{refusal:?}");
    assert!(hub.store.bundles().await.unwrap().is_empty());
}

/// Scenario: a root was replaced more often than one message may say. Guarantee: who comes for the first time gets the newest, and
/// who fell behind gets the next ones, as many as an agent takes.
#[tokio::test]
async fn a_long_chain_of_roots_comes_in_parts() {
    let (hub, signer, _folder) = hub().await;
    let chain = signer.rotated(MAX_ROOTS + 5);
    let request =
        PublishRequest { roots: chain.clone(), ..signer.request(&contents(&[POLICY]), 1) };
    publish(&hub, request, &Actor::token("tester")).await.unwrap();
    assert_eq!(roots::latest(&hub).await.unwrap(), chain[6..]);
    assert_eq!(roots::following(&hub, 2).await.unwrap(), chain[2..2 + MAX_ROOTS]);
    assert_eq!(roots::following(&hub, MAX_ROOTS as u64).await.unwrap(), chain[MAX_ROOTS..]);
}
