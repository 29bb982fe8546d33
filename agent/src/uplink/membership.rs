//! Being a member of the fleet: enrol with a token, wait for approval, renew, re-enter.
//!
//! Invariants: the token's secret goes only to a hub that showed the pinned CA; what a hub answers
//! counts only under the pinned root; certificates are for our own fresh key; an answer is on disk,
//! trust first and stage last, before it is used.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use provost_model::record::{TrustEvent, TrustRecord};
use provost_model::{ClusterId, Code, Digest};
use provost_proto::enrol::{Answer, Enrol, Facts, Reenter, Status, certificates_from_wire};
use provost_proto::status::Refusal;
use provost_proto::token::Token;
use provost_proto::{envelope, v1};
use provost_runtime::clock::SharedClock;
use provost_runtime::errors::chain;
use provost_runtime::pki::{self, TlsKey, Validity};
use provost_runtime::spiffe::SpiffeId;
use provost_runtime::tls::CertificateSlot;
use provost_trust::Envelope;
use provost_trust::dsse::payload_type;
use zeroize::Zeroizing;

use super::link::{CALL_TIMEOUT, Client, refusal};
use crate::identity::certificates::Certificates;
use crate::identity::enrolment::{Enrolment, Stage};
use crate::identity::{self, Identity};
use crate::report::Journal;
use crate::trust_state::Trust;

pub struct Membership {
    folder: PathBuf,
    identity: Identity,
    certificates: Certificates,
    enrolment: Option<Enrolment>,
    token: Option<Token>,
    token_missing: Option<PathBuf>,
    facts: Facts,
    name: String,
    trust: Trust,
    clock: SharedClock,
    journal: Arc<dyn Journal>,
}

/// What a membership is made of.
pub struct Parts {
    pub folder: PathBuf,
    pub identity: Identity,
    pub certificates: Certificates,
    pub enrolment: Option<Enrolment>,
    pub token: Option<Token>,
    /// The file that was to hold it.
    pub token_missing: Option<PathBuf>,
    pub facts: Facts,
    pub name: String,
    pub trust: Trust,
    pub clock: SharedClock,
    pub journal: Arc<dyn Journal>,
}

/// What the hub said to Enrol or Reenter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    Issued,
    /// A person has to approve.
    Pending {
        reason: String,
        retry_after: Option<Duration>,
    },
    Rejected {
        reason: String,
    },
}

impl Membership {
    /// A token that leads elsewhere than the enrolment on disk is an error: the data folder belongs
    /// to one fleet.
    pub fn new(parts: Parts) -> Result<Self, Refusal> {
        let Parts {
            folder,
            identity,
            certificates,
            mut enrolment,
            token,
            token_missing,
            facts,
            name,
            trust,
            clock,
            journal,
        } = parts;
        let elsewhere = match (&enrolment, &token) {
            (Some(held), Some(token)) => !held.fits(token),
            _ => false,
        };
        if elsewhere {
            // Where nobody took the first token, the new one may start afresh.
            if enrolment.as_ref().is_some_and(|held| held.stage != Stage::Asked) {
                let what =
                    "this data folder is enrolled elsewhere than the token says; use an empty one";
                return Err(Refusal::new(Code::Conflict, what));
            }
            enrolment = None;
        }
        Ok(Self {
            folder,
            identity,
            certificates,
            enrolment,
            token,
            token_missing,
            facts,
            name,
            trust,
            clock,
            journal,
        })
    }

