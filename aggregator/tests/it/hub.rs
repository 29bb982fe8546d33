//! A running hub and agents over TLS: the thin line, and what must not get through.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use provost_aggregator::bundles::publish;
use provost_aggregator::config::{AdminListener, AgentListener, ApiListener, Config};
use provost_aggregator::enrol::token::{self, TokenRequest};
use provost_aggregator::enrol::{self, ApprovalRequest};
use provost_aggregator::run::{self, Running};
use provost_aggregator::store::Actor;
use provost_aggregator::store::bundles::BundleStatus;
use provost_model::{ClusterId, Code, Digest, Labels};
use provost_proto::enrol::Status;
use provost_proto::session::{BundleAnswer, Resume};
use provost_proto::v1::agent_message::Message as ToHub;
use provost_proto::v1::hub_message::Message as FromHub;
use provost_proto::{envelope, v1};
use provost_runtime::clock::{Manual, SharedClock};
use provost_runtime::shutdown::Shutdown;
use provost_trust::assignment::{self, Nonce};
use provost_trust::{KeyPair, Timestamp, TrustedRoot, grant, manifest};

use crate::agent::{Agent, SOON};
use crate::chain::{activated, change, says};
use crate::signer::{Signer, contents};

pub const NOW_MS: i64 = 1_800_000_000_000;
pub const POLICY: &str = "host-network";

pub struct Fleet {
    pub hub: Running,
    pub manual: Arc<Manual>,
    clock: SharedClock,
    pub signer: Signer,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// A hub with version 1 published.
    pub async fn start(auto_approve: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            data_dir: folder.path().join("hub"),
            agents: AgentListener { listen: any, urls: Vec::new() },
            api: ApiListener { listen: any, ..ApiListener::default() },
            admin: AdminListener { listen: any },
            auto_approve,
            heartbeat_interval_ms: 1000,
            ..Config::default()
        };
        let manual = Manual::at(NOW_MS);
        let clock: SharedClock = manual.clone();
        let shutdown = Shutdown::new();
        let hub = run::start(config, Arc::clone(&clock), shutdown.clone()).await.unwrap();
        let signer = Signer::new(hub.hub.keys.director.public(), NOW_MS);
        signer.publish(&hub.hub, &contents(&[POLICY]), 1).await.unwrap();
        Self { hub, manual, clock, signer, shutdown, _folder: folder }
    }

    pub fn agent(&self) -> Agent {
        Agent::new(&self.hub, &self.clock, self.signer.root_digest())
    }

    pub async fn token(&self) -> String {
        let request = TokenRequest {
            display_name: "edge-1".to_owned(),
            labels: Labels::from([("tier".to_owned(), "edge".to_owned())]),
            life_s: None,
        };
        let created = token::create(&self.hub.hub, request, &operator()).await.unwrap();
        created.secret.to_string()
    }

    /// An agent with a certificate.
    pub async fn enrolled(&self) -> Agent {
        let mut agent = self.agent();
        let answer = agent.enrol(&self.token().await).await.unwrap();
        assert_eq!(answer.status, Status::Issued);
        agent
    }

    pub async fn stop(self) {
        self.shutdown.trigger();
        self.hub.wait().await.unwrap();
    }
}

pub fn operator() -> Actor {
    Actor::token("tester")
}

