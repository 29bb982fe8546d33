//! One session, from Hello to its end: what comes in is answered in order, and what the hub has to say goes out between.
//!
//! States: WAIT for Hello (10 s) -> OPEN (messages, offers, checks) -> over. A batch is acknowledged after it is
//! durable. The session ends by itself at its jittered age; a slow reader ends it too.

mod offers;

use std::sync::Arc;
use std::time::Duration;

use provost_model::id::SessionId;
use provost_model::{Code, Digest};
use provost_proto::hello::Hello;
use provost_proto::session::{Ack, BundleAnswer, Resume, Welcome};
use provost_proto::status;
use provost_proto::v1::agent_message::Message as FromAgent;
use provost_proto::v1::hub_message::Message as ToAgent;
use provost_proto::{hello, v1};
use provost_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use super::behind::{self, Behind};
use super::identity::Caller;
use super::resume::resume;
use super::server::jittered_age;
use super::service::to_status;
use crate::hub::Hub;
use crate::ingest;
use crate::open_sessions::{End, Seat};
use crate::refusal::{Refusal, Result};
use crate::store::identity::HelloFacts;
use crate::store::reports::{Alarm, Ingested, Position};

const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Revocation and expiry are looked up this often.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// A message that its agent does not take within this ends the session.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Batches that may be under way without an Ack.
const FLOW_CREDIT: u32 = 8;
/// A full resync is asked for at most this often.
const RESYNC_EVERY: Duration = Duration::from_secs(15);
/// Who is sent away and has done nothing wrong may come back at once.
const RECONNECT_AFTER: Duration = Duration::from_millis(1);

type Outbound = mpsc::Sender<Result<v1::HubMessage, Status>>;

struct Session {
    hub: Arc<Hub>,
    caller: Caller,
    hello: Hello,
    id: SessionId,
    out: Outbound,
    /// What was offered last: manifest digest, grant version. One that was refused is not offered again before either
    /// changes.
    offered: Option<(Digest, u64)>,
    /// A newer bundle than the offered one may become this cluster's.
    newer_waits: bool,
    /// Everything must be stated again, and when that was asked for last (monotonic).
    resync: bool,
    resync_asked: Option<Duration>,
    /// This hub lacks what it acknowledged, by what the agent remembers.
    behind: Option<Behind>,
}

/// Runs until the agent goes, the hub ends it, or something is refused.
pub async fn run(
    hub: Arc<Hub>,
    caller: Caller,
    mut inbound: Streaming<v1::AgentMessage>,
    out: Outbound,
    shutdown: Shutdown,
) {
    let refused = tokio::select! {
        () = shutdown.wait() => {
            // A full queue is an agent that does not read: its connection is cut soon.
            let _ = out.try_send(Err(going_away()));
            return;
        }
        outcome = serve(&hub, caller, &mut inbound, &out) => outcome.map_err(|refusal| {
            if refusal.code != Code::Unavailable {
                hub.metrics.refused(refusal.code);
            }
            to_status(refusal)
        }),
    };
    if let Err(status) = refused {
        // The agent may be gone already.
        let _ = tokio::time::timeout(SEND_TIMEOUT, out.send(Err(status))).await;
    }
}

async fn serve(
    hub: &Arc<Hub>,
    caller: Caller,
    inbound: &mut Streaming<v1::AgentMessage>,
    out: &Outbound,
) -> Result<()> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, next(inbound)).await;
    let first = first.map_err(|_| Refusal::new(Code::Invalid, "no Hello came in time"))??;
    let Some((FromAgent::Hello(wire), _)) = first else {
        return Err(Refusal::new(Code::Invalid, "a session starts with Hello"));
    };
    let hello = hello::from_wire(wire)?;
    let speaker = caller.speaker;
    if hello.instance != speaker.instance {
        let detail = "Hello names another instance than the certificate was issued to";
        return Err(Refusal::new(Code::WrongCluster, detail));
    }
    let id = SessionId::from_bytes(rand::random());
    let seat = hub.sessions.enter(speaker.cluster, speaker.instance, id, hub.clock.monotonic());
    let mut session = Session {
        hub: Arc::clone(hub),
        caller,
        hello,
        id,
        out: out.clone(),
        offered: None,
        newer_waits: false,
        resync: false,
        resync_asked: None,
        behind: None,
    };
    hub.metrics.sessions.add(1);
    let outcome = session.open(seat, inbound).await;
    hub.metrics.sessions.add(-1);
    hub.sessions.leave(speaker.cluster, speaker.instance, id);
    outcome
}

