//! A small hub for the tests: real TLS, real gRPC, real signatures; what it stores is in memory,
//! and tests can make it lie.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use provost_model::id::SessionId;
use provost_model::limits::BLOB_CHUNK_BYTES;
use provost_model::{ClusterId, Code, Digest, Labels};
use provost_proto::batch::Batch;
use provost_proto::enrol::{Answer, Enrol, Reenter, Status as Joined};
use provost_proto::heartbeat::Heartbeat;
use provost_proto::hello::Hello;
use provost_proto::session::{Ack, Assignment, BundleAnswer, Resume, Welcome};
use provost_proto::status::Refusal;
use provost_proto::token::Token;
use provost_proto::transport::Accepted;
use provost_proto::v1::agent_message::Message as ToHub;
use provost_proto::v1::fleet_server::{Fleet, FleetServer};
use provost_proto::v1::hub_message::Message as ToAgent;
use provost_proto::{batch, envelope, heartbeat, hello, v1};
use provost_runtime::clock::{Clock, Manual};
use provost_runtime::pki::{Ca, RequestedKey, TlsKey, Usage, Validity};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::spiffe::TrustDomain;
use provost_runtime::tasks::{OnEnd, Tasks};
use provost_runtime::tls::{self, ALPN_H2, CertificateSlot, Clients, Limits, Peer};
use provost_trust::chain::GENESIS;
use provost_trust::dsse::payload_type;
use provost_trust::grant::{Grant, GrantedInstance};
use provost_trust::{Envelope, PublicKey};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::signing::{DAY_S, Keys, NOW_S, assigned, at, sign_assignment};

/// No test waits longer for anything.
pub const BOUND: Duration = Duration::from_secs(60);

pub struct Member {
    pub cluster: ClusterId,
    pub instance: provost_model::InstanceId,
    pub report_key: PublicKey,
    pub join_counter: u64,
}

type Assign = Box<dyn Fn(&Hello, ClusterId) -> Assignment + Send>;

/// What came in, and what the hub answers.
#[derive(Default)]
pub struct State {
    pub secret: Option<String>,
    pub approves: bool,
    pub labels: Labels,
    pub roots: Vec<Envelope>,
    pub members: BTreeMap<PublicKey, Member>,
    pub enrols: u32,
    pub reenters: u32,
    pub renewals: u32,
    pub hellos: Vec<Hello>,
    pub batches: Vec<Batch>,
    pub heartbeats: Vec<Heartbeat>,
    pub answers: Vec<BundleAnswer>,
    pub blobs: BTreeMap<Digest, Bytes>,
    /// Not delivered so often: the hub is there, and the blob is not.
    pub broken: BTreeMap<Digest, u32>,
    pub assign: Option<Assign>,
    /// In place of what the position says, for one session.
    pub resume: Option<Resume>,
    /// Batches are refused so.
    pub refuse_batches: Option<Code>,
    /// One open session ends in order; the agent may come back after this.
    pub dismiss: Option<Duration>,
    pub position: Option<(u64, u64, Digest)>,
}

#[derive(Clone)]
pub struct Hub {
    pub address: SocketAddr,
    pub keys: Arc<Keys>,
    pub clock: Arc<Manual>,
    pub ca: Arc<Ca>,
    pub certificate_life_s: i64,
    state: Arc<Mutex<State>>,
    /// For waiting tests: something came in or was changed.
    changed: watch::Sender<u64>,
    /// For open sessions: the assignment may be another.
    assigned: watch::Sender<u64>,
    tasks: Tasks,
}

pub fn domain() -> TrustDomain {
    "fleet.test".parse().unwrap()
}

impl Hub {
    pub async fn start() -> Self {
        Self::start_with(DAY_S).await
    }