/// Scenario: a cluster enrols, takes its bundle, and reports. Guarantee: what it is given verifies under the operators'
/// root, a batch is acknowledged with its head, and the store has what it said.
#[tokio::test]
async fn a_policy_travels_out_and_its_verdicts_travel_back() {
    let fleet = Fleet::start(true).await;
    let mut agent = fleet.agent();
    let answer = agent.enrol(&fleet.token().await).await.unwrap();
    assert_eq!(answer.status, Status::Issued);
    let root = TrustedRoot::pin(fleet.signer.root_digest(), &answer.roots).unwrap();
    let (granted, _) =
        grant::accept(&root, &answer.grant.unwrap(), agent.cluster, agent.identity.public(), None)
            .unwrap();
    assert_eq!(granted.labels["tier"], "edge");
    assert_eq!(granted.report_key(agent.instance), Some(agent.report.public()));

    let mut chain = agent.chain();
    let mut session = agent.session(&chain).await;
    assert_eq!(session.welcome.resume, Resume::None);
    assert_eq!(session.welcome.heartbeat_interval_ms, 1000);
    let offered = session.assignment().await;
    let expected = assignment::Session {
        cluster_id: agent.cluster.unwrap(),
        nonce: Nonce::from_bytes(session.nonce),
        now: Timestamp::from_unix_ms(NOW_MS),
    };
    let assigned = assignment::verify(&root, &offered.assignment, &expected).unwrap();
    let verified = manifest::verify(&root, offered.manifest.as_ref().unwrap()).unwrap();
    assigned.check_manifest(&verified).unwrap();
    for file in &verified.files {
        let request =
            v1::FetchBlobRequest { digest: file.sha256.as_bytes().to_vec().into(), offset: 0 };
        let blob = session.client.fetch_blob(request).await.unwrap().into_inner();
        assert_eq!(blob.total_size, file.size);
        assert_eq!(Digest::of(&blob.chunk), file.sha256);
    }
    session.send(BundleAnswer::Active { manifest: verified.digest(), version: 1 }.into()).await;

    session
        .batch(chain.batch(vec![activated(), change("a", vec![says("a", 1, 2), says("a", 2, 0)])]))
        .await;
    let ack = session.ack().await;
    assert_eq!((ack.epoch, ack.acked_seq), (1, 2));
    assert_eq!(ack.acked_head[..], chain.head.as_bytes()[..]);
    let store = &fleet.hub.hub.store;
    let counted: u64 =
        store.policy_counts(agent.cluster).await.unwrap().iter().map(|row| row.verdicts).sum();
    assert_eq!(counted, 2);
    let answers = store.bundle_answers(verified.digest()).await.unwrap();
    assert_eq!(answers[0].status, BundleStatus::Active);
    fleet.stop().await;
}

/// Scenario: an agent is away. Guarantee: it is stale after three intervals, fresh again once it is heard, and what it
/// sent twice counts once.
#[tokio::test]
async fn silence_is_stale_and_a_return_goes_on_where_it_was_acknowledged() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let cluster = agent.cluster.unwrap();
    let mut chain = agent.chain();
    let mut session = agent.session(&chain).await;
    let first = chain.batch(vec![activated(), change("a", vec![says("a", 1, 1)])]);
    session.batch(first.clone()).await;
    session.ack().await;
    let liveness = &fleet.hub.hub.liveness;
    assert!(liveness.is_fresh(cluster));
    drop(session);
    fleet.manual.advance(Duration::from_millis(3001));
    assert!(!liveness.is_fresh(cluster));

    let second = chain.batch(vec![change("b", vec![says("b", 1, 1)])]);
    let mut session = agent.session(&chain).await;
    assert_eq!(session.welcome.resume, Resume::SendFrom(3));
    assert!(liveness.is_fresh(cluster));
    session.batch(first).await;
    assert_eq!(session.ack().await.acked_seq, 2, "the lost acknowledgement again");
    session.batch(second).await;
    assert_eq!(session.ack().await.acked_seq, 3);
    fleet.manual.advance(Duration::from_millis(3001));
    session.send(agent.heartbeat(&chain, session.welcome.session)).await;
    session.batch(chain.batch(vec![change("b", vec![says("b", 1, 0)])])).await;
    session.ack().await;
    assert!(liveness.is_fresh(cluster));
    let heartbeat =
        fleet.hub.hub.store.heartbeat_of(cluster, agent.instance).await.unwrap().unwrap();
    assert_eq!((heartbeat.spool_records, heartbeat.received_at_ms), (3, NOW_MS + 6002));
    fleet.stop().await;
}

#[tokio::test]
async fn a_new_version_reaches_an_open_session_and_a_refusal_comes_back() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let chain = agent.chain();
    let mut session = agent.session(&chain).await;
    session.assignment().await;
    fleet.signer.publish(&fleet.hub.hub, &contents(&[POLICY, "host-path"]), 2).await.unwrap();
    let offered = session.assignment().await;
    let digest = offered.manifest.unwrap().payload_digest();
    let refused = BundleAnswer::Refused {
        manifest: digest,
        version: 2,
        code: Code::DigestMismatch,
        errors: Vec::new(),
    };
    session.send(refused.into()).await;
    let store = &fleet.hub.hub.store;
    let answered = async {
        loop {
            let answers = store.bundle_answers(digest).await.unwrap();
            if answers[0].status == BundleStatus::Refused {
                break answers;
            }
            tokio::task::yield_now().await;
        }
    };
    let answers = tokio::time::timeout(SOON, answered).await.unwrap();
    assert_eq!(answers[0].code, "DIGEST_MISMATCH");
    assert_eq!(store.alarms(agent.cluster).await.unwrap()[0].code, "BUNDLE_REFUSED");
    fleet.stop().await;
}

