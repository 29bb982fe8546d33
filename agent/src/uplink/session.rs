//! One session with the hub, from Hello to its end.
//!
//! Invariants: batches go out in order and never more than the hub's credit allows; only what the
//! hub acknowledged with a matching head is given up; heartbeats go out whether or not there is
//! anything to report. The session ends on the first error; whoever started it decides when to try
//! again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use provost_model::id::SessionId;
use provost_model::record::SnapshotReason;
use provost_model::{ClusterId, Code, Digest};
use provost_proto::session::{Ack, Assignment, BundleAnswer, Resume, Welcome};
use provost_proto::status::Refusal;
use provost_proto::v1::agent_message::Message as ToHub;
use provost_proto::v1::hub_message::Message as FromHub;
use provost_proto::{batch, envelope, hello, v1};
use provost_runtime::backoff::jittered;
use provost_trust::Envelope;
use provost_trust::assignment::Nonce;
use provost_trust::dsse::payload_type;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Uplink;
use super::link::{Client, HubBlobs, refusal};
use super::traced::Traced;
use crate::bundles::Offer;
use crate::report::{Item, SealedBatch};

const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// A hub that takes nothing for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// A stream that ended has its reason at hand.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(1);
/// Messages that may wait for the connection.
const OUTBOUND_QUEUE: usize = 8;
/// Whatever the hub grants, no more batches than this are under way.
const MAX_CREDIT: usize = 64;
/// Whatever the hub asks for, heartbeats are not closer together, nor further apart.
const HEARTBEAT_MS: std::ops::RangeInclusive<u32> = 200..=300_000;

/// Why a session ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Shutdown,
    /// Say Hello again, now: another epoch began.
    HelloAgain,
    /// The hub wants a new certificate first.
    Reenrol,
    /// Say Hello again, so that the hub offers what could not be taken the last time.
    AskAgain,
    /// The hub ended the session in order, and says when to come back.
    Dismissed(Duration),
}

pub struct Session<'a> {
    uplink: &'a mut Uplink,
    client: Client,
    out: mpsc::Sender<v1::AgentMessage>,
    cluster: ClusterId,
    id: SessionId,
    nonce: Nonce,
    epoch: u64,
    next_seq: u64,
    /// Last seq of each batch that is not acknowledged.
    under_way: VecDeque<u64>,
    credit: usize,
    not_before: Instant,
    /// The instance is quarantined: batches stay here until a new epoch.
    held_back: bool,
    heartbeat_every: Duration,
    health_sent: Option<Digest>,
    answers: mpsc::Sender<BundleAnswer>,
    /// The hub offers once a session: what could be taken later needs another one.
    ask_again_at: Option<Instant>,
}

/// Runs one session over `client`.
pub async fn run(uplink: &mut Uplink, client: Client, held_back: bool) -> Result<End, Refusal> {
    let cluster = uplink.membership.cluster();
    let cluster = cluster.ok_or_else(|| Refusal::new(Code::Internal, "no cluster id"))?;
    let nonce: [u8; 32] = rand::random();
    let hello = uplink.hello(nonce);
    let (out, receiver) = mpsc::channel(OUTBOUND_QUEUE);
    let epoch = hello.epoch;
    let last_seq = hello.last_seq;
    send(&out, ToHub::Hello(hello::to_wire(hello))).await?;
    let (mut inbound, welcome) = {
        let mut client = client.clone();
        let open = async {
            let response = client.session(ReceiverStream::new(receiver)).await;
            let mut inbound = response.map_err(|status| refusal(&status))?.into_inner();
            let welcome = welcome(&mut inbound).await?;
            Ok::<_, Refusal>((inbound, welcome))
        };
        match tokio::time::timeout(WELCOME_TIMEOUT, open).await {
            Ok(opened) => opened?,
            Err(_) => {
                return Err(Refusal::new(Code::Unavailable, "the hub did not welcome us in time"));
            }
        }
    };
    let interval_ms = welcome.heartbeat_interval_ms;
    let interval_ms = interval_ms.clamp(*HEARTBEAT_MS.start(), *HEARTBEAT_MS.end());
    let (answers, answered) = mpsc::channel(OUTBOUND_QUEUE);
    let mut session = Session {
        uplink,
        client,
        out,
        cluster,
        id: welcome.session,
        nonce: Nonce::from_bytes(nonce),
        epoch,
        next_seq: last_seq.saturating_add(1),
        under_way: VecDeque::new(),
        credit: credit(welcome.flow_credit),
        not_before: Instant::now(),
        held_back,
        heartbeat_every: Duration::from_millis(interval_ms.into()),
        health_sent: None,
        answers,
        ask_again_at: None,
    };
    let ended = session.serve(&welcome, &mut inbound, answered).await;
    // What could not be sent any more says less than what the hub said when it ended the stream.
    match ended {
        Err(failed) if session.out.is_closed() => match last_word(&mut inbound).await {
            Some(said) => dismissed(said),
            None => Err(failed),
        },
        ended => ended,
    }
}

