//! Coming back: after expiry, as a further instance, under an operator's grant. Without a network, so that weeks pass
//! at once.

use std::sync::Arc;
use std::time::Duration;

use provost_aggregator::bundles::publish::publish;
use provost_aggregator::ca::HubKeys;
use provost_aggregator::enrol::token::{self, TokenRequest};
use provost_aggregator::enrol::{self, ApprovalRequest};
use provost_aggregator::hub::{Hub, Settings};
use provost_aggregator::refusal::Refusal;
use provost_aggregator::retention;
use provost_aggregator::store::identity::{Approval, HelloFacts};
use provost_aggregator::store::{Actor, Error, SqliteStore};
use provost_model::{ClusterId, Code, InstanceId, Labels};
use provost_proto::enrol::{Answer, Enrol, Facts, Reenter, Status};
use provost_runtime::clock::Manual;
use provost_runtime::metrics::Registry;
use provost_runtime::pki::TlsKey;
use provost_trust::dsse::payload_type;
use provost_trust::{Envelope, Grant, KeyPair};

use crate::signer::{Signer, contents};

const NOW_MS: i64 = 1_800_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);

struct Site {
    hub: Arc<Hub>,
    manual: Arc<Manual>,
    signer: Signer,
    identity: KeyPair,
    report: KeyPair,
    instance: InstanceId,
    join_counter: u64,
    _folder: tempfile::TempDir,
}

impl Site {
    /// A hub, and one cluster enrolled at it.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manual = Manual::at(NOW_MS);
        let domain = "fleet.test".parse().unwrap();
        let keys = HubKeys::open(folder.path(), &domain, &*manual).unwrap();
        let store = SqliteStore::open(&folder.path().join("hub.db")).await.unwrap();
        let settings = Settings {
            heartbeat_interval: Duration::from_secs(30),
            auto_approve: true,
            agent_urls: Vec::new(),
            agent_address: "127.0.0.1:1".parse().unwrap(),
        };
        let hub = Hub::open(store, manual.clone(), keys, domain, settings, &Registry::new())
            .await
            .unwrap();
        let signer = Signer::new(hub.keys.director.public(), NOW_MS);
        signer.publish(&hub, &contents(&["host-network"]), 1).await.unwrap();
        let mut site = Self {
            hub,
            manual,
            signer,
            identity: KeyPair::generate().unwrap(),
            report: KeyPair::generate().unwrap(),
            instance: InstanceId::from_bytes([1; 16]),
            join_counter: 0,
            _folder: folder,
        };
        assert_eq!(site.enrol().await.status, Status::Issued);
        site
    }

    async fn enrol(&mut self) -> Answer {
        let request =
            TokenRequest { display_name: "site".to_owned(), labels: Labels::new(), life_s: None };
        let token = token::create(&self.hub, request, &operator()).await.unwrap();
        let payload = Enrol {
            token_secret: token.secret,
            csr: TlsKey::generate().unwrap().csr().unwrap(),
            identity_key: self.identity.public(),
            report_key: self.report.public(),
            instance: self.instance,
            facts: Facts {
                cluster_uid: "uid".to_owned(),
                version_hash: Vec::new(),
                server_version: String::new(),
            },
            display_name: String::new(),
            wall_ms: NOW_MS,
            root: self.signer.root_digest(),
        };
        let envelope = Envelope::sign(payload_type::ENROL, payload.encode(), &[&self.identity]);
        let answer = enrol::enrol(&self.hub, &envelope).await.unwrap();
        self.join_counter = answer.join_counter;
        answer
    }

    async fn reenter(&mut self) -> Result<Answer, Refusal> {
        let answer = enrol::reenter(&self.hub, &self.reentry()).await?;
        self.join_counter = answer.join_counter.max(self.join_counter);
        Ok(answer)
    }

    /// The request that an agent with these keys, this instance and this counter sends.
    fn reentry(&self) -> Envelope {
        let payload = Reenter {
            identity_key: self.identity.public(),
            csr: TlsKey::generate().unwrap().csr().unwrap(),
            report_key: self.report.public(),
            instance: self.instance,
            join_counter: self.join_counter,
            wall_ms: NOW_MS,
            nonce: rand::random(),
        };
        Envelope::sign(payload_type::REENTER, payload.encode(), &[&self.identity])
    }

    /// A session of this instance begins: the hub knows now that the agent got its counter.
    async fn heard(&self, cluster: ClusterId) {
        let hello = HelloFacts {
            cluster,
            instance: self.instance,
            agent_version: String::new(),
            server_version: String::new(),
            node_versions: Vec::new(),
            clock_offset_ms: 0,
        };
        self.hub.store.hello(&hello, NOW_MS).await.unwrap();
    }
}

