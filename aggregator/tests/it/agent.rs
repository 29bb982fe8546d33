//! A small agent: real keys, TLS and gRPC, and nothing else of an agent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use provost_aggregator::run::Running;
use provost_model::id::{BootId, SessionId};
use provost_model::{ClusterId, Digest, InstanceId};
use provost_proto::enrol::{Answer, Enrol, Facts, Reenter, Status as Joined};
use provost_proto::heartbeat::Heartbeat;
use provost_proto::hello::{self, Hello};
use provost_proto::session::Welcome;
use provost_proto::v1::agent_message::Message as ToHub;
use provost_proto::v1::fleet_client::FleetClient;
use provost_proto::v1::hub_message::Message as FromHub;
use provost_proto::{PROTOCOL_VERSION, envelope, heartbeat, status, v1};
use provost_runtime::clock::SharedClock;
use provost_runtime::pki::TlsKey;
use provost_runtime::tls::{CertificateSlot, Connector};
use provost_trust::dsse::payload_type;
use provost_trust::{Envelope, KeyPair};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::chain::Chain;

/// Whatever is waited for comes sooner, or the test fails.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Agent {
    pub identity: KeyPair,
    pub report: KeyPair,
    pub instance: InstanceId,
    pub cluster: Option<ClusterId>,
    pub join_counter: u64,
    pub root: Digest,
    /// Bytes of a stream that it takes without reading them; none: as many as HTTP/2 has by default.
    pub window: Option<u32>,
    slot: CertificateSlot,
    connector: Connector,
    url: provost_runtime::tls::HubUrl,
    clock: SharedClock,
}

/// An open session.
pub struct Session {
    pub out: mpsc::Sender<v1::AgentMessage>,
    pub inbound: Streaming<v1::HubMessage>,
    pub welcome: Welcome,
    pub nonce: [u8; 32],
    pub client: FleetClient<Channel>,
}

impl Agent {
    pub fn new(hub: &Running, clock: &SharedClock, root: Digest) -> Self {
        let slot = CertificateSlot::empty();
        let ca = hub.hub.keys.ca.sha256();
        let domain = hub.hub.trust_domain.clone();
        let connector = Connector::new(ca, domain, &slot, Arc::clone(clock), None, SOON).unwrap();
        Self {
            identity: KeyPair::generate().unwrap(),
            report: KeyPair::generate().unwrap(),
            instance: InstanceId::from_bytes(rand::random()),
            cluster: None,
            join_counter: 0,
            root,
            window: None,
            slot,
            connector,
            url: hub.hub.agent_urls()[0].parse().unwrap(),
            clock: Arc::clone(clock),
        }
    }

    pub async fn connect(&self) -> FleetClient<Channel> {
        FleetClient::new(self.channel().await)
    }

    pub async fn channel(&self) -> Channel {
        let stream = self.connector.connect(&self.url).await.unwrap();
        let once = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
        let take = tower::service_fn(move |_| {
            let stream = once.lock().unwrap().take();
            std::future::ready(stream.ok_or_else(|| std::io::Error::other("the connection ended")))
        });
        let endpoint = Endpoint::from_static("http://hub");
        endpoint.initial_stream_window_size(self.window).connect_with_connector(take).await.unwrap()
    }

    pub async fn enrol(&mut self, secret: &str) -> Result<Answer, status::Refusal> {
        let key = TlsKey::generate().unwrap();
        let payload = Enrol {
            token_secret: zeroize::Zeroizing::new(secret.to_owned()),
            csr: key.csr().unwrap(),
            identity_key: self.identity.public(),
            report_key: self.report.public(),
            instance: self.instance,
            facts: Facts {
                cluster_uid: self.instance.to_string(),
                version_hash: Vec::new(),
                server_version: "1.33".to_owned(),
            },
            display_name: "test".to_owned(),
            wall_ms: self.clock.wall_ms(),
            root: self.root,
        };
        let envelope = Envelope::sign(payload_type::ENROL, payload.encode(), &[&self.identity]);
        let request = v1::EnrolRequest { envelope: Some(envelope::to_wire(envelope)) };
        let response = self.connect().await.enrol(request).await?;
        Ok(self.take(response.into_inner(), &key))
    }

    pub async fn reenter(&mut self) -> Result<Answer, status::Refusal> {
        let key = TlsKey::generate().unwrap();
        let payload = Reenter {
            identity_key: self.identity.public(),
            csr: key.csr().unwrap(),
            report_key: self.report.public(),
            instance: self.instance,
            join_counter: self.join_counter,
            wall_ms: self.clock.wall_ms(),
            nonce: rand::random(),
        };
        let envelope = Envelope::sign(payload_type::REENTER, payload.encode(), &[&self.identity]);
        let request = v1::ReenterRequest { envelope: Some(envelope::to_wire(envelope)) };
        let response = self.connect().await.reenter(request).await?;
        Ok(self.take(response.into_inner(), &key))
    }