impl Session<'_> {
    async fn welcomed(&mut self, welcome: &Welcome) -> Result<Option<End>, Refusal> {
        self.uplink.metrics.clock_offset.set_ms(welcome.clock_offset_ms);
        self.uplink.trust.hub_reading(welcome.hub_time_ms);
        let quality = self.uplink.trust.clock_quality();
        self.uplink.journal.clock(welcome.clock_offset_ms, quality).await;
        match welcome.resume {
            Resume::None => {}
            Resume::SendFrom(seq) => self.next_seq = seq,
            Resume::FullResync => {
                self.uplink.journal.request_snapshot(SnapshotReason::Requested).await;
            }
            Resume::NewEpoch => {
                let started = self.uplink.chain.new_epoch().await;
                started.ok_or_else(|| Refusal::new(Code::Internal, "no new epoch could begin"))?;
                return Ok(Some(End::HelloAgain));
            }
            Resume::Reenrol => return Ok(Some(End::Reenrol)),
        }
        self.uplink.connected(self.id);
        self.heartbeat().await?;
        Ok(None)
    }

    async fn serve(
        &mut self,
        welcome: &Welcome,
        inbound: &mut Streaming<v1::HubMessage>,
        mut answered: mpsc::Receiver<BundleAnswer>,
    ) -> Result<End, Refusal> {
        if let Some(end) = self.welcomed(welcome).await? {
            return Ok(end);
        }
        let mut wake = self.uplink.chain.wake();
        let mut more = true;
        let mut heartbeat_at = Instant::now() + jittered(self.heartbeat_every, 0.1);
        let mut renew_at = self.renew_at();
        let shutdown = self.uplink.shutdown.clone();
        loop {
            let may_send = !self.held_back && self.under_way.len() < self.credit;
            tokio::select! {
                biased;
                () = shutdown.wait() => return Ok(End::Shutdown),
                () = tokio::time::sleep_until(heartbeat_at) => {
                    heartbeat_at = Instant::now() + jittered(self.heartbeat_every, 0.1);
                    self.heartbeat().await?;
                }
                message = inbound.message() => match message {
                    Ok(Some(v1::HubMessage { message, .. })) => {
                        self.handle(message).await?;
                        more = true;
                    }
                    Ok(None) => return Err(Refusal::new(Code::Unavailable, "the hub ended the session")),
                    Err(status) => return dismissed(refusal(&status)),
                },
                Some(answer) = answered.recv() => {
                    if matches!(answer, BundleAnswer::Refused { code: Code::NotYet, .. }) {
                        self.ask_again();
                    }
                    self.uplink.metrics.answered(&answer);
                    send(&self.out, answer.into()).await?;
                }
                () = until(self.ask_again_at) => return Ok(End::AskAgain),
                () = tokio::time::sleep_until(renew_at) => {
                    self.uplink.renew(self.client.clone()).await;
                    renew_at = self.renew_at().max(Instant::now() + Duration::from_secs(60));
                }
                () = work(more, self.not_before, &mut wake), if may_send => {
                    wake.mark_unchanged();
                    more = self.send_batch().await?;
                }
            }
        }
    }

    /// True: there may be more.
    async fn send_batch(&mut self) -> Result<bool, Refusal> {
        let Some(sealed) = self.uplink.chain.batch_from(self.next_seq).await else {
            return Ok(false);
        };
        if sealed.epoch != self.epoch {
            return Err(Refusal::new(Code::Unavailable, "the epoch changed under the session"));
        }
        let last_seq = sealed.last_seq;
        let traced = Traced::of(&sealed);
        let payload = batch::encode(&self.batch(sealed))?;
        let envelope = envelope::encode(self.signed(payload_type::BATCH, payload));
        let message = ToHub::Batch(v1::Batch { envelope });
        send_traced(&self.out, message, traced.trace_parent()).await?;
        drop(traced);
        self.uplink.metrics.batches.increment();
        self.under_way.push_back(last_seq);
        self.next_seq = last_seq.saturating_add(1);
        Ok(true)
    }

    fn batch(&self, sealed: SealedBatch) -> batch::Batch {
        let SealedBatch { epoch, first_seq, last_seq, prev_head, head, items } = sealed;
        let item = |item| match item {
            Item::Record(bytes) => batch::Item::Record(bytes),
            Item::Elision(elision) => batch::Item::Elision(elision),
        };
        batch::Batch {
            cluster: self.cluster,
            instance: self.uplink.membership.identity().instance,
            epoch,
            prev_head,
            head,
            first_seq,
            last_seq,
            items: items.into_iter().map(item).collect(),
        }
    }

    async fn handle(&mut self, message: Option<FromHub>) -> Result<(), Refusal> {
        match message {
            Some(FromHub::Ack(wire)) => self.acknowledged(&Ack::try_from(wire)?).await,
            Some(FromHub::Assignment(wire)) => {
                self.assigned(Assignment::try_from(wire)?);
                Ok(())
            }
            Some(FromHub::Request(v1::Request { request })) => {
                self.requested(request).await;
                Ok(())
            }
            Some(FromHub::Welcome(_)) => {
                Err(Refusal::new(Code::Invalid, "a session has one Welcome"))
            }
            // Signed exemption sets are kept by a later version; a newer hub may say more than we know.
            Some(FromHub::Exemptions(_)) | None => Ok(()),
        }
    }

    async fn acknowledged(&mut self, ack: &Ack) -> Result<(), Refusal> {
        if ack.epoch != self.epoch {
            return Err(Refusal::new(Code::HeadMismatch, "the hub acknowledged another epoch"));
        }
        let taken = self.uplink.chain.ack(ack.acked_seq, ack.acked_head).await;
        taken.map_err(|error| Refusal::new(Code::HeadMismatch, error.to_string()))?;
        self.under_way.retain(|last_seq| *last_seq > ack.acked_seq);
        self.credit = credit(ack.flow_credit);
        self.not_before = Instant::now() + Duration::from_millis(ack.next_after_ms.into());
        self.uplink.metrics.acks.increment();
        self.uplink.acknowledged(ack.acked_seq);
        Ok(())
    }

    fn assigned(&mut self, assignment: Assignment) {
        let offer = Offer {
            assignment,
            nonce: self.nonce,
            cluster: self.cluster,
            identity_key: self.uplink.membership.identity().identity_key.public(),
            blobs: Arc::new(HubBlobs { client: self.client.clone() }),
            answers: self.answers.clone(),
        };
        if self.uplink.offers.try_send(offer).is_err() {
            tracing::warn!("assignment dropped: others are still being worked on");
            self.ask_again();
        }
    }

    /// After the longest delay between attempts, and never later than already meant.
    fn ask_again(&mut self) {
        let at = Instant::now() + jittered(self.uplink.ask_again, 0.2);
        self.ask_again_at = Some(self.ask_again_at.map_or(at, |meant| meant.min(at)));
    }

    async fn requested(&mut self, request: Option<v1::request::Request>) {
        match request {
            Some(v1::request::Request::FullResync(_)) => {
                self.uplink.journal.request_snapshot(SnapshotReason::Requested).await;
            }
            Some(v1::request::Request::SendFrom(v1::SendFrom { from_seq })) => {
                self.next_seq = from_seq.max(1);
                self.under_way.clear();
            }
            None => {}
        }
    }

    async fn heartbeat(&mut self) -> Result<(), Refusal> {
        let heartbeat = self.uplink.heartbeat(self.cluster, self.id, self.health_sent);
        let payload = provost_proto::heartbeat::encode(&heartbeat);
        let envelope = envelope::encode(self.signed(payload_type::HEARTBEAT, payload));
        send(&self.out, ToHub::Heartbeat(v1::Heartbeat { envelope })).await?;
        self.health_sent = heartbeat.health_digest;
        self.uplink.metrics.heartbeats.increment();
        self.uplink.heartbeat_sent(heartbeat.wall_ms);
        Ok(())
    }

    fn signed(&self, payload_type: &str, payload: Vec<u8>) -> Envelope {
        let key = &self.uplink.membership.identity().report_key;
        Envelope::sign(payload_type, payload, &[&**key])
    }

    fn renew_at(&self) -> Instant {
        let never = Duration::from_secs(30 * 86_400);
        let due = self.uplink.membership.renew_in().unwrap_or(never).min(never);
        Instant::now() + jittered(due, 0.1)
    }
}