fn operator() -> Actor {
    Actor::token("tester")
}

/// Scenario: a site is dark for weeks. Guarantee: up to 30 days after its certificate expired it comes back by itself,
/// afterwards a person decides, and then it goes on.
#[tokio::test]
async fn expiry_needs_a_person_only_after_thirty_days() {
    let mut site = Site::new().await;
    site.manual.advance(DAY * 31);
    assert_eq!(site.reenter().await.unwrap().status, Status::Issued);
    site.manual.advance(DAY * 31 + Duration::from_secs(1));
    let waiting = site.reenter().await.unwrap();
    assert_eq!(waiting.status, Status::Pending);
    assert!(waiting.reason.contains("fleet approve"), "{}", waiting.reason);
    let cluster = waiting.cluster.unwrap();
    enrol::approve(&site.hub, cluster, ApprovalRequest::default(), &operator()).await.unwrap();
    assert_eq!(site.reenter().await.unwrap().status, Status::Issued);
}

/// Scenario: a replica shares the identity key. Guarantee: it is admitted, and the grant names the report keys of both.
#[tokio::test]
async fn a_further_instance_is_admitted_and_granted() {
    let mut site = Site::new().await;
    let first = (site.instance, site.report.public());
    site.instance = InstanceId::from_bytes([2; 16]);
    site.report = KeyPair::generate().unwrap();
    site.join_counter = 0;
    let answer = site.reenter().await.unwrap();
    let grant = Grant::parse(&answer.grant.unwrap().payload).unwrap();
    assert_eq!(grant.version, 2);
    assert_eq!(grant.report_key(first.0), Some(first.1));
    assert_eq!(grant.report_key(site.instance), Some(site.report.public()));
}

/// Scenario: replicas start together. Guarantee: each is let in, and the grant names every one of them.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_come_at_the_same_time_are_all_granted() {
    let mut site = Site::new().await;
    site.join_counter = 0;
    let mut together = tokio::task::JoinSet::new();
    for number in 2..10 {
        site.instance = InstanceId::from_bytes([number; 16]);
        site.report = KeyPair::generate().unwrap();
        let (hub, request) = (Arc::clone(&site.hub), site.reentry());
        together.spawn(async move { enrol::reenter(&hub, &request).await });
    }
    let mut cluster = None;
    for answer in together.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, Status::Issued);
        cluster = answer.cluster;
    }
    let held = site.hub.store.cluster(cluster.unwrap()).await.unwrap().unwrap().grant.unwrap();
    let grant = Grant::parse(&Envelope::from_json(held.as_bytes()).unwrap().payload).unwrap();
    assert_eq!(grant.instances.len(), 9);
}

