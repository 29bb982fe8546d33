//! What an open session is offered and may fetch, and how large a message the listener lets in.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use provost_aggregator::bundles::publish;
use provost_aggregator::enrol::{self, ApprovalRequest};
use provost_model::limits::MAX_ENROL_MESSAGE_BYTES;
use provost_model::{Code, Digest, LabelSelector, Labels};
use provost_proto::session::{Assignment, BundleAnswer};
use provost_proto::v1::hub_message::Message as FromHub;
use provost_proto::{status, v1};
use provost_trust::Assignment as Assigned;
use tower::ServiceExt as _;

use crate::agent::{Agent, SOON, Session};
use crate::chain::activated;
use crate::hub::{Fleet, POLICY, operator};
use crate::signer::contents;

fn tier(value: &str) -> Labels {
    Labels::from([("tier".to_owned(), value.to_owned())])
}

/// Publishes a version for clusters of this tier alone.
async fn publish_for(fleet: &Fleet, policies: &[&str], version: u64, value: &str) -> Digest {
    let files = contents(policies);
    let mut request = fleet.signer.request(&files, version);
    let mut manifest = fleet.signer.manifest(&files, version);
    manifest.scope = LabelSelector { match_labels: tier(value), ..LabelSelector::default() };
    request.manifest = fleet.signer.sign(&manifest);
    publish::publish(&fleet.hub.hub, request, &operator()).await.unwrap().manifest
}

async fn relabel(fleet: &Fleet, agent: &Agent, value: &str) {
    let request = ApprovalRequest { labels: Some(tier(value)), ..ApprovalRequest::default() };
    enrol::approve(&fleet.hub.hub, agent.cluster.unwrap(), request, &operator()).await.unwrap();
}

fn version(offer: &Assignment) -> u64 {
    Assigned::parse(&offer.assignment.payload).unwrap().version
}

/// Versions that the hub offers until it acknowledges a batch: messages are answered in order.
async fn offered_before_the_next_ack(
    agent: &Agent,
    session: &mut Session,
    chain: &mut crate::chain::Chain,
) -> Vec<u64> {
    assert_eq!(chain.instance, agent.instance);
    session.batch(chain.batch(vec![activated()])).await;
    let mut versions = Vec::new();
    loop {
        match session.next().await.unwrap() {
            FromHub::Assignment(offer) => versions.push(version(&offer.try_into().unwrap())),
            FromHub::Ack(_) => return versions,
            _ => {}
        }
    }
}

/// Scenario: version 2 is published while the agent still fetches version 1. Guarantee: it is offered at once, and what
/// the agent says it has then is what later offers go by.
#[tokio::test]
async fn an_agent_that_fetches_one_version_is_offered_the_next() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut session = agent.session(&agent.chain()).await;
    let first = session.assignment().await;
    assert_eq!(version(&first), 1);
    let second = publish_for(&fleet, &[POLICY, "host-path"], 2, "edge").await;
    assert_eq!(version(&session.assignment().await), 2);
    let manifest = first.manifest.unwrap().payload_digest();
    session.send(BundleAnswer::Active { manifest, version: 1 }.into()).await;
    session.send(BundleAnswer::Active { manifest: second, version: 2 }.into()).await;
    // Answered in order: what was acknowledged before the batch is known once the batch is.
    let mut chain = agent.chain();
    assert!(offered_before_the_next_ack(&agent, &mut session, &mut chain).await.is_empty());

    // Version 1 would be for the new labels, and is older than what the agent has now.
    relabel(&fleet, &agent, "core").await;
    publish_for(&fleet, &[POLICY], 3, "core").await;
    assert_eq!(version(&session.assignment().await), 3);
    fleet.stop().await;
}

#[tokio::test]
async fn what_an_agent_has_taken_is_not_sent_again() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut session = agent.session(&agent.chain()).await;
    let manifest = session.assignment().await.manifest.unwrap().payload_digest();
    session.send(BundleAnswer::Active { manifest, version: 1 }.into()).await;
    offered_before_the_next_ack(&agent, &mut session, &mut agent.chain()).await;
    relabel(&fleet, &agent, "core").await;
    let again = session.assignment().await;
    assert_eq!((version(&again), again.manifest), (1, None));
    fleet.stop().await;
}

/// Scenario: an agent refuses a version, and the hub has reasons to look at its offers again. Guarantee: it is offered
/// that version once, not in a loop, and the next version at once.
#[tokio::test]
async fn a_refused_version_is_not_offered_in_a_loop() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut session = agent.session(&agent.chain()).await;
    let manifest = session.assignment().await.manifest.unwrap().payload_digest();
    let (code, errors) = (Code::CompileFailed, Vec::new());
    session.send(BundleAnswer::Refused { manifest, version: 1, code, errors }.into()).await;
    let mut chain = agent.chain();
    assert!(offered_before_the_next_ack(&agent, &mut session, &mut chain).await.is_empty());
    for _ in 0..3 {
        fleet.hub.hub.published.send_modify(|generation| *generation += 1);
        let offered = offered_before_the_next_ack(&agent, &mut session, &mut chain).await;
        assert!(offered.is_empty(), "{offered:?}");
    }
    publish_for(&fleet, &[POLICY, "host-path"], 2, "edge").await;
    assert_eq!(version(&session.assignment().await), 2);
    fleet.stop().await;
}

