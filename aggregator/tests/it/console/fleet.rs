//! A running hub whose store holds a small fleet, written through the store's own doors.

use std::sync::Arc;

use provost_aggregator::api::hub::Hub as ApiHub;
use provost_aggregator::auth::cookie::Transport;
use provost_aggregator::auth::role::Role;
use provost_aggregator::auth::secret::{Kind, Secret};
use provost_aggregator::config::{AdminListener, AgentListener, ApiListener, Config};
use provost_aggregator::operate::Operations;
use provost_aggregator::run::{self, Running};
use provost_aggregator::store::access::NewApiToken;
use provost_aggregator::store::identity::{Approval, NewEnrolment, NewToken};
use provost_aggregator::store::{Actor, Store};
use provost_model::id::SnapshotId;
use provost_model::record::{
    OutcomeCount, ReportedVerdict, SnapshotEnd, SnapshotReason, VerdictRecord,
};
use provost_model::{
    Attributes, Checkpoint, ClusterId, Digest, Finding, Fingerprint, InstanceId, Labels,
    NotEvaluated, NotEvaluatedReason, Outcome, Path, RecordBody, ResourceRef, Subject,
};
use provost_runtime::clock::{Manual, SharedClock};
use provost_runtime::shutdown::Shutdown;
use provost_trust::KeyPair;

use super::http::{Answer, Request, get};
use crate::chain::{Chain, POLICIES, activated, policy_set};

pub const NOW_MS: i64 = 1_795_323_600_000;
/// What a cluster could call things to harm who looks at them.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{1b}[31m\u{202e}";

pub struct Fleet {
    pub hub: Running,
    pub clock: Arc<Manual>,
    pub admin: String,
    pub folder: tempfile::TempDir,
    shutdown: Shutdown,
}

/// One object of a seeded cluster: namespace, name, and how many findings each policy has on it;
/// `None` where the policy errs.
pub type Object<'a> = (&'a str, &'a str, [Option<usize>; 3]);

impl Fleet {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            data_dir: folder.path().join("hub"),
            agents: AgentListener { listen: any, urls: Vec::new() },
            api: ApiListener { listen: any, ..ApiListener::default() },
            admin: AdminListener { listen: any },
            heartbeat_interval_ms: 1000,
            ..Config::default()
        };
        let clock = Manual::at(NOW_MS);
        let shared: SharedClock = clock.clone();
        let shutdown = Shutdown::new();
        let hub = run::start(config, shared, shutdown.clone()).await.unwrap();
        let admin = std::fs::read_to_string(folder.path().join("hub/admin.token")).unwrap();
        Self { hub, clock, admin: admin.trim().to_owned(), folder, shutdown }
    }

    /// Three clusters: one mended but for little, one bad and away, one that nobody wants to read.
    pub async fn seeded() -> Self {
        let fleet = Self::start().await;
        fleet.seed().await;
        fleet
    }

    /// Three clusters with rows of every kind.
    pub async fn seed(&self) {
        let ok: Vec<Object> = vec![
            ("shop", "cart", [Some(0), Some(0), Some(0)]),
            ("shop", "web", [Some(0), Some(1), Some(2)]),
            ("", "node-agent", [Some(1), Some(0), None]),
        ];
        self.cluster("cloud-eu", "cloud", &ok, true).await;
        let bad: Vec<Object> =
            (0..4).map(|_| ("till", "pos", [Some(0), Some(2), Some(1)])).collect();
        let names = ["pos-a", "pos-b", "pos-c", "pos-d"];
        let bad: Vec<Object> =
            bad.iter().zip(names).map(|(object, name)| (object.0, name, object.2)).collect();
        self.cluster("store-12", "edge", &bad, false).await;
        let hostile: Vec<Object> = vec![(HOSTILE, HOSTILE, [Some(0), Some(3), Some(0)])];
        self.cluster(HOSTILE, "edge", &hostile, true).await;
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.hub.hub.store
    }

    /// An approved cluster with one whole snapshot.
    pub async fn cluster(
        &self,
        name: &str,
        tier: &str,
        objects: &[Object<'_>],
        heard: bool,
    ) -> ClusterId {
        let (cluster, instance, key) = self.pending(name, tier).await;
        let labels = Labels::from([("tier".to_owned(), tier.to_owned())]);
        let approval = Approval {
            cluster,
            display_name: Some(name.to_owned()),
            labels,
            grant: "{\"payloadType\":\"x\",\"payload\":\"\",\"signatures\":[]}".to_owned(),
            grant_version: 1,
        };
        self.store().approve(&approval, &Actor::hub(), NOW_MS).await.unwrap();
        let mut chain = Chain::new(cluster, instance, key);
        chain.wall_ms = NOW_MS - 3_600_000;
        self.ingest(&mut chain, vec![activated()]).await;
        self.ingest(&mut chain, snapshot(objects)).await;
        self.store().heard(cluster, instance, NOW_MS - 7_200_000).await.unwrap();
        if heard {
            self.hub.hub.liveness.heard(cluster);
            self.store().heard(cluster, instance, NOW_MS).await.unwrap();
        }
        cluster
    }

    /// A cluster that waits for its operator.
    pub async fn pending(&self, name: &str, tier: &str) -> (ClusterId, InstanceId, KeyPair) {
        let secret = Digest::of(format!("{name}{tier}").as_bytes());
        let token = NewToken {
            token: secret,
            display_name: name.to_owned(),
            labels: Labels::from([("tier".to_owned(), tier.to_owned())]),
            expires_at_ms: NOW_MS + 60_000,
        };
        self.store().create_token(&token, &Actor::hub(), NOW_MS).await.unwrap();
        let (identity, report) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let cluster = ClusterId::from_bytes(rand::random());
        let instance = InstanceId::from_bytes(rand::random());
        let enrolment = NewEnrolment {
            token: secret,
            cluster,
            instance,
            identity_key: *identity.public().as_bytes(),
            report_key: *report.public().as_bytes(),
            display_name: name.to_owned(),
            cluster_uid: instance.to_string(),
            server_version: "v1.33.2".to_owned(),
            version_hash: String::new(),
        };
        self.store().enrol(&enrolment, NOW_MS).await.unwrap();
        (cluster, instance, report)
    }

    async fn ingest(&self, chain: &mut Chain, bodies: Vec<RecordBody>) {
        let batch = chain.stored(bodies);
        self.store().ingest(&batch, NOW_MS).await.unwrap();
    }

    pub async fn token(&self, name: &str, role: Role) -> String {
        let secret = Secret::generate(Kind::ApiToken).unwrap();
        let token = NewApiToken {
            token: secret.hash(),
            name: name.to_owned(),
            role: role.to_string(),
            expires_at_ms: NOW_MS + 600_000,
        };
        self.store().create_api_token(&token, &Actor::hub(), NOW_MS).await.unwrap();
        secret.reveal().to_owned()
    }

    pub async fn send(&self, request: Request) -> Answer {
        request.send(self.hub.addresses.api).await
    }

    /// A page or an answer of the API, as an admin.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(get(path).bearer(&self.admin)).await
    }

    pub async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// The state that the served router was built with.
    pub fn api(&self) -> ApiHub {
        let operations = Arc::new(Operations(Arc::clone(&self.hub.hub)));
        ApiHub {
            store: Arc::clone(self.store()),
            clock: self.clock.clone(),
            liveness: operations.clone(),
            operate: operations,
            transport: Transport::Plain,
        }
    }

    pub async fn stop(self) {
        self.shutdown.trigger();
        self.hub.wait().await.unwrap();
    }
}