/// Scenario: a copy of the data folder came back before the agent did; the operator removes it and releases. Guarantee:
/// the agent re-enters with the counter that it has, and a second copy would be found out again.
#[tokio::test]
async fn the_agent_that_is_released_re_enters() {
    let mut site = Site::new().await;
    let cluster = site.reenter().await.unwrap().cluster.unwrap();
    site.heard(cluster).await;
    let agent_has = site.join_counter;
    site.reenter().await.unwrap();
    site.heard(cluster).await;
    let clone_has = std::mem::replace(&mut site.join_counter, agent_has);
    assert_eq!(site.reenter().await.unwrap_err().code, Code::CloneSuspected);
    enrol::release(&site.hub, cluster, site.instance, &operator()).await.unwrap();
    assert_eq!(site.reenter().await.unwrap().status, Status::Issued);
    assert!(site.join_counter > clone_has, "{} {clone_has}", site.join_counter);
    site.heard(cluster).await;
    site.manual.advance(DAY * 2);
    assert_eq!(site.reenter().await.unwrap().status, Status::Issued, "and goes on by itself");
    site.heard(cluster).await;
    site.join_counter = clone_has;
    assert_eq!(site.reenter().await.unwrap_err().code, Code::CloneSuspected);
}

/// Scenario: an operator granted the report keys. Guarantee: the hub cannot put another key in their place, nor let an
/// instance in that the operator did not name.
#[tokio::test]
async fn an_operators_grant_is_not_the_hubs_to_change() {
    let mut site = Site::new().await;
    let cluster = site.reenter().await.unwrap().cluster.unwrap();
    let held = site.hub.store.cluster(cluster).await.unwrap().unwrap().grant.unwrap();
    let held = Envelope::from_json(held.as_bytes()).unwrap();
    let stranger = KeyPair::generate().unwrap();
    let grant = Grant { version: 9, ..Grant::parse(&held.payload).unwrap() };
    let mut signed = grant.to_unsigned().unwrap();
    signed.add_signature(&site.signer.operator_key);
    let mut strange = grant.to_unsigned().unwrap();
    strange.add_signature(&stranger);
    let older = Grant { version: 1, ..grant }.to_unsigned().unwrap();
    let approve = |grant| ApprovalRequest { grant: Some(grant), ..ApprovalRequest::default() };
    let refused =
        enrol::approve(&site.hub, cluster, approve(older), &operator()).await.unwrap_err();
    assert_eq!(refused.code, Code::WrongType, "nobody signed it");
    enrol::approve(&site.hub, cluster, approve(strange), &operator())
        .await
        .expect_err("the root does not name who signed it");
    enrol::approve(&site.hub, cluster, approve(signed.clone()), &operator()).await.unwrap();
    assert_eq!(site.reenter().await.unwrap().grant, Some(signed.clone()));
    let plain = ApprovalRequest::default();
    let refused = enrol::approve(&site.hub, cluster, plain, &operator()).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "{}", refused.detail);
    assert!(refused.detail.contains("--sign-with"), "{}", refused.detail);
    assert_eq!(site.reenter().await.unwrap().grant, Some(signed.clone()), "it stays");
    let granted = std::mem::replace(&mut site.report, KeyPair::generate().unwrap());
    assert_eq!(site.reenter().await.unwrap_err().code, Code::NeedsApproval);
    let kept = site.hub.store.instance(cluster, site.instance).await.unwrap().unwrap();
    assert_eq!(kept.report_key, *granted.public().as_bytes(), "nothing changed");
}

/// Scenario: a cluster is away for so long that the hub forgets its certificates. Guarantee: that opens no way back
/// without a person.
#[tokio::test]
async fn forgetting_certificates_lets_nobody_in() {
    let mut site = Site::new().await;
    assert_eq!(site.reenter().await.unwrap().status, Status::Issued);
    site.manual.advance(DAY * 200);
    let swept = retention::sweep(&site.hub).await.unwrap();
    assert_eq!((swept.certificates, swept.reentry_nonces, swept.tokens), (1, 1, 1));
    assert_eq!(site.reenter().await.unwrap().status, Status::Pending);
}