    pub async fn start_with(certificate_life_s: i64) -> Self {
        tls::install_crypto_provider();
        let clock = Manual::at(NOW_S * 1000);
        let keys = Keys::make();
        let ca = Ca::create(&domain(), NOW_S).unwrap();
        let key = TlsKey::generate().unwrap();
        let usage = Usage::Hub { trust_domain: domain() };
        let leaf = ca.issue_own(&key, &usage, Validity::from_now(NOW_S, 365 * DAY_S)).unwrap();
        let chain = vec![leaf.certificate, ca.certificate().clone()];
        let slot = CertificateSlot::new(chain, &key).unwrap();
        let clients = Clients::Clusters { ca: ca.certificate().clone(), trust_domain: domain() };
        let config = tls::server_config(&slot, clients, clock.clone(), ALPN_H2).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let incoming = tls::listen("hub", listener, config, Limits::default(), &tasks).unwrap();
        let state = State {
            secret: Some("s3cret".to_owned()),
            approves: true,
            roots: vec![keys.root()],
            ..State::default()
        };
        let hub = Self {
            address: incoming.local_addr(),
            keys: Arc::new(keys),
            clock,
            ca: Arc::new(ca),
            certificate_life_s,
            state: Arc::new(Mutex::new(state)),
            changed: watch::Sender::new(0),
            assigned: watch::Sender::new(0),
            tasks: tasks.clone(),
        };
        let accepted = futures::StreamExt::map(incoming, |connection| {
            connection.map(|connection| {
                let peer = connection.peer().clone();
                Accepted::new(connection, peer)
            })
        });
        let shutdown = tasks.shutdown().clone();
        let server = tonic::transport::Server::builder()
            .add_service(FleetServer::new(hub.clone()))
            .serve_with_incoming_shutdown(accepted, async move { shutdown.wait().await });
        tasks.spawn("serve", OnEnd::Log, server);
        hub
    }

    /// The hub goes away, its connections with it.
    pub fn stop(&self) {
        self.tasks.shutdown().trigger();
    }

    pub fn token(&self) -> Token {
        Token {
            hubs: vec![format!("https://{}", self.address)],
            trust_domain: domain().to_string(),
            ca_sha256: Digest::from_bytes(self.ca.sha256()),
            root_sha256: self.keys.root().payload_digest(),
            secret: zeroize::Zeroizing::new("s3cret".to_owned()),
        }
    }

    /// How often agents asked to enrol, and to re-enter.
    pub fn asked(&self) -> (u32, u32) {
        let state = self.state();
        (state.enrols, state.reenters)
    }