/// Scenario: the newest version is for this cluster only later, and the one before it is revoked. Guarantee: a session is
/// offered the newest one that is for it now, and the newest of all once its ring has begun.
#[tokio::test]
async fn a_cluster_whose_ring_has_not_begun_gets_the_version_before() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let hub = &fleet.hub.hub;
    let files = contents(&[POLICY]);
    fleet.signer.publish(hub, &contents(&[POLICY, "host-path"]), 2).await.unwrap();
    let mut request = fleet.signer.request(&files, 3);
    let mut third = fleet.signer.manifest(&files, 3);
    third.revoked_versions = vec![2];
    third.rings = vec![manifest::Ring {
        name: "later".to_owned(),
        selector: provost_model::LabelSelector::default(),
        not_before: Timestamp::from_unix_ms(NOW_MS).plus_s(60),
        soak_seconds: 0,
    }];
    request.manifest = fleet.signer.sign(&third);
    publish::publish(hub, request, &operator()).await.unwrap();
    let offered = async |now_ms| {
        let mut session = agent.session(&agent.chain()).await;
        let offered = session.assignment().await;
        let root = TrustedRoot::pin(fleet.signer.root_digest(), &offered.roots).unwrap();
        let expected = assignment::Session {
            cluster_id: agent.cluster.unwrap(),
            nonce: Nonce::from_bytes(session.nonce),
            now: Timestamp::from_unix_ms(now_ms),
        };
        assignment::verify(&root, &offered.assignment, &expected).unwrap().version
    };
    assert_eq!(tokio::time::timeout(SOON, offered(NOW_MS)).await.unwrap(), 1);
    fleet.manual.advance(Duration::from_secs(61));
    assert_eq!(tokio::time::timeout(SOON, offered(NOW_MS + 61_000)).await.unwrap(), 3);
    fleet.stop().await;
}

#[tokio::test]
async fn a_pending_cluster_gets_nothing_before_it_is_approved() {
    let fleet = Fleet::start(false).await;
    let mut agent = fleet.agent();
    let answer = agent.enrol(&fleet.token().await).await.unwrap();
    assert_eq!((answer.status, answer.certificates.len()), (Status::Pending, 0));
    assert_eq!(agent.reenter().await.unwrap().status, Status::Pending);
    let approval =
        ApprovalRequest { display_name: Some("Lyon".to_owned()), ..ApprovalRequest::default() };
    enrol::approve(&fleet.hub.hub, agent.cluster.unwrap(), approval, &operator()).await.unwrap();
    assert_eq!(agent.reenter().await.unwrap().status, Status::Issued);
    agent.session(&agent.chain()).await;
    enrol::dismiss(&fleet.hub.hub, agent.cluster.unwrap(), "test", &operator()).await.unwrap();
    assert_eq!(agent.reenter().await.unwrap().status, Status::Rejected);
    fleet.stop().await;
}

#[tokio::test]
async fn a_token_is_refused_when_used_unknown_expired_or_of_another_root() {
    let fleet = Fleet::start(true).await;
    let secret = fleet.token().await;
    let mut stranger = fleet.agent();
    stranger.root = Digest::of(b"another root");
    assert_eq!(stranger.enrol(&secret).await.unwrap_err().code, Code::WrongRoot);
    fleet.agent().enrol(&secret).await.unwrap();
    assert_eq!(fleet.agent().enrol(&secret).await.unwrap_err().code, Code::TokenUsed);
    assert_eq!(fleet.agent().enrol("guessed").await.unwrap_err().code, Code::TokenUnknown);
    let late = fleet.token().await;
    fleet.manual.advance(Duration::from_secs(token::MAX_LIFE_S));
    assert_eq!(fleet.agent().enrol(&late).await.unwrap_err().code, Code::TokenExpired);
    fleet.stop().await;
}

#[tokio::test]
async fn calls_need_a_certificate_that_still_counts() {
    let fleet = Fleet::start(true).await;
    let nobody = fleet.agent();
    let digest = v1::FetchBlobRequest { digest: vec![1; 32].into(), offset: 0 };
    let refused = nobody.connect().await.fetch_blob(digest.clone()).await.unwrap_err();
    assert_eq!(provost_proto::status::Refusal::from(refused).code, Code::Unauthenticated);

    let agent = fleet.enrolled().await;
    let mut session = agent.session(&agent.chain()).await;
    let mut client = agent.connect().await;
    let unknown = client.fetch_blob(digest.clone()).await.unwrap_err();
    assert_eq!(provost_proto::status::Refusal::from(unknown).code, Code::NotFound);
    enrol::dismiss(&fleet.hub.hub, agent.cluster.unwrap(), "stolen", &operator()).await.unwrap();
    // Told by the operator's decision, or by the check of open sessions: whichever comes first.
    let ended = session.refusal().await.code;
    assert!(matches!(ended, Code::Unavailable | Code::Revoked), "{ended}");
    let revoked = client.fetch_blob(digest).await.unwrap_err();
    assert_eq!(provost_proto::status::Refusal::from(revoked).code, Code::Revoked);
    let again = agent.session_with(agent.hello(&agent.chain(), None)).await.err().unwrap();
    assert_eq!(again.code, Code::Revoked);
    fleet.stop().await;
}