/// Scenario: an agent's clock is behind, so that it does not take a bundle yet; then it refuses one for a fault. Guarantee: the
/// first is no alarm, the second is one until a bundle is active.
#[tokio::test]
async fn a_bundle_that_only_waits_is_no_alarm() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut session = agent.session(&agent.chain()).await;
    let manifest = session.assignment().await.manifest.unwrap().payload_digest();
    let mut chain = agent.chain();
    let refused = |code| BundleAnswer::Refused { manifest, version: 1, code, errors: Vec::new() };
    let active = BundleAnswer::Active { manifest, version: 1 };
    for (answer, alarms) in
        [(refused(Code::NotYet), 0), (refused(Code::CompileFailed), 1), (active, 0)]
    {
        session.send(answer.into()).await;
        offered_before_the_next_ack(&agent, &mut session, &mut chain).await;
        let open = fleet.hub.hub.store.alarms(agent.cluster).await.unwrap();
        let open: Vec<_> = open.iter().filter(|alarm| alarm.resolved_at_ms.is_none()).collect();
        assert_eq!(open.len(), alarms, "{open:?}");
    }
    fleet.stop().await;
}

/// Guarantee: who publishes, or only asks what it would change, hears that a bundle is for nobody and that it expires soon.
#[tokio::test]
async fn a_bundle_for_nobody_or_not_for_long_is_said() {
    let fleet = Fleet::start(true).await;
    fleet.enrolled().await;
    let files = contents(&[POLICY]);
    for (value, days, expected) in [
        ("edge", 8, &[][..]),
        ("nowhere", 8, &["it is for none of the 1 approved clusters"]),
        ("edge", 6, &["it expires at "]),
    ] {
        let mut manifest = fleet.signer.manifest(&files, 2);
        manifest.scope = LabelSelector { match_labels: tier(value), ..LabelSelector::default() };
        manifest.expires = manifest.created.plus_s(days * 86_400);
        let mut request = fleet.signer.request(&files, 2);
        (request.manifest, request.plan_only) = (fleet.signer.sign(&manifest), true);
        let planned = publish::publish(&fleet.hub.hub, request, &operator()).await.unwrap();
        assert_eq!(planned.warnings.len(), expected.len(), "{:?}", planned.warnings);
        let said = planned.warnings.iter().zip(expected);
        assert!(said.clone().all(|(said, expected)| said.starts_with(expected)), "{said:?}");
    }
    fleet.stop().await;
}

/// Scenario: an enrolled agent asks for the policies of others. Guarantee: it gets what it was offered, now or before, and
/// what is for its labels; of the rest it does not even learn that it is there.
#[tokio::test]
async fn blobs_are_for_those_whom_their_bundle_is_for() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let secret = contents(&["host-path"]);
    let (_, content) = secret.files.iter().find(|(path, _)| path.contains("host-path")).unwrap();
    let blob = Digest::of(content);
    publish_for(&fleet, &["host-path"], 2, "core").await;
    let mut client = agent.connect().await;
    let mut fetch = async || {
        let request = v1::FetchBlobRequest { digest: blob.as_bytes().to_vec().into(), offset: 0 };
        let answer = client.fetch_blob(request).await;
        answer.map(|blob| blob.into_inner().total_size).map_err(|s| status::Refusal::from(s).code)
    };
    assert_eq!(fetch().await, Err(Code::NotFound));
    relabel(&fleet, &agent, "core").await;
    assert_eq!(fetch().await, Ok(content.len() as u64), "for its labels");
    relabel(&fleet, &agent, "edge").await;
    assert_eq!(fetch().await, Err(Code::NotFound), "no more");
    relabel(&fleet, &agent, "core").await;
    agent.session(&agent.chain()).await.assignment().await;
    relabel(&fleet, &agent, "edge").await;
    assert_eq!(fetch().await, Ok(content.len() as u64), "it was offered");
    fleet.stop().await;
}

/// Scenario: a stranger announces a body of any size to a method that needs no certificate. Guarantee: over 64 KiB it is
/// refused by what it announces, before a byte of it was sent; other methods take up to 1 MiB.
#[tokio::test]
async fn a_stranger_may_send_little() {
    let fleet = Fleet::start(true).await;
    let nobody = fleet.agent();
    for (method, size, refused) in [
        ("Enrol", MAX_ENROL_MESSAGE_BYTES + 1, true),
        ("Reenter", MAX_ENROL_MESSAGE_BYTES + 1, true),
        ("Enrol", MAX_ENROL_MESSAGE_BYTES, false),
        ("FetchBlob", MAX_ENROL_MESSAGE_BYTES + 1, false),
        ("FetchBlob", 1024 * 1024 + 1, true),
    ] {
        let mut start = BytesMut::new();
        start.put_u8(0);
        start.put_u32(u32::try_from(size).unwrap());
        // What is refused never sends more; what is let in sends all of it, which is no message.
        let rest = if refused {
            futures::stream::pending().boxed()
        } else {
            futures::stream::iter([Bytes::from(vec![0xff; size])]).boxed()
        };
        let sent = futures::stream::iter([start.freeze()]).chain(rest);
        let body = axum::body::Body::from_stream(sent.map(Ok::<_, std::io::Error>));
        let request = http::Request::post(format!("http://hub/provost.v1.Fleet/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(body))
            .unwrap();
        let answer = nobody.channel().await.oneshot(request);
        let answer = tokio::time::timeout(SOON, answer).await.unwrap().unwrap();
        let status = answer.headers()["grpc-status"].to_str().unwrap().to_owned();
        assert_eq!(status == "11", refused, "{method} {size}: {status}, 11 is OUT_OF_RANGE");
    }
    let mut stranger = fleet.agent();
    let large = "x".repeat(MAX_ENROL_MESSAGE_BYTES);
    assert_eq!(stranger.enrol(&large).await.unwrap_err().code, Code::Limit);
    fleet.stop().await;
}