    /// To be let go at once: never twice in one statement.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes what the hub does; open sessions get the assignment anew.
    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.assigned.send_modify(|generation| *generation += 1);
        self.changed.send_modify(|generation| *generation += 1);
    }

    fn came_in(&self, keep: impl FnOnce(&mut State)) {
        keep(&mut self.state());
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// Waits until `holds`, or fails with `what`.
    pub async fn wait(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while !holds(&self.state()) {
                changed.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(BOUND, waiting).await.is_ok(), "the hub never saw: {what}");
    }

    /// Assigns `manifest`, signed as it should be.
    pub fn assign(&self, manifest: &Envelope) -> Assign {
        let (keys, manifest) = (Arc::clone(&self.keys), manifest.clone());
        Box::new(move |hello, cluster| {
            let parsed = provost_trust::PolicyManifest::parse(&manifest.payload).unwrap();
            let assigned = assigned(hello.nonce, cluster, &manifest, parsed.version);
            sign_assignment(&keys, &assigned, &manifest)
        })
    }

    fn peer_member(&self, request_peer: Option<&Peer>) -> Result<ClusterId, Status> {
        let identity = request_peer.and_then(|peer| peer.identity.clone());
        let cluster = identity.and_then(|identity| identity.spiffe.cluster_id());
        cluster
            .map(ClusterId::from_bytes)
            .ok_or_else(|| refuse(Code::Unauthenticated, "no certificate"))
    }

    fn issue(&self, csr: &[u8], cluster: ClusterId) -> Vec<Vec<u8>> {
        let key = RequestedKey::from_csr(csr).unwrap();
        let usage = Usage::Cluster { trust_domain: domain(), id: *cluster.as_bytes() };
        let validity = Validity::from_now(self.clock.wall_ms() / 1000, self.certificate_life_s);
        let issued = self.ca.issue(&key, &usage, validity).unwrap();
        vec![issued.certificate.to_vec(), self.ca.certificate().to_vec()]
    }

    /// The grant that the first member got.
    pub fn grant(&self) -> Envelope {
        let state = self.state();
        let (key, member) = state.members.first_key_value().unwrap();
        grant(&self.keys, &state, *key, member)
    }

    fn answer(&self, state: &State, identity_key: PublicKey, csr: &[u8]) -> Answer {
        let member = &state.members[&identity_key];
        let issued = state.approves;
        let grant = grant(&self.keys, state, identity_key, member);
        Answer {
            status: if issued { Joined::Issued } else { Joined::Pending },
            reason: if issued { "" } else { "waiting for a person" }.to_owned(),
            cluster: Some(member.cluster),
            trust_domain: domain().to_string(),
            certificates: if issued { self.issue(csr, member.cluster) } else { Vec::new() },
            grant: issued.then_some(grant),
            roots: if issued { state.roots.clone() } else { Vec::new() },
            join_counter: member.join_counter,
            retry_after: (!issued).then_some(Duration::from_millis(50)),
            hub_time_ms: self.clock.wall_ms(),
        }
    }

    async fn serve_session(
        self,
        cluster: ClusterId,
        mut inbound: Streaming<v1::AgentMessage>,
        out: mpsc::Sender<Result<v1::HubMessage, Status>>,
    ) {
        let Ok(Some(v1::AgentMessage { message: Some(ToHub::Hello(wire)), .. })) =
            inbound.message().await
        else {
            return;
        };
        let hello = hello::from_wire(wire).unwrap();
        let mut assigned = self.assigned.subscribe();
        let welcome = self.welcome(&hello);
        self.came_in(|state| state.hellos.push(hello.clone()));
        send(&out, ToAgent::Welcome(welcome.into())).await;
        assigned.mark_changed();
        loop {
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(v1::AgentMessage { message: Some(message), .. })) => {
                        if let Err(status) = self.take(message, &out).await {
                            let _ = out.send(Err(status)).await;
                            return;
                        }
                        self.came_in(|_| {});
                    }
                    _ => return,
                },
                _ = assigned.changed() => {
                    let dismissed = self.state().dismiss.take();
                    if let Some(after) = dismissed {
                        let old = Refusal::new(Code::Unavailable, "old").retry_after(after);
                        let _ = out.send(Err(old.into())).await;
                        return;
                    }
                    let assign = |state: &State| state.assign.as_ref().map(|a| a(&hello, cluster));
                    let assignment = assign(&self.state());
                    if let Some(assignment) = assignment {
                        send(&out, ToAgent::Assignment(assignment.into())).await;
                    }
                }
                () = self.tasks.shutdown().wait() => return,
            }
        }
    }

    fn welcome(&self, hello: &Hello) -> Welcome {
        let mut state = self.state();
        let resume = match (state.resume.take(), state.position) {
            (Some(resume), _) => resume,
            (None, None) if hello.last_seq == 0 => Resume::None,
            (None, None) => Resume::SendFrom(1),
            (None, Some((_, seq, _))) if seq == hello.last_seq => Resume::None,
            (None, Some((_, seq, _))) => Resume::SendFrom(seq + 1),
        };
        Welcome {
            session: SessionId::from_bytes([5; 16]),
            heartbeat_interval_ms: 200,
            clock_offset_ms: self.clock.wall_ms() - hello.wall_ms,
            flow_credit: 2,
            resume,
            hub_time_ms: self.clock.wall_ms(),
            hub_epoch: 1,
        }
    }

    async fn take(
        &self,
        message: ToHub,
        out: &mpsc::Sender<Result<v1::HubMessage, Status>>,
    ) -> Result<(), Status> {
        match message {
            ToHub::Hello(_) => return Err(refuse(Code::Invalid, "two Hellos")),
            ToHub::Batch(wire) => {
                let ack = self.take_batch(&wire)?;
                send(out, ToAgent::Ack(ack.into())).await;
            }
            ToHub::Heartbeat(wire) => {
                let envelope = envelope::decode(&wire.envelope).unwrap();
                self.check_report_key(&envelope, payload_type::HEARTBEAT);
                let heartbeat = heartbeat::decode(&envelope.payload).unwrap();
                self.state().heartbeats.push(heartbeat);
            }
            ToHub::BundleAck(wire) => self.state().answers.push(wire.try_into().unwrap()),
            ToHub::BundleNack(wire) => self.state().answers.push(wire.try_into().unwrap()),
        }
        Ok(())
    }

    fn take_batch(&self, wire: &v1::Batch) -> Result<Ack, Status> {
        let envelope = envelope::decode(&wire.envelope).unwrap();
        self.check_report_key(&envelope, payload_type::BATCH);
        let batch = batch::decode(&envelope.payload).unwrap();
        let mut state = self.state();
        if let Some(code) = state.refuse_batches {
            return Err(refuse(code, "refused by the test"));
        }
        assert!(batch.chain_holds(), "the batch does not lead from its first to its last head");
        let (epoch, seq, head) = state.position.unwrap_or((batch.epoch, 0, GENESIS));
        let (seq, head) = if epoch == batch.epoch { (seq, head) } else { (0, GENESIS) };
        assert_eq!((batch.first_seq, batch.prev_head), (seq + 1, head), "a batch is out of order");
        state.position = Some((batch.epoch, batch.last_seq, batch.head));
        let ack = Ack {
            epoch: batch.epoch,
            acked_seq: batch.last_seq,
            acked_head: batch.head,
            hub_epoch: 1,
            flow_credit: 2,
            next_after_ms: 0,
        };
        state.batches.push(batch);
        Ok(ack)
    }

    fn check_report_key(&self, envelope: &Envelope, payload_type: &'static str) {
        let keys: Vec<PublicKey> = self.state().members.values().map(|m| m.report_key).collect();
        envelope.verify(payload_type, &keys, 1).expect("signed by the report key");
    }
}