impl Session {
    async fn open(&mut self, seat: Seat, inbound: &mut Streaming<v1::AgentMessage>) -> Result<()> {
        let Seat { mut end, pushed_aside } = seat;
        // Subscribed before the first offer, so that no publication falls between.
        let mut published = self.hub.published.subscribe();
        self.welcome(pushed_aside).await?;
        self.offer().await?;
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let age = tokio::time::sleep(jittered_age());
        tokio::pin!(age);
        loop {
            tokio::select! {
                biased;
                why = ended(&mut end) => return Err(end_refusal(why)),
                () = &mut age => return self.grow_old().await,
                _ = check.tick() => self.check().await?,
                changed = published.changed() => {
                    changed.map_err(Refusal::internal)?;
                    self.check().await?;
                    self.offer().await?;
                }
                message = next(inbound) => match message? {
                    Some((message, trace_parent)) => self.handle(message, &trace_parent).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// A session that nobody took over in all its life: the suspicion is over, unless an operator has to decide.
    async fn grow_old(&self) -> Result<()> {
        let speaker = self.caller.speaker;
        let instance = self.hub.store.instance(speaker.cluster, speaker.instance).await?;
        if instance.is_some_and(|instance| instance.quarantine.is_none()) {
            let (code, now_ms) = (Code::CloneSuspected.as_str(), self.hub.clock.wall_ms());
            self.hub.store.resolve(speaker.cluster, speaker.instance, code, now_ms).await?;
        }
        Err(old_age())
    }

    async fn welcome(&mut self, pushed_aside: Option<Duration>) -> Result<()> {
        let hub = Arc::clone(&self.hub);
        let speaker = self.caller.speaker;
        let now_ms = hub.clock.wall_ms();
        if pushed_aside.is_some_and(|silent| silent < hub.settings.heartbeat_interval) {
            tracing::warn!(cluster = %speaker.cluster, instance = %speaker.instance,
                "a live session was taken over: the agent may have been cloned");
            let (cluster, instance) = (speaker.cluster, speaker.instance);
            let detail =
                "a second session began while the first one was live; the newest one goes on";
            let alarm = Alarm { cluster, instance, code: Code::CloneSuspected.as_str(), detail };
            hub.store.raise(&alarm, now_ms).await?;
        }
        let offset_ms = now_ms.saturating_sub(self.hello.wall_ms);
        let facts = HelloFacts {
            cluster: speaker.cluster,
            instance: speaker.instance,
            agent_version: self.hello.agent_version.clone(),
            server_version: self.hello.server_version.clone(),
            node_versions: self.hello.node_versions.clone(),
            clock_offset_ms: offset_ms,
        };
        hub.store.hello(&facts, now_ms).await?;
        hub.liveness.heard(speaker.cluster);
        let (resume, stored) = self.resume().await?;
        let welcome = Welcome {
            session: self.id,
            heartbeat_interval_ms: u32::try_from(hub.settings.heartbeat_interval.as_millis())
                .unwrap_or(u32::MAX),
            clock_offset_ms: offset_ms,
            flow_credit: FLOW_CREDIT,
            resume,
            hub_time_ms: now_ms,
            hub_epoch: hub.epoch,
        };
        self.send(ToAgent::Welcome(welcome.into())).await?;
        // All that the agent holds is stored and it does not know: the acknowledgement was lost with a link.
        match stored.filter(|stored| resume == Resume::None && stored.seq > self.hello.acked_seq) {
            Some(stored) => self.send(ToAgent::Ack(self.ack(stored).into())).await,
            None => Ok(()),
        }
    }

    fn ack(&self, position: Position) -> Ack {
        Ack {
            epoch: position.epoch,
            acked_seq: position.seq,
            acked_head: position.head,
            hub_epoch: self.hub.epoch,
            flow_credit: FLOW_CREDIT,
            next_after_ms: 0,
        }
    }

    /// Where the chain goes on, from what the agent holds and what is acknowledged; and what is stored of its epoch.
    async fn resume(&mut self) -> Result<(Resume, Option<Position>)> {
        let speaker = self.caller.speaker;
        let position = self.hub.store.chain(speaker.cluster, speaker.instance).await?;
        let stored = position.map(|(stored, _)| stored);
        self.behind = Behind::of(&self.hello, stored);
        let (store, now_ms) = (&*self.hub.store, self.hub.clock.wall_ms());
        if let Some(behind) = &self.behind {
            behind.tell(store, speaker, now_ms).await?;
        } else if stored.is_some_and(|stored| stored.epoch == self.hello.epoch) {
            behind::caught_up(store, speaker, now_ms).await?;
        }
        let of_epoch = stored.filter(|stored| stored.epoch == self.hello.epoch);
        Ok((resume(&self.hello, position), of_epoch))
    }

    async fn handle(&mut self, message: FromAgent, trace_parent: &str) -> Result<()> {
        let speaker = self.caller.speaker;
        let hub = Arc::clone(&self.hub);
        hub.sessions.heard(speaker.cluster, speaker.instance, self.id, hub.clock.monotonic());
        match message {
            FromAgent::Hello(_) => Err(Refusal::new(Code::Invalid, "a session has one Hello")),
            FromAgent::Batch(batch) => {
                let epoch = self.hello.epoch;
                let ingested = ingest::batch(&hub, speaker, epoch, batch, trace_parent).await?;
                self.acknowledge(ingested).await
            }
            FromAgent::Heartbeat(heartbeat) => {
                ingest::heartbeat(&hub, speaker, self.id, heartbeat).await
            }
            FromAgent::BundleAck(ack) => self.answered(BundleAnswer::try_from(ack)?).await,
            FromAgent::BundleNack(nack) => self.answered(BundleAnswer::try_from(nack)?).await,
        }
    }

    async fn acknowledge(&mut self, ingested: Ingested) -> Result<()> {
        match ingested {
            Ingested::Accepted { position, records: _, resync } => {
                if self.behind.take_if(|behind| behind.is_over(&position)).is_some() {
                    let now_ms = self.hub.clock.wall_ms();
                    behind::caught_up(&*self.hub.store, self.caller.speaker, now_ms).await?;
                }
                let ack = self.ack(position);
                self.send(ToAgent::Ack(ack.into())).await?;
                self.resync |= resync;
                self.ask_for_resync().await
            }
            Ingested::UndeclaredGap { send_from } => {
                let request = v1::request::Request::SendFrom(v1::SendFrom { from_seq: send_from });
                self.send(ToAgent::Request(v1::Request { request: Some(request) })).await
            }
            Ingested::Fork { at_seq } => {
                let detail =
                    format!("record {at_seq} came with another hash; the instance is quarantined");
                Err(Refusal::new(Code::Fork, detail))
            }
            Ingested::Quarantined => Err(Refusal::new(
                Code::Quarantined,
                "the instance is quarantined until an operator runs `provost fleet release`",
            )),
            Ingested::OldEpoch { newest } => Err(Refusal::new(
                Code::HeadMismatch,
                format!("epoch {newest} replaced this one; begin a new one"),
            )),
        }
    }

    /// Not more often than a snapshot takes: an agent that cannot satisfy us is not kept busy with trying.
    async fn ask_for_resync(&mut self) -> Result<()> {
        let now = self.hub.clock.monotonic();
        let too_soon =
            self.resync_asked.is_some_and(|asked| now.saturating_sub(asked) < RESYNC_EVERY);
        if !self.resync || too_soon {
            return Ok(());
        }
        self.resync = false;
        self.resync_asked = Some(now);
        let request = v1::request::Request::FullResync(v1::FullResync {});
        self.send(ToAgent::Request(v1::Request { request: Some(request) })).await
    }

    /// Certificate, revocation and status once more; a ring that began meanwhile is offered.
    async fn check(&mut self) -> Result<()> {
        self.caller = self.caller.again(&self.hub).await?;
        if self.offered.is_none() || self.newer_waits {
            self.offer().await?;
        }
        self.ask_for_resync().await
    }

    async fn send(&self, message: ToAgent) -> Result<()> {
        let message = v1::HubMessage { trace_parent: String::new(), message: Some(message) };
        match tokio::time::timeout(SEND_TIMEOUT, self.out.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Refusal::new(Code::Unavailable, "the agent is gone")),
            Err(_) => Err(Refusal::new(Code::Unavailable, "the agent does not read its stream")),
        }
    }
}

/// The next message and its trace context; none when the agent closed its side. Messages without content of this version are passed over.
async fn next(inbound: &mut Streaming<v1::AgentMessage>) -> Result<Option<(FromAgent, String)>> {
    loop {
        match inbound.message().await {
            Ok(Some(v1::AgentMessage { message: Some(message), trace_parent })) => {
                return Ok(Some((message, trace_parent)));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            // The connection broke, or a message was over the limit: tonic's own status says which.
            Err(status) => {
                let refusal = status::Refusal::from(status);
                return Err(Refusal::new(refusal.code, refusal.message));
            }
        }
    }
}

async fn ended(end: &mut watch::Receiver<Option<End>>) -> End {
    match end.wait_for(Option::is_some).await.map(|end| *end) {
        Ok(Some(why)) => why,
        // The registry gave the place to another session and forgot this one.
        _ => End::TakenOver,
    }
}

fn end_refusal(why: End) -> Refusal {
    match why {
        End::TakenOver => {
            Refusal::new(Code::CloneSuspected, "a newer session of this instance took over")
        }
        End::Decided => {
            Refusal::new(Code::Unavailable, "an operator decided about the cluster; reconnect")
                .retry_after(RECONNECT_AFTER)
        }
    }
}

fn old_age() -> Refusal {
    Refusal::new(Code::Unavailable, "the session reached its age; reconnect")
        .retry_after(RECONNECT_AFTER)
}

/// Without a time: until this hub is back, agents wait as for one that is gone.
fn going_away() -> Status {
    status::Refusal::new(Code::Unavailable, "the hub is shutting down").into()
}