/// Scenario: an agent speaks for another cluster, with another key, of another epoch, or out of turn. Guarantee: the
/// session ends with the reason, and nothing of it is stored.
#[tokio::test]
async fn what_is_not_the_agents_own_is_refused() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let verdicts = || vec![activated(), change("a", vec![says("a", 1, 1)])];
    let mut other_cluster = agent.chain();
    other_cluster.cluster = ClusterId::from_bytes([9; 16]);
    let mut other_key = agent.chain();
    other_key.key = KeyPair::generate().unwrap();
    let mut other_epoch = agent.chain();
    other_epoch.epoch = 2;
    let mut broken = agent.chain().batch(verdicts());
    let mut altered = envelope::decode(&broken.envelope).unwrap();
    altered.payload = b"not a batch".to_vec();
    broken.envelope = envelope::encode(altered);
    let cases = [
        (other_cluster.batch(verdicts()), Code::WrongCluster),
        (other_key.batch(verdicts()), Code::ThresholdNotMet),
        (other_epoch.batch(verdicts()), Code::Invalid),
        (broken, Code::BadSignature),
        (v1::Batch { envelope: Bytes::new() }, Code::Invalid),
    ];
    for (batch, expected) in cases {
        let mut session = agent.session(&agent.chain()).await;
        session.batch(batch).await;
        assert_eq!(session.refusal().await.code, expected);
    }
    let mut session = agent.session(&agent.chain()).await;
    session
        .send(agent.heartbeat(&agent.chain(), provost_model::id::SessionId::from_bytes([0; 16])))
        .await;
    assert_eq!(session.refusal().await.code, Code::Invalid, "a heartbeat of another session");

    let mut elsewhere = agent.hello(&agent.chain(), None);
    elsewhere.instance = provost_model::InstanceId::from_bytes([5; 16]);
    let refused = agent.session_with(elsewhere).await.err().unwrap();
    assert_eq!(refused.code, Code::WrongCluster);

    let mut session = agent.session(&agent.chain()).await;
    let large = vec![0_u8; 2 * 1024 * 1024];
    session.batch(v1::Batch { envelope: large.into() }).await;
    assert_eq!(session.refusal().await.code, Code::Limit);
    assert!(
        fleet.hub.hub.store.batches(agent.cluster.unwrap(), None, 10).await.unwrap().is_empty()
    );
    fleet.stop().await;
}

/// Scenario: an agent of another make encodes its envelopes in its own way, with a field that this version does not
/// know. Guarantee: what is stored is what came, byte for byte.
#[tokio::test]
async fn envelopes_are_kept_as_they_came() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut chain = agent.chain();
    let own_way = |envelope: Bytes| {
        let mut bytes = BytesMut::from(&envelope[..]);
        // Field 15, varint, 7: re-encoding would lose it.
        bytes.put_slice(&[0x78, 0x07]);
        bytes.freeze()
    };
    let batch = own_way(chain.batch(vec![activated()]).envelope);
    let mut session = agent.session(&agent.chain()).await;
    session.batch(v1::Batch { envelope: batch.clone() }).await;
    session.ack().await;
    let ToHub::Heartbeat(heartbeat) = agent.heartbeat(&chain, session.welcome.session) else {
        unreachable!()
    };
    let heartbeat = own_way(heartbeat.envelope);
    session.send(ToHub::Heartbeat(v1::Heartbeat { envelope: heartbeat.clone() })).await;
    // Answered in order: once this is acknowledged, the heartbeat is stored.
    session.batch(chain.batch(vec![change("a", vec![says("a", 1, 1)])])).await;
    session.ack().await;
    let (store, cluster) = (&fleet.hub.hub.store, agent.cluster.unwrap());
    assert_eq!(store.batches(cluster, None, 10).await.unwrap()[0].envelope, batch);
    let kept = store.heartbeat_of(cluster, agent.instance).await.unwrap().unwrap();
    assert_eq!(kept.envelope, heartbeat);
    fleet.stop().await;
}