fn grant(keys: &Keys, state: &State, identity_key: PublicKey, member: &Member) -> Envelope {
    let grant = Grant {
        cluster_id: member.cluster,
        trust_domain: domain().to_string(),
        version: 1,
        identity_key,
        instances: vec![GrantedInstance {
            instance_id: member.instance,
            report_key: member.report_key,
        }],
        labels: state.labels.clone(),
        issued: at(0),
    };
    let mut grant = grant.to_unsigned().unwrap();
    grant.add_signature(&keys.director);
    grant
}

fn refuse(code: Code, what: &str) -> Status {
    Refusal::new(code, what).into()
}

async fn send(out: &mpsc::Sender<Result<v1::HubMessage, Status>>, message: ToAgent) {
    let message = v1::HubMessage { trace_parent: String::new(), message: Some(message) };
    let _ = out.send(Ok(message)).await;
}

#[tonic::async_trait]
impl Fleet for Hub {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::HubMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let cluster = self.peer_member(request.extensions().get::<Peer>())?;
        let (out, receiver) = mpsc::channel(8);
        let serve = self.clone().serve_session(cluster, request.into_inner(), out);
        self.tasks.spawn_infallible("session", OnEnd::Log, serve);
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let envelope = envelope::from_wire(request.into_inner().envelope).unwrap();
        let enrol = Enrol::decode(&envelope.payload).unwrap();
        envelope.verify(payload_type::ENROL, &[enrol.identity_key], 1).unwrap();
        self.came_in(|state| state.enrols += 1);
        let mut state = self.state();
        if state.secret.as_deref() != Some(enrol.token_secret.as_str()) {
            return Err(refuse(Code::TokenUsed, "the token was used"));
        }
        state.secret = None;
        let member = Member {
            cluster: ClusterId::from_bytes([9; 16]),
            instance: enrol.instance,
            report_key: enrol.report_key,
            join_counter: 1,
        };
        state.members.insert(enrol.identity_key, member);
        Ok(Response::new(self.answer(&state, enrol.identity_key, &enrol.csr).into()))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let cluster = self.peer_member(request.extensions().get::<Peer>())?;
        let certificates = self.issue(&request.into_inner().csr, cluster);
        self.came_in(|state| state.renewals += 1);
        Ok(Response::new(v1::RenewResponse {
            certificates: certificates.into_iter().map(Into::into).collect(),
            hub_time_ms: self.clock.wall_ms(),
        }))
    }

    async fn reenter(
        &self,
        request: Request<v1::ReenterRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let envelope = envelope::from_wire(request.into_inner().envelope).unwrap();
        let reenter = Reenter::decode(&envelope.payload).unwrap();
        envelope.verify(payload_type::REENTER, &[reenter.identity_key], 1).unwrap();
        self.came_in(|state| state.reenters += 1);
        let mut state = self.state();
        let Some(member) = state.members.get_mut(&reenter.identity_key) else {
            return Err(refuse(Code::NotFound, "no cluster has this identity key"));
        };
        // One behind is an answer that got lost.
        if ![member.join_counter, member.join_counter - 1].contains(&reenter.join_counter) {
            return Err(refuse(Code::CloneSuspected, "the join counter forked"));
        }
        member.join_counter = reenter.join_counter + 1;
        Ok(Response::new(self.answer(&state, reenter.identity_key, &reenter.csr).into()))
    }

    async fn fetch_blob(
        &self,
        request: Request<v1::FetchBlobRequest>,
    ) -> Result<Response<v1::FetchBlobResponse>, Status> {
        self.peer_member(request.extensions().get::<Peer>())?;
        let v1::FetchBlobRequest { digest, offset } = request.into_inner();
        let digest = Digest::try_from(&digest[..]).unwrap();
        if let Some(times @ 1..) = self.state().broken.get_mut(&digest) {
            *times -= 1;
            return Err(refuse(Code::Unavailable, "cut by the test"));
        }
        let blob = self.state().blobs.get(&digest).cloned();
        let blob = blob.ok_or_else(|| refuse(Code::NotFound, "no such blob"))?;
        let start = usize::try_from(offset).unwrap().min(blob.len());
        let end = (start + BLOB_CHUNK_BYTES).min(blob.len());
        let total_size = blob.len() as u64;
        Ok(Response::new(v1::FetchBlobResponse { chunk: blob.slice(start..end), total_size }))
    }
}