    /// Where the hub is and how it is known: of the enrolment, else of the token.
    pub fn hub(&self) -> Result<Enrolment, Refusal> {
        let known = self.enrolment.clone().or_else(|| self.token.as_ref().map(Enrolment::asked));
        known.ok_or_else(|| {
            let make = "a token of `provost fleet token create`";
            let what = match &self.token_missing {
                Some(path) => {
                    let path = path.display();
                    format!("not enrolled: token_file {path} is not there: put {make} into it, then start again")
                }
                None => format!("not enrolled: set token_file to {make}"),
            };
            Refusal::new(Code::NeedsApproval, what)
        })
    }

    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        self.enrolment.as_ref().map(|enrolment| enrolment.stage)
    }

    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.enrolment.as_ref().and_then(|enrolment| enrolment.cluster_id)
    }

    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    #[must_use]
    pub fn slot(&self) -> CertificateSlot {
        self.certificates.slot()
    }

    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.certificates.validity()
    }

    /// Whether a session can be tried: enrolled, with a certificate that is not known to be expired.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let now_s = self.trust.now().unix_s();
        let live = self.validity().is_some_and(|validity| now_s < validity.not_after);
        self.stage() == Some(Stage::Enrolled) && live
    }

    /// When to renew: at half of the certificate's life. None: there is none.
    #[must_use]
    pub fn renew_in(&self) -> Option<Duration> {
        let validity = self.validity()?;
        let half_s = (validity.not_after - validity.not_before) / 2;
        let in_s = validity.not_before + half_s - self.trust.now().unix_s();
        Some(Duration::from_secs(u64::try_from(in_s).unwrap_or(0)))
    }

    /// Enrols or re-enters, whichever is due, over a connection without our certificate.
    pub async fn join(&mut self, client: &mut Client) -> Result<Joined, Refusal> {
        if self.stage().is_none() {
            return self.enrol(client).await;
        }
        let asked = self.stage() == Some(Stage::Asked);
        match self.reenter(client).await {
            // The hub never saw the first request, or refused it.
            Err(refused) if asked && refused.code == Code::NotFound && self.token.is_some() => {
                self.enrol(client).await
            }
            other => other,
        }
    }

    /// A fresh certificate, over a connection with the one that still holds.
    pub async fn renew(&mut self, client: &mut Client) -> Result<(), Refusal> {
        let key = TlsKey::generate().map_err(|error| internal(&error))?;
        let request = v1::RenewRequest {
            csr: csr(&key)?.into(),
            instance_id: self.identity.instance.as_bytes().to_vec().into(),
        };
        let response = call(client.renew(request)).await?;
        self.trust.hub_reading(response.hub_time_ms);
        let chain = certificates_from_wire(response.certificates)?;
        self.check_leaf(&chain, self.cluster())?;
        self.certificates.keep(&key, chain).map_err(|error| internal(&error))?;
        self.report(TrustEvent::Renewed).await;
        Ok(())
    }

    async fn enrol(&mut self, client: &mut Client) -> Result<Joined, Refusal> {
        let Some(token) = self.token.clone() else {
            return Err(self.hub().err().unwrap_or_else(no_token));
        };
        let asked = Enrolment::asked(&token);
        asked.write(&self.folder).map_err(|error| internal(&error))?;
        self.enrolment = Some(asked);
        let key = TlsKey::generate().map_err(|error| internal(&error))?;
        let payload = Enrol {
            token_secret: Zeroizing::new(token.secret.to_string()),
            csr: csr(&key)?,
            identity_key: self.identity.identity_key.public(),
            report_key: self.identity.report_key.public(),
            instance: self.identity.instance,
            facts: self.facts.clone(),
            display_name: self.name.clone(),
            wall_ms: self.clock.wall_ms(),
            root: token.root_sha256,
        }
        .encode();
        let envelope = Some(self.signed(payload_type::ENROL, payload));
        let answer = call(client.enrol(v1::EnrolRequest { envelope })).await?;
        self.take(answer.try_into()?, &key, TrustEvent::Enrolled).await
    }

    async fn reenter(&mut self, client: &mut Client) -> Result<Joined, Refusal> {
        let join_counter = self.enrolment.as_ref().map_or(0, |enrolment| enrolment.join_counter);
        let key = TlsKey::generate().map_err(|error| internal(&error))?;
        let payload = Reenter {
            identity_key: self.identity.identity_key.public(),
            csr: csr(&key)?,
            report_key: self.identity.report_key.public(),
            instance: self.identity.instance,
            join_counter,
            wall_ms: self.clock.wall_ms(),
            nonce: rand::random(),
        }
        .encode();
        let envelope = Some(self.signed(payload_type::REENTER, payload));
        let answer = call(client.reenter(v1::ReenterRequest { envelope })).await?;
        let first = self.stage() != Some(Stage::Enrolled);
        let event = if first { TrustEvent::Enrolled } else { TrustEvent::Reentered };
        self.take(answer.try_into()?, &key, event).await
    }

    fn signed(&self, payload_type: &str, payload: Vec<u8>) -> v1::Envelope {
        envelope::to_wire(Envelope::sign(payload_type, payload, &[&*self.identity.identity_key]))
    }

    async fn take(
        &mut self,
        answer: Answer,
        key: &TlsKey,
        event: TrustEvent,
    ) -> Result<Joined, Refusal> {
        self.trust.hub_reading(answer.hub_time_ms);
        let mut enrolment = self.hub()?;
        let known = enrolment.cluster_id;
        if known.is_some() && answer.cluster.is_some() && known != answer.cluster {
            return Err(Refusal::new(Code::WrongCluster, "the hub answered for another cluster"));
        }
        enrolment.cluster_id = answer.cluster.or(known);
        enrolment.join_counter = answer.join_counter.max(enrolment.join_counter);
        let joined = match answer.status {
            Status::Issued => {
                self.take_issued(&answer, key, &mut enrolment)?;
                Joined::Issued
            }
            Status::Pending => {
                // Who was enrolled stays so on disk: the last good state goes on.
                if enrolment.stage == Stage::Asked {
                    enrolment.stage = Stage::Pending;
                }
                Joined::Pending { reason: answer.reason, retry_after: answer.retry_after }
            }
            Status::Rejected => Joined::Rejected { reason: answer.reason },
        };
        enrolment.write(&self.folder).map_err(|error| internal(&error))?;
        self.enrolment = Some(enrolment);
        if joined == Joined::Issued {
            self.report(event).await;
        }
        Ok(joined)
    }

    fn take_issued(
        &mut self,
        answer: &Answer,
        key: &TlsKey,
        enrolment: &mut Enrolment,
    ) -> Result<(), Refusal> {
        let trusted =
            |error: crate::trust_state::Error| Refusal::new(error.code(), error.to_string());
        if self.trust.root_version() == 0 {
            self.trust.pin(enrolment.root_sha256, &answer.roots).map_err(trusted)?;
        } else {
            self.trust.follow(&answer.roots).map_err(trusted)?;
        }
        self.check_leaf(&answer.certificates, enrolment.cluster_id)?;
        if let (Some(grant), Some(cluster)) = (&answer.grant, enrolment.cluster_id) {
            let identity_key = self.identity.identity_key.public();
            self.trust.accept_grant(grant, cluster, identity_key).map_err(trusted)?;
        }
        self.certificates
            .keep(key, answer.certificates.clone())
            .map_err(|error| internal(&error))?;
        enrolment.stage = Stage::Enrolled;
        Ok(())
    }

    /// The certificate names this cluster and no other.
    fn check_leaf(&self, chain: &[Vec<u8>], cluster: Option<ClusterId>) -> Result<(), Refusal> {
        let wrong = |what: &str| Refusal::new(Code::WrongCluster, what);
        let leaf = chain.first().ok_or_else(|| wrong("no certificate was issued"))?;
        let found = pki::Identity::of(leaf).map_err(|error| wrong(&error.to_string()))?.spiffe;
        let domain = self.hub()?.trust_domain;
        let domain = domain.parse().map_err(|_| {
            Refusal::new(Code::WrongTrustDomain, "the token's trust domain is malformed")
        })?;
        let cluster = cluster.ok_or_else(|| wrong("the hub named no cluster"))?;
        if found != SpiffeId::cluster(domain, *cluster.as_bytes()) {
            return Err(wrong("the certificate that was issued names another identity"));
        }
        Ok(())
    }

    async fn report(&self, event: TrustEvent) {
        let root_version = self.trust.root_version();
        let digest: Option<Digest> = self.trust.digest();
        let record = TrustRecord { event, root_version, digest, detail: String::new() };
        self.journal.trust(record).await;
    }
}

async fn call<T>(
    future: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(CALL_TIMEOUT, future).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(refusal(&status)),
        Err(_) => Err(Refusal::new(Code::Unavailable, "the hub did not answer in time")),
    }
}

fn csr(key: &TlsKey) -> Result<Vec<u8>, Refusal> {
    key.csr().map_err(|error| internal(&identity::Error::from(error)))
}

fn internal(error: &dyn std::error::Error) -> Refusal {
    Refusal::new(Code::Internal, chain(error))
}

fn no_token() -> Refusal {
    Refusal::new(Code::NeedsApproval, "not enrolled, and there is no token")
}