/// Scenario: nobody signed a new root in time. Guarantee: nothing new is published or granted, with the code that says
/// why; the cluster itself is let in as ever.
#[tokio::test]
async fn under_an_expired_root_nothing_new_is_published_or_granted() {
    let mut site = Site::new().await;
    let cluster = site.reenter().await.unwrap().cluster.unwrap();
    let files = contents(&["host-network"]);
    let mut manifest = site.signer.manifest(&files, 2);
    manifest.expires = manifest.created.plus_s(800 * 86_400);
    let held = site.hub.store.cluster(cluster).await.unwrap().unwrap();
    let grant = Envelope::from_json(held.grant.unwrap().as_bytes()).unwrap();
    let grant = Grant { version: 9, ..Grant::parse(&grant.payload).unwrap() };
    let mut signed = grant.to_unsigned().unwrap();
    signed.add_signature(&site.signer.operator_key);
    site.manual.advance(DAY * 366);

    let mut request = site.signer.request(&files, 2);
    request.manifest = site.signer.sign(&manifest);
    let refused = publish(&site.hub, request, &operator()).await.unwrap_err();
    assert_eq!(refused.code, Code::Expired, "{}", refused.detail);
    let labels = Some(Labels::from([("tier".to_owned(), "edge".to_owned())]));
    for request in [
        ApprovalRequest { labels, ..ApprovalRequest::default() },
        ApprovalRequest { grant: Some(signed), ..ApprovalRequest::default() },
    ] {
        let refused = enrol::approve(&site.hub, cluster, request, &operator()).await.unwrap_err();
        assert_eq!(refused.code, Code::Expired, "{}", refused.detail);
    }
    assert_eq!(site.hub.store.bundles().await.unwrap().len(), 1);
    enrol::approve(&site.hub, cluster, ApprovalRequest::default(), &operator()).await.unwrap();
    assert_eq!(site.reenter().await.unwrap().status, Status::Issued);
}

/// Scenario: an old identity key comes back under a fresh instance id. Guarantee: the thirty days are the cluster's, and
/// what the hub grants by itself is no person's decision.
#[tokio::test]
async fn a_fresh_instance_does_not_get_round_the_thirty_days() {
    let mut site = Site::new().await;
    let cluster = site.reenter().await.unwrap().cluster.unwrap();
    let decided = site.hub.store.cluster(cluster).await.unwrap().unwrap().decided_at_ms;
    site.manual.advance(DAY);
    site.instance = InstanceId::from_bytes([2; 16]);
    assert_eq!(site.reenter().await.unwrap().status, Status::Issued);
    let row = site.hub.store.cluster(cluster).await.unwrap().unwrap();
    assert_eq!((row.grant_version, row.decided_at_ms), (2, decided));
    site.manual.advance(DAY * 32);
    site.instance = InstanceId::from_bytes([3; 16]);
    assert_eq!(site.reenter().await.unwrap().status, Status::Pending);
    assert_eq!(site.hub.store.instances(cluster).await.unwrap().len(), 2, "nobody was let in");
}

/// Scenario: two approvals at once worked out the same next version. Guarantee: one of them is kept, the other is told.
#[tokio::test]
async fn one_version_is_granted_once() {
    let mut site = Site::new().await;
    let cluster = site.reenter().await.unwrap().cluster.unwrap();
    let held = site.hub.store.cluster(cluster).await.unwrap().unwrap();
    let approval = |labels| Approval {
        cluster,
        display_name: None,
        labels,
        grant: held.grant.clone().unwrap(),
        grant_version: held.grant_version + 1,
    };
    let first = Labels::from([("tier".to_owned(), "edge".to_owned())]);
    let store = &site.hub.store;
    store.approve(&approval(first.clone()), &operator(), NOW_MS).await.unwrap();
    let late = store.approve(&approval(Labels::new()), &operator(), NOW_MS).await.unwrap_err();
    assert!(matches!(late, Error::Conflict { .. }), "{late}");
    assert_eq!(store.cluster(cluster).await.unwrap().unwrap().labels, first);
}
