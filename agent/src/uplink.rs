//! The way to the hub: join the fleet, keep one session open, try again with jitter for ever.
//!
//! Nothing waits for the uplink: without a hub the agent watches, evaluates and spools. One task
//! owns it all; there is never more than one session.

mod link;
mod membership;
mod metrics;
mod session;
mod standing;
mod traced;

use std::sync::Arc;
use std::time::Duration;

use provost_model::id::SessionId;
use provost_model::{Code, Digest};
use provost_proto::status::Refusal;
use provost_runtime::admin::Health;
use provost_runtime::backoff::Backoff;
use provost_runtime::clock::SharedClock;
use provost_runtime::errors::chain;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::spiffe::TrustDomain;
use provost_runtime::tls::{CertificateSlot, Connector, HubUrl, Proxy};
use tokio::sync::{mpsc, watch};

pub use membership::{Joined, Membership, Parts};
pub use metrics::Metrics;

use crate::bundles::{Offer, Store, View};
use crate::report::{Chain, Journal};
use crate::status::Link;
use crate::trust_state::{Trust, TrustedClock};
use session::End;

/// For TCP, tunnel and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A session that held for so long was one: delays start over after it. A link that breaks all the time gets no shorter
/// ones.
const STEADY: Duration = Duration::from_secs(10);
/// How often a waiting agent asks whether it was approved, unless the hub says otherwise.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Everything the uplink works with.
pub struct Uplink {
    pub membership: Membership,
    pub trust: Trust,
    pub chain: Arc<dyn Chain>,
    pub journal: Arc<dyn Journal>,
    pub store: Store,
    pub bundles: watch::Receiver<View>,
    pub offers: mpsc::Sender<Offer>,
    pub clock: SharedClock,
    pub health: Health,
    pub link: watch::Sender<Link>,
    pub metrics: Metrics,
    pub shutdown: Shutdown,
    pub config_digest: Digest,
    pub server_version: String,
    pub node_versions: Vec<String>,
    /// Of the settings; empty: those of the token.
    pub hubs: Vec<HubUrl>,
    pub proxy: Option<Proxy>,
    pub backoff: Backoff,
    /// A bundle whose time had not come is asked for again after this.
    pub ask_again: Duration,
}

/// What one attempt came to.
enum Outcome {
    /// Go on at once.
    Next,
    /// Ask again after this.
    Wait(Duration),
}