#[tokio::test]
async fn a_jump_is_asked_back_and_a_fork_ends_in_quarantine() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut chain = agent.chain();
    let mut clone = chain.fork();
    let first = chain.batch(vec![activated()]);
    let second = chain.batch(vec![change("a", vec![says("a", 1, 1)])]);
    let third = chain.batch(vec![change("b", vec![says("b", 1, 1)])]);
    let mut session = agent.session(&agent.chain()).await;
    session.batch(first).await;
    session.ack().await;
    session.batch(third).await;
    let asked = loop {
        if let FromHub::Request(request) = session.next().await.unwrap() {
            break request.request.unwrap();
        }
    };
    assert_eq!(asked, v1::request::Request::SendFrom(v1::SendFrom { from_seq: 2 }));
    session.batch(second).await;
    assert_eq!(session.ack().await.acked_seq, 2);

    clone.batch(vec![activated()]);
    session.batch(clone.batch(vec![change("x", vec![says("x", 1, 1)])])).await;
    assert_eq!(session.refusal().await.code, Code::Fork);
    let mut session = agent.session(&chain).await;
    session.batch(chain.batch(vec![change("c", vec![says("c", 1, 1)])])).await;
    assert_eq!(session.refusal().await.code, Code::Quarantined);
    enrol::release(&fleet.hub.hub, agent.cluster.unwrap(), agent.instance, &operator())
        .await
        .unwrap();
    let session = agent.session(&chain).await;
    assert_eq!(session.welcome.resume, Resume::NewEpoch);
    fleet.stop().await;
}

/// Scenario: an operator decides something about a cluster, and the hub goes down. Guarantee: the first agent is told to come
/// back at once, the second is told no time, so that a fleet spreads out until its hub is back.
#[tokio::test]
async fn who_is_sent_away_learns_when_to_come_back() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut session = agent.session(&agent.chain()).await;
    fleet.hub.hub.sessions.end_cluster(agent.cluster.unwrap());
    let refusal = session.refusal().await;
    assert_eq!((refusal.code, refusal.retry_after.is_some()), (Code::Unavailable, true));
    let mut session = agent.session(&agent.chain()).await;
    let (_, refusal) = tokio::join!(fleet.stop(), session.refusal());
    assert_eq!((refusal.code, refusal.retry_after), (Code::Unavailable, None));
}

/// Scenario: strangers ask to enrol without end. Guarantee: they are turned away, agents that are known come in as ever,
/// and who is silent becomes stale.
#[tokio::test]
async fn a_flood_of_strangers_takes_nothing_from_known_agents() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let token = fleet.token().await;
    let hub = &fleet.hub.hub;
    drop(agent.session(&agent.chain()).await);
    fleet.manual.advance(Duration::from_millis(3001));
    while hub.anonymous.admit(hub.clock.monotonic(), 0.5).is_ok() {}
    assert_eq!(fleet.agent().enrol(&token).await.unwrap_err().code, Code::Unavailable);
    assert!(!hub.liveness.is_fresh(agent.cluster.unwrap()));
    agent.session(&agent.chain()).await;
    assert!(hub.liveness.is_fresh(agent.cluster.unwrap()));
    fleet.stop().await;
}

#[tokio::test]
async fn the_newest_session_of_an_instance_wins_and_says_so() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut first = agent.session(&agent.chain()).await;
    let mut second = agent.session(&agent.chain()).await;
    assert_eq!(first.refusal().await.code, Code::CloneSuspected);
    let alarms = fleet.hub.hub.store.alarms(agent.cluster).await.unwrap();
    assert_eq!(alarms[0].code, "CLONE_SUSPECTED");
    let mut chain = agent.chain();
    second.batch(chain.batch(vec![activated()])).await;
    assert_eq!(second.ack().await.acked_seq, 1);
    fleet.stop().await;
}

/// Scenario: an acknowledgement is lost with its link, and the agent has nothing more to send. Guarantee: the next session
/// says it again.
#[tokio::test]
async fn a_lost_acknowledgement_is_said_again() {
    let fleet = Fleet::start(true).await;
    let agent = fleet.enrolled().await;
    let mut chain = agent.chain();
    let mut first = agent.session(&chain).await;
    first.batch(chain.batch(vec![activated()])).await;
    assert_eq!(first.ack().await.acked_seq, 1);
    drop(first);
    // Its Hello says that nothing was acknowledged.
    let mut second = agent.session(&chain).await;
    assert_eq!(second.ack().await.acked_seq, 1);
    fleet.stop().await;
}