    pub fn chain(&self) -> Chain {
        let key = KeyPair::from_seed(&self.report.to_seed()[..]).unwrap();
        Chain::new(self.cluster.unwrap(), self.instance, key)
    }

    pub fn hello(&self, chain: &Chain, bundle: Option<Digest>) -> Hello {
        Hello {
            protocol_version: PROTOCOL_VERSION,
            agent_version: "0.1.0".to_owned(),
            capabilities: Vec::new(),
            payload_types: Vec::new(),
            instance: self.instance,
            nonce: rand::random(),
            root_version: 0,
            epoch: chain.epoch,
            last_seq: chain.seq,
            head: chain.head,
            acked_seq: 0,
            first_held_seq: 0,
            bundle,
            config: None,
            wall_ms: self.clock.wall_ms(),
            server_version: "1.33".to_owned(),
            node_versions: Vec::new(),
            blobs_held: Vec::new(),
        }
    }

    pub async fn session(&self, chain: &Chain) -> Session {
        self.session_with(self.hello(chain, None)).await.unwrap()
    }

    pub async fn session_with(&self, said: Hello) -> Result<Session, status::Refusal> {
        let nonce = said.nonce;
        let (out, receiver) = mpsc::channel(8);
        out.send(message(ToHub::Hello(hello::to_wire(said)))).await.unwrap();
        let client = self.connect().await;
        let response = client.clone().session(ReceiverStream::new(receiver)).await?;
        let mut inbound = response.into_inner();
        let first = tokio::time::timeout(SOON, inbound.message()).await.unwrap()?;
        let Some(FromHub::Welcome(welcome)) = first.unwrap().message else { panic!("no Welcome") };
        Ok(Session { out, inbound, welcome: welcome.try_into().unwrap(), nonce, client })
    }

    pub fn heartbeat(&self, chain: &Chain, session: SessionId) -> ToHub {
        let payload = heartbeat::encode(&Heartbeat {
            cluster: self.cluster.unwrap(),
            instance: self.instance,
            session,
            epoch: chain.epoch,
            last_seq: chain.seq,
            head: chain.head,
            acked_seq: 0,
            spool_records: 3,
            spool_bytes: 400,
            spool_oldest_age_ms: 5,
            trust_state: None,
            wall_ms: self.clock.wall_ms(),
            monotonic_ms: 1,
            boot: BootId::from_bytes([1; 16]),
            health_digest: None,
            health: None,
        });
        let envelope = Envelope::sign(payload_type::HEARTBEAT, payload, &[&self.report]);
        ToHub::Heartbeat(v1::Heartbeat { envelope: envelope::encode(envelope) })
    }

    fn take(&mut self, response: v1::EnrolResponse, key: &TlsKey) -> Answer {
        let answer = Answer::try_from(response).unwrap();
        self.cluster = answer.cluster.or(self.cluster);
        self.join_counter = answer.join_counter;
        if answer.status == Joined::Issued {
            let chain = answer.certificates.iter().map(|der| der.clone().into()).collect();
            self.slot.replace(chain, key).unwrap();
        }
        answer
    }
}

impl Session {
    pub async fn send(&self, what: ToHub) {
        self.out.send(message(what)).await.unwrap();
    }

    pub async fn batch(&self, batch: v1::Batch) {
        self.send(ToHub::Batch(batch)).await;
    }

    /// The next message of the hub, or why it ended the session.
    pub async fn next(&mut self) -> Result<FromHub, status::Refusal> {
        let next =
            tokio::time::timeout(SOON, self.inbound.message()).await.expect("a message in time")?;
        Ok(next.expect("the stream goes on").message.unwrap())
    }

    /// The next Ack; other messages are passed over.
    pub async fn ack(&mut self) -> v1::Ack {
        loop {
            if let FromHub::Ack(ack) = self.next().await.unwrap() {
                return ack;
            }
        }
    }

    /// The next Assignment; other messages are passed over.
    pub async fn assignment(&mut self) -> provost_proto::session::Assignment {
        loop {
            if let FromHub::Assignment(assignment) = self.next().await.unwrap() {
                return assignment.try_into().unwrap();
            }
        }
    }

    /// Why the hub ends the session; messages before it are passed over.
    pub async fn refusal(&mut self) -> status::Refusal {
        loop {
            if let Err(refusal) = self.next().await {
                return refusal;
            }
        }
    }
}

fn message(message: ToHub) -> v1::AgentMessage {
    v1::AgentMessage { trace_parent: String::new(), message: Some(message) }
}