impl Uplink {
    /// Until shutdown.
    pub async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        // The first connection is jittered too: a fleet that starts together does not call together.
        let mut delay = self.backoff.next_delay(None);
        let mut state = State::default();
        while shutdown.sleep(delay).await {
            let Some(attempt) = shutdown.or(self.attempt(&mut state)).await else { break };
            delay = match attempt {
                Ok(Outcome::Next) => Duration::ZERO,
                Ok(Outcome::Wait(delay)) => delay,
                Err(refusal) => self.failed(&refusal, &mut state),
            };
        }
        self.link.send_modify(|link| link.connected = false);
    }

    async fn attempt(&mut self, state: &mut State) -> Result<Outcome, Refusal> {
        if state.rejoin || !self.membership.is_usable() {
            return self.join(state).await;
        }
        let client = self.open(state, self.membership.slot()).await?;
        let begun = self.clock.monotonic();
        let ended = session::run(self, client, state.held_back).await;
        if self.clock.monotonic().saturating_sub(begun) >= STEADY {
            self.backoff.reset();
            state.asked_again = false;
        }
        self.disconnected();
        let mut wait = Duration::ZERO;
        match ended? {
            End::Shutdown | End::AskAgain => {}
            End::HelloAgain => state.held_back = false,
            End::Reenrol => state.rejoin = true,
            End::Dismissed(asked) => wait = asked.min(provost_runtime::backoff::CAP),
        }
        // At once, but not in a loop with a hub that never has enough.
        if std::mem::replace(&mut state.asked_again, true) {
            wait = wait.max(self.backoff.next_delay(None));
        }
        Ok(Outcome::Wait(wait))
    }

    async fn join(&mut self, state: &mut State) -> Result<Outcome, Refusal> {
        let mut client = self.open(state, CertificateSlot::empty()).await?;
        let joined = self.membership.join(&mut client).await?;
        let (enrolled, text, outcome) = match joined {
            Joined::Issued => {
                state.rejoin = false;
                self.backoff.reset();
                let cluster = self.membership.cluster().map(|cluster| cluster.to_string());
                tracing::info!(cluster, "certificate issued");
                (true, String::new(), Outcome::Next)
            }
            Joined::Pending { reason, retry_after } => {
                let wait =
                    provost_runtime::backoff::jittered(retry_after.unwrap_or(ASK_AGAIN), 0.2);
                (false, reason, Outcome::Wait(wait))
            }
            Joined::Rejected { reason } => {
                let wait = self.backoff.next_delay(Some(provost_runtime::backoff::CAP));
                (false, reason, Outcome::Wait(wait))
            }
        };
        let (cluster, stage) = (self.membership.cluster(), self.membership.stage());
        let news = self.link.borrow().problem != text;
        if !enrolled {
            if news {
                let identity_key = self.membership.identity().identity_key.public().to_string();
                tracing::warn!(reason = text, identity_key, "not a member of the fleet yet");
            }
            // What failed before the hub answered is over.
            self.health.set_optional("hub", false, text.clone());
        }
        self.link.send_modify(|link| {
            link.stage = stage;
            link.cluster = cluster;
            link.problem = text;
        });
        Ok(outcome)
    }

    /// The next hub of the list; a hub that fails is followed by its neighbour.
    async fn open(&self, state: &State, slot: CertificateSlot) -> Result<link::Client, Refusal> {
        let known = self.membership.hub()?;
        let domain: TrustDomain = known.trust_domain.parse().map_err(|_| {
            Refusal::new(Code::WrongTrustDomain, "the token's trust domain is malformed")
        })?;
        let hubs = self.hubs(&known.hubs)?;
        let hub = &hubs[state.failures % hubs.len()];
        let clock: SharedClock = Arc::new(TrustedClock(self.trust.clone()));
        let (ca, proxy) = (*known.ca_sha256.as_bytes(), self.proxy.clone());
        let connector = Connector::new(ca, domain, &slot, clock, proxy, CONNECT_TIMEOUT)
            .map_err(|error| Refusal::new(Code::Internal, chain(&error)))?;
        self.link.send_modify(|link| link.hub = hub.to_string());
        let opened = link::open(&connector, hub).await;
        let has_expired = opened.as_ref().is_err_and(|refusal| refusal.code == Code::Expired);
        if has_expired && self.trust.doubt_hub_reading() {
            tracing::warn!(
                "the hub's clock was wrong, or ours is: its last word on the time is forgotten"
            );
        }
        opened
    }

    fn hubs(&self, known: &[String]) -> Result<Vec<HubUrl>, Refusal> {
        if !self.hubs.is_empty() {
            return Ok(self.hubs.clone());
        }
        let hubs: Result<Vec<HubUrl>, _> = known.iter().map(|text| text.parse()).collect();
        let hubs = hubs.map_err(|error: provost_runtime::tls::BadHubUrl| {
            Refusal::new(Code::Invalid, format!("the token's {error}"))
        })?;
        if hubs.is_empty() {
            return Err(Refusal::new(Code::Invalid, "no hub is known"));
        }
        Ok(hubs)
    }

    /// Keeps what the failure means for the next attempt, and says how long to wait for it.
    fn failed(&mut self, refusal: &Refusal, state: &mut State) -> Duration {
        self.disconnected();
        self.metrics.failures.increment();
        state.failures = state.failures.wrapping_add(1);
        match refusal.code {
            // After a refused re-entry, the certificate that is still there is tried again.
            Code::CertificateExpired => state.rejoin = true,
            Code::Quarantined | Code::Fork => state.held_back = true,
            _ => state.rejoin = false,
        }
        let delay = self.backoff.next_delay(refusal.retry_after);
        let text = refusal.to_string();
        if self.link.borrow().problem == text {
            tracing::debug!(reason = text, ?delay, "no session with the hub");
        } else {
            tracing::warn!(
                reason = text,
                ?delay,
                "no session with the hub; evaluating and spooling go on"
            );
        }
        let stage = self.membership.stage();
        self.link.send_modify(|link| {
            link.stage = stage;
            link.problem = text;
        });
        self.health.set_optional("hub", false, refusal.to_string());
        delay
    }

    fn connected(&self, session: SessionId) {
        tracing::info!(session = session.short(), hub = self.link.borrow().hub, "session open");
        self.metrics.sessions.increment();
        self.health.set_optional("hub", true, "");
        self.report_certificate("");
        let (cluster, stage) = (self.membership.cluster(), self.membership.stage());
        self.link.send_modify(|link| {
            link.stage = stage;
            link.cluster = cluster;
            link.connected = true;
            link.problem = String::new();
        });
    }

    fn disconnected(&self) {
        self.link.send_modify(|link| link.connected = false);
    }

    fn heartbeat_sent(&self, wall_ms: i64) {
        self.link.send_modify(|link| link.last_heartbeat_ms = Some(wall_ms));
    }

    fn acknowledged(&self, seq: u64) {
        self.link.send_modify(|link| link.acked_seq = seq);
    }

    /// A renewal that fails is tried again later: half of the certificate's life is left.
    async fn renew(&mut self, mut client: link::Client) {
        match self.membership.renew(&mut client).await {
            Ok(()) => {
                tracing::info!("certificate renewed");
                self.report_certificate("");
            }
            Err(refusal) => {
                tracing::warn!(%refusal, "certificate not renewed");
                self.report_certificate(&format!("not renewed: {refusal}"));
            }
        }
    }

    fn report_certificate(&self, problem: &str) {
        self.health.set_optional("certificate", problem.is_empty(), problem);
        let validity = self.membership.validity();
        self.link.send_modify(|link| {
            link.certificate_not_after_s = validity.map(|validity| validity.not_after);
        });
    }
}

/// What one attempt tells the next.
#[derive(Debug, Default)]
struct State {
    failures: usize,
    rejoin: bool,
    held_back: bool,
    /// The last session was followed by another one at once.
    asked_again: bool,
}