fn snapshot(objects: &[Object<'_>]) -> Vec<RecordBody> {
    let id = SnapshotId::from_bytes([7; 16]);
    let mut counts = std::collections::BTreeMap::new();
    let mut bodies = vec![RecordBody::SnapshotBegin { id, reason: SnapshotReason::First }];
    for (namespace, name, findings) in objects {
        let subject = Subject::Kubernetes(ResourceRef {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: (*namespace).to_owned(),
            name: (*name).to_owned(),
        });
        let mut record = VerdictRecord {
            attributes: Attributes {
                owner: "payments".to_owned(),
                ..Attributes::at(Checkpoint::Run)
            },
            subject,
            verdicts: Vec::new(),
            passes: Vec::new(),
            withdrawn: Vec::new(),
            snapshot: Some(id),
        };
        for (index, count) in (0_u32..).zip(findings) {
            let verdict = verdict(&record.subject, index, *count);
            *counts.entry((index, verdict.outcome)).or_insert(0) += 1;
            match verdict.outcome {
                Outcome::Pass => record.passes.push(index),
                _ => record.verdicts.push(verdict),
            }
        }
        bodies.push(RecordBody::Verdict(record));
    }
    let counts = counts.into_iter().map(|((binding, outcome), count)| OutcomeCount {
        binding,
        outcome,
        count,
    });
    bodies.push(RecordBody::SnapshotEnd(SnapshotEnd {
        id,
        subjects: u64::try_from(objects.len()).unwrap(),
        counts: counts.collect(),
        not_evaluated: vec![NotEvaluated {
            policy: "image-registry".parse().unwrap(),
            binding: "default".parse().unwrap(),
            group: String::new(),
            kind: String::new(),
            reason: NotEvaluatedReason::Inactive,
            detail: HOSTILE.to_owned(),
        }],
    }));
    bodies
}

fn verdict(subject: &Subject, index: u32, count: Option<usize>) -> ReportedVerdict {
    let entry = &policy_set().entries[index as usize];
    let finding = |number: usize| {
        let path =
            Path::from_pointer(&format!("/spec/template/spec/containers/{number}/image")).unwrap();
        let policy = POLICIES[index as usize].parse().unwrap();
        Finding {
            fingerprint: Fingerprint::new(&policy, subject, &path.to_pointer(), 0),
            path,
            message: format!("container {number} says {HOSTILE}"),
            patch: Some(serde_json::json!([
                {"op": "replace", "path": "/spec/x", "value": HOSTILE},
                {"op": "remove", "path": "/spec/y"},
            ])),
            line: None,
        }
    };
    let outcome = match count {
        None => Outcome::Error,
        Some(0) => Outcome::Pass,
        Some(_) => Outcome::Fail,
    };
    let findings: Vec<Finding> = (0..count.unwrap_or(0)).map(finding).collect();
    ReportedVerdict {
        binding: index,
        outcome,
        previous: None,
        action: entry.action,
        severity: entry.severity,
        findings_total: u32::try_from(findings.len()).unwrap(),
        findings,
        message: if outcome == Outcome::Error { HOSTILE.to_owned() } else { String::new() },
        code: if outcome == Outcome::Error { "EVAL_TIMEOUT".to_owned() } else { String::new() },
        underlying: None,
    }
}
