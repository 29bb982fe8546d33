//! What operators do, as the API asks for it: each operation on the hub's own functions.

use std::sync::Arc;

use async_trait::async_trait;
use provost_model::{ClusterId, Digest, InstanceId};

use crate::api::ports::{
    ApproveRequest, BundleChange, EnrolTokenRequest, HubFacts, IssuedEnrolToken, Liveness, Operate,
    PublishAnswer, PublishRequest,
};
use crate::api::problem::{Problem, ProblemEntry};
use crate::bundles::publish::{self, Published};
use crate::enrol::token::{self, TokenRequest};
use crate::enrol::{self, ApprovalRequest};
use crate::hub::Hub;
use crate::refusal::Refusal;
use crate::store::Actor;
use crate::store::identity::Cluster;

/// The hub as its API sees it.
#[derive(Clone, Debug)]
pub struct Operations(pub Arc<Hub>);

impl Liveness for Operations {
    fn is_fresh(&self, cluster: ClusterId) -> bool {
        self.0.liveness.is_fresh(cluster)
    }
}

#[async_trait]
impl Operate for Operations {
    fn facts(&self) -> HubFacts {
        let hub = &self.0;
        HubFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: hub.trust_domain.to_string(),
            ca_digest: Digest::from_bytes(hub.keys.ca.sha256()).to_string(),
            director_key: hex::encode(hub.keys.director.public().as_bytes()),
            agent_urls: hub.agent_urls(),
            root_version: *hub.root_version.borrow(),
        }
    }

    async fn create_enrol_token(
        &self,
        request: EnrolTokenRequest,
        actor: &Actor,
    ) -> Result<IssuedEnrolToken, Problem> {
        let EnrolTokenRequest { display_name, labels, life_s } = request;
        let request = TokenRequest { display_name, labels, life_s };
        let created = token::create(&self.0, request, actor).await?;
        Ok(IssuedEnrolToken {
            secret: created.secret.to_string(),
            expires_at_ms: created.expires_at_ms,
        })
    }

    async fn approve(&self, approval: ApproveRequest, actor: &Actor) -> Result<Cluster, Problem> {
        let ApproveRequest { cluster, display_name, labels, grant } = approval;
        let request = ApprovalRequest { display_name, labels, grant };
        Ok(enrol::approve(&self.0, cluster, request, actor).await?)
    }

    async fn dismiss(
        &self,
        cluster: ClusterId,
        reason: &str,
        actor: &Actor,
    ) -> Result<Cluster, Problem> {
        Ok(enrol::dismiss(&self.0, cluster, reason, actor).await?)
    }

    async fn release(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        actor: &Actor,
    ) -> Result<(), Problem> {
        Ok(enrol::release(&self.0, cluster, instance, actor).await?)
    }

    async fn publish(
        &self,
        request: PublishRequest,
        plan: bool,
        actor: &Actor,
    ) -> Result<PublishAnswer, Problem> {
        let PublishRequest { manifest, roots, blobs } = request;
        let blobs = blobs.into_values().collect();
        let request = publish::PublishRequest { roots, manifest, blobs, plan_only: plan };
        Ok(answer(publish::publish(&self.0, request, actor).await?))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        if refusal.cause.is_some() {
            return Self::internal(&refusal);
        }
        let mut problem = Self::new(refusal.code, refusal.detail);
        let entry = |error: provost_model::record::FileError| ProblemEntry {
            path: error.path,
            code: error.code,
            message: error.message,
        };
        problem.errors = refusal.errors.into_iter().map(entry).collect();
        problem
    }
}

fn answer(published: Published) -> PublishAnswer {
    let Published {
        channel,
        version,
        manifest,
        content,
        policies,
        tests,
        clusters,
        published,
        plan,
        warnings,
        root_version: _,
    } = published;
    let policy = plan.policies.iter().map(|change| BundleChange {
        change: word(&change.change),
        what: "policy".to_owned(),
        id: change.policy.to_string(),
        detail: fields(&change.differences),
    });
    let binding = plan.bindings.iter().map(|change| BundleChange {
        change: word(&change.change),
        what: "binding".to_owned(),
        id: format!("{}/{}", change.policy, change.binding),
        detail: fields(&change.differences),
    });
    PublishAnswer {
        channel,
        version,
        manifest_digest: manifest.to_string(),
        content_digest: content.to_string(),
        published,
        policies,
        tests,
        clusters,
        changes: policy.chain(binding).collect(),
        warnings,
    }
}

fn word(change: &provost_bundle::plan::Change) -> String {
    use provost_bundle::plan::Change;
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
    }
    .to_owned()
}

/// `action: "warn" -> "deny", rules`.
fn fields(differences: &[provost_bundle::plan::Difference]) -> String {
    let one = |difference: &provost_bundle::plan::Difference| {
        if difference.before.is_null() && difference.after.is_null() {
            return difference.field.clone();
        }
        format!("{}: {} -> {}", difference.field, difference.before, difference.after)
    };
    differences.iter().map(one).collect::<Vec<_>>().join(", ")
}
