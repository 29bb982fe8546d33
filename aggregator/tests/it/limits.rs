//! What one agent may take of the hub's listener.

use std::time::Duration;

use bytes::Bytes;
use provost_proto::v1;
use provost_proto::v1::agent_message::Message as ToHub;
use provost_proto::v1::fleet_client::FleetClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use crate::agent::SOON;
use crate::chain::activated;
use crate::hub::Fleet;

/// Long for an answer over loopback.
const A_WHILE: Duration = Duration::from_millis(500);

fn unknown_blob() -> Request<v1::FetchBlobRequest> {
    Request::new(v1::FetchBlobRequest { digest: Bytes::from(vec![7; 32]), offset: 0 })
}

/// How the hub answers on this connection: NOT_FOUND where it answers at all.
async fn asked(client: &mut FleetClient<Channel>) -> Code {
    let answer = tokio::time::timeout(SOON, client.fetch_blob(unknown_blob())).await;
    answer.expect("an answer in time").expect_err("there is no such blob").code()
}

#[tokio::test]
async fn of_three_connections_the_newest_two_stay() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut first = agent.connect().await;
    assert_eq!(asked(&mut first).await, Code::NotFound);
    let (mut second, mut third) = (agent.connect().await, agent.connect().await);
    assert_eq!(asked(&mut third).await, Code::NotFound);
    assert_eq!(asked(&mut second).await, Code::NotFound);
    assert_ne!(asked(&mut first).await, Code::NotFound, "it was cut");
    fleet.stop().await;
}

type Open = (mpsc::Sender<v1::AgentMessage>, Streaming<v1::HubMessage>);

async fn open(mut client: FleetClient<Channel>) -> Open {
    let (out, receiver) = mpsc::channel(1);
    let answer = client.session(ReceiverStream::new(receiver)).await.unwrap();
    (out, answer.into_inner())
}

#[tokio::test]
async fn a_ninth_stream_waits_for_one_of_eight_to_end() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let client = agent.connect().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let stream = tokio::time::timeout(SOON, open(client.clone())).await;
        streams.push(stream.expect("eight are let in"));
    }
    let ninth = open(client);
    tokio::pin!(ninth);
    assert!(tokio::time::timeout(A_WHILE, &mut ninth).await.is_err(), "the ninth waits");
    streams.pop();
    tokio::time::timeout(SOON, ninth).await.expect("there is room now");
    fleet.stop().await;
}

#[tokio::test]
async fn a_long_header_list_is_refused_and_the_next_call_is_heard() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut client = agent.connect().await;
    let mut long = unknown_blob();
    let value = "x".repeat(9 * 1024).parse().unwrap();
    long.metadata_mut().insert("x-long", value);
    let answer = tokio::time::timeout(SOON, client.fetch_blob(long)).await.unwrap();
    assert_ne!(answer.unwrap_err().code(), Code::NotFound, "it never reached the call");
    assert_eq!(asked(&mut agent.connect().await).await, Code::NotFound);
    fleet.stop().await;
}

/// Scenario: an agent opens its session, sends its batch again and again, and reads none of the answers. Guarantee: the
/// hub soon takes no more from it, others report as ever, and its session ends.
#[tokio::test]
async fn an_agent_that_never_reads_is_let_go() {
    /// Nothing is taken any more when this is not.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// More than HTTP/2 buffers on the way, and far less than a hub has memory.
    const MOST_BYTES: usize = 8 * 1024 * 1024;
    let fleet = Fleet::start(true).await;
    let mut deaf = fleet.enrolled().await;
    deaf.window = Some(1024);
    let session = deaf.session(&deaf.chain()).await;
    let mut batch = deaf.chain().batch(vec![activated()]);
    // A field that nobody knows, for its size.
    let mut padded = batch.envelope.to_vec();
    padded.extend([0x7a, 0x80, 0x80, 0x04]);
    padded.extend(vec![0; 64 * 1024]);
    batch.envelope = padded.into();
    let mut taken = 0;
    loop {
        let message = ToHub::Batch(batch.clone());
        let Ok(()) = tokio::time::timeout(PATIENCE, session.send(message)).await else { break };
        taken += batch.envelope.len();
        assert!(taken < MOST_BYTES, "the hub takes all of it");
    }

    let other = fleet.enrolled().await;
    let mut chain = other.chain();
    let mut heard = other.session(&chain).await;
    heard.batch(chain.batch(vec![activated()])).await;
    assert_eq!(heard.ack().await.acked_seq, 1);

    let sessions = &fleet.hub.hub.sessions;
    let ended = async {
        while sessions.count() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends");
    heard.batch(chain.batch(vec![activated()])).await;
    assert_eq!(heard.ack().await.acked_seq, 2, "the other one goes on");
    fleet.stop().await;
}
