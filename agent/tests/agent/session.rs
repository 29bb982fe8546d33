//! The session: batches and credit, acknowledgements, resuming, epochs, quarantine.

use std::time::Duration;

use provost_model::Code;
use provost_model::record::SnapshotReason;
use provost_proto::session::Resume;

use super::{Running, enrolled};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_arrives_once_and_in_order_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    agent.recorder.append(7);
    hub.wait("seven records", |state| state.position.is_some_and(|(_, seq, _)| seq == 7)).await;
    agent.link("acknowledged", |link| link.acked_seq == 7).await;
    assert_eq!(agent.recorder.acked_seq(), 7);
    let recorder = agent.stop().await;
    recorder.append(4);
    let agent = Running::start_on(recorder, folder.path(), None, hub.clock.clone()).await;
    agent.link("acknowledged", |link| link.acked_seq == 11).await;
    let seqs: Vec<_> = hub.state().batches.iter().map(|b| (b.first_seq, b.last_seq)).collect();
    assert_eq!(seqs, [(1, 2), (3, 4), (5, 6), (7, 7), (8, 9), (10, 11)]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_comes_back_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    hub.stop();
    agent.link("gone", |link| !link.connected && link.problem.starts_with("UNAVAILABLE")).await;
    agent.recorder.append(3);
    assert_eq!(agent.recorder.acked_seq(), 0);
    agent.stop().await;
}

/// Scenario: the hub ends sessions that are old, again and again. Guarantee: the agent comes back by itself, and nowhere is it
/// said that something failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_in_order_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    for sessions in 2..5 {
        hub.set(|state| state.dismiss = Some(Duration::from_millis(1)));
        hub.wait("another session", |state| state.hellos.len() == sessions).await;
        let link = agent.link("connected", |link| link.connected).await;
        assert_eq!(link.problem, "");
    }
    let metrics = get(&agent.agent.admin_address.to_string(), "/metrics").await;
    assert!(metrics.contains("provost_agent_link_failures_total 0\n"), "{metrics}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_may_ask_for_a_full_resync_and_for_a_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    let recorder = agent.stop().await;
    hub.set(|state| state.resume = Some(Resume::FullResync));
    let agent = Running::start_on(recorder, folder.path(), None, hub.clock.clone()).await;
    agent.link("connected", |link| link.connected).await;
    assert_eq!(agent.recorder.seen.lock().unwrap().snapshots, [SnapshotReason::Requested]);
    let recorder = agent.stop().await;

    hub.set(|state| state.resume = Some(Resume::NewEpoch));
    let agent = Running::start_on(recorder, folder.path(), None, hub.clock.clone()).await;
    agent.link("connected", |link| link.connected).await;
    agent.recorder.append(1);
    agent.link("acknowledged", |link| link.acked_seq == 1).await;
    let epochs: Vec<_> = hub.state().hellos.iter().map(|hello| hello.epoch).collect();
    assert_eq!(epochs[epochs.len() - 2..], [1, 2]);
    assert_eq!(hub.state().batches.last().unwrap().epoch, 2);
    agent.stop().await;
}

/// A quarantined instance keeps its batches and goes on with its heartbeats.
#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_agent_still_gives_signs_of_life() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    hub.set(|state| state.refuse_batches = Some(Code::Quarantined));
    agent.recorder.append(1);
    agent.link("refused", |link| link.problem.starts_with("QUARANTINED")).await;
    agent.link("connected", |link| link.connected).await;
    let beats = hub.state().heartbeats.len();
    hub.wait("more heartbeats", |state| state.heartbeats.len() >= beats + 3).await;
    assert!(agent.agent.board.link.borrow().connected);
    assert_eq!(agent.recorder.acked_seq(), 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_tells_how_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (_hub, agent) = enrolled(folder.path()).await;
    let address = std::fs::read_to_string(folder.path().join("data/admin.addr")).unwrap();
    assert_eq!(address.trim(), agent.agent.admin_address.to_string());
    let page = get(address.trim(), "/").await;
    assert!(page.contains("connected to https://"), "{page}");
    let metrics = get(address.trim(), "/metrics").await;
    assert!(metrics.contains("provost_agent_hub_connected 1"), "{metrics}");
    agent.stop().await;
    let offline = provost_agent::status::from_data_folder(&folder.path().join("data")).unwrap();
    let offline = offline.unwrap();
    assert_eq!((offline.running, offline.enrolment.as_str()), (false, "enrolled"));
}

async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
