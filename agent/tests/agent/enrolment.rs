//! Joining the fleet: tokens good and bad, approval, renewal, return after expiry.

use std::time::Duration;

use provost_model::Digest;
use provost_model::record::TrustEvent;

use super::hub::Hub;
use super::signing::Keys;
use super::{Running, config, enrolled};

fn has(folder: &std::path::Path, name: &str) -> bool {
    folder.join("data").join(name).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_enrols_once_and_a_restart_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    hub.wait("a heartbeat", |state| !state.heartbeats.is_empty()).await;
    let cluster = agent.status().cluster;
    assert!(cluster.is_some());
    let recorder = agent.stop().await;
    let events: Vec<_> = recorder.seen.lock().unwrap().trust.iter().map(|t| t.event).collect();
    assert_eq!(events, [TrustEvent::Enrolled]);

    let again = Running::start(folder.path(), None, hub.clock.clone()).await;
    again.link("connected", |link| link.connected).await;
    assert_eq!(again.status().cluster, cluster);
    assert_eq!(hub.asked(), (1, 0));
    let instances: Vec<_> = hub.state().hellos.iter().map(|hello| hello.instance).collect();
    assert!(instances.len() >= 2 && instances.iter().all(|instance| *instance == instances[0]));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_token_is_named_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start().await;
    hub.set(|state| state.secret = None);
    let agent = Running::start(folder.path(), Some(&hub.token()), hub.clock.clone()).await;
    let link = agent.link("refused", |link| link.problem.starts_with("TOKEN_USED")).await;
    assert_eq!((link.connected, agent.status().enrolment.as_str()), (false, "asked"));
    assert!(!has(folder.path(), "identity/tls-a.pem"));
    // A good token of the same fleet repairs it, without an empty folder.
    agent.stop().await;
    hub.set(|state| state.secret = Some("s3cret".to_owned()));
    let agent = Running::start(folder.path(), Some(&hub.token()), hub.clock.clone()).await;
    agent.link("connected", |link| link.connected).await;
    agent.stop().await;
}

/// The secret must not reach a hub of another CA.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ca_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start().await;
    let mut token = hub.token();
    token.ca_sha256 = Digest::of(b"another CA");
    let agent = Running::start(folder.path(), Some(&token), hub.clock.clone()).await;
    agent.link("refused", |link| link.problem.starts_with("WRONG_CA")).await;
    agent.stop().await;
    assert_eq!(hub.asked(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_of_another_trust_domain_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start().await;
    let mut token = hub.token();
    token.trust_domain = "other.test".to_owned();
    let agent = Running::start(folder.path(), Some(&token), hub.clock.clone()).await;
    agent.link("refused", |link| link.problem.starts_with("WRONG_TRUST_DOMAIN")).await;
    agent.stop().await;
    assert_eq!(hub.state().enrols, 0);
}

/// A hub that could choose the root could choose the policies.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_another_root_gets_no_agent() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start().await;
    let evil = Keys::make().root();
    hub.set(|state| state.roots = vec![evil]);
    let agent = Running::start(folder.path(), Some(&hub.token()), hub.clock.clone()).await;
    agent.link("refused", |link| link.problem.starts_with("WRONG_ROOT")).await;
    agent.stop().await;
    assert!(!has(folder.path(), "identity/tls-a.pem") && !has(folder.path(), "trust/state.json"));
    assert!(hub.state().hellos.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_agent_waits_for_a_person_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start().await;
    hub.set(|state| state.approves = false);
    let agent = Running::start(folder.path(), Some(&hub.token()), hub.clock.clone()).await;
    agent.link("pending", |link| link.problem.contains("waiting for a person")).await;
    hub.wait("it asks again", |state| state.reenters >= 2).await;
    assert_eq!(agent.status().enrolment, "pending");
    agent.stop().await;
    let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
    assert_eq!(agent.status().enrolment, "pending", "it has a cluster id, and nobody approved");
    hub.set(|state| state.approves = true);
    agent.link("connected", |link| link.connected).await;
    assert_eq!(agent.status().enrolment, "enrolled");
    assert_eq!(hub.state().enrols, 1);
    agent.stop().await;
}

/// Guarantee: once a hub answers that a person has to approve, nothing of what failed before stands beside it.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_before_the_hub_answered_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start().await;
    let evil = Keys::make().root();
    hub.set(|state| state.roots = vec![evil]);
    let agent = Running::start(folder.path(), Some(&hub.token()), hub.clock.clone()).await;
    agent.link("refused", |link| link.problem.starts_with("WRONG_ROOT")).await;
    hub.set(|state| state.approves = false);
    agent.link("pending", |link| link.problem.contains("waiting for a person")).await;
    let parts = agent.status().parts;
    let part = parts.iter().find(|part| part.name == "hub").unwrap();
    assert!(!part.healthy && part.detail.contains("waiting for a person"), "{parts:?}");
    agent.stop().await;
}

/// Guarantee: a token file that was forgotten is named, not asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start().await;
    let mut config = config(folder.path(), None);
    config.token_missing = Some("/nowhere/token".into());
    let recorder = super::Recorder::new();
    let agent = Running::start_by(config, recorder, hub.clock.clone()).await;
    let link = agent.link("no token", |link| link.problem.starts_with("NEEDS_APPROVAL")).await;
    assert!(link.problem.contains("token_file /nowhere/token is not there"), "{link:?}");
    agent.stop().await;
}

/// The hub was away while the certificate ran out; no person is needed.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_replaced_by_reentry() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    agent.stop().await;
    hub.clock.advance(Duration::from_secs(3 * 86_400));
    let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
    agent.link("connected", |link| link.connected).await;
    assert!(hub.state().reenters >= 1);
    let recorder = agent.stop().await;
    let events: Vec<_> = recorder.seen.lock().unwrap().trust.iter().map(|t| t.event).collect();
    assert_eq!(events, [TrustEvent::Reentered]);
}

/// Issued certificates count from five minutes ago: of one that lives 100 s from now, half is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_at_half_of_its_life() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start_with(100).await;
    let agent = Running::start(folder.path(), Some(&hub.token()), hub.clock.clone()).await;
    hub.wait("a renewal", |state| state.renewals >= 1).await;
    agent.link("renewed", |_| has(folder.path(), "identity/tls-b.pem")).await;
    agent.stop().await;
    assert!(has(folder.path(), "identity/tls-b.pem"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_data_folder_has_one_agent_and_one_fleet() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    let second = try_start(&folder, None, &hub).await;
    assert!(second.unwrap_err().contains("another agent runs"));
    agent.stop().await;
    let elsewhere = Hub::start().await;
    let moved = try_start(&folder, Some(&elsewhere), &hub).await;
    assert!(moved.unwrap_err().contains("enrolled elsewhere"));
}

async fn try_start(
    folder: &tempfile::TempDir,
    token_of: Option<&Hub>,
    hub: &Hub,
) -> Result<(), String> {
    let tasks = provost_runtime::tasks::Tasks::new(provost_runtime::shutdown::Shutdown::new());
    let listener = provost_runtime::admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let config = config(folder.path(), token_of.map(Hub::token).as_ref());
    let plane = super::Recorder::new().plane();
    let clock = hub.clock.clone();
    let started =
        provost_agent::run::Agent::start_on(plane, None, config, clock, listener, &tasks).await;
    started.map(drop).map_err(|error| format!("{error:#}"))
}