/// Why the hub ended the stream; none where it did not say, or was heard already.
async fn last_word(inbound: &mut Streaming<v1::HubMessage>) -> Option<Refusal> {
    let said = async {
        loop {
            match inbound.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(refusal(&status)),
            }
        }
    };
    tokio::time::timeout(LAST_WORD_WITHIN, said).await.ok().flatten()
}

/// A session that grew old is no failure, nor one that ended because an operator decided something: the hub names a time.
fn dismissed(refusal: Refusal) -> Result<End, Refusal> {
    match refusal.retry_after {
        Some(after) if refusal.code == Code::Unavailable => {
            tracing::debug!(reason = refusal.message, "the hub ended the session");
            Ok(End::Dismissed(after))
        }
        _ => Err(refusal),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Returns when there may be something to send.
async fn work(more: bool, not_before: Instant, wake: &mut watch::Receiver<u64>) {
    if !more && wake.changed().await.is_err() {
        // The spool is gone; the agent is going down.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep_until(not_before).await;
}

async fn welcome(inbound: &mut Streaming<v1::HubMessage>) -> Result<Welcome, Refusal> {
    let first = inbound.message().await.map_err(|status| refusal(&status))?;
    match first.and_then(|message| message.message) {
        Some(FromHub::Welcome(wire)) => Ok(Welcome::try_from(wire)?),
        _ => Err(Refusal::new(Code::Invalid, "a session starts with Welcome")),
    }
}

async fn send(out: &mpsc::Sender<v1::AgentMessage>, message: ToHub) -> Result<(), Refusal> {
    send_traced(out, message, String::new()).await
}

async fn send_traced(
    out: &mpsc::Sender<v1::AgentMessage>,
    message: ToHub,
    trace_parent: String,
) -> Result<(), Refusal> {
    let message = v1::AgentMessage { trace_parent, message: Some(message) };
    match out.send_timeout(message, SEND_TIMEOUT).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Refusal::new(Code::Unavailable, "the session's connection is gone")),
    }
}

fn credit(granted: u32) -> usize {
    usize::try_from(granted).unwrap_or(MAX_CREDIT).clamp(1, MAX_CREDIT)
}
