//! How the agent stands, as it tells the hub: Hello when a session begins, heartbeats after that.

use provost_model::id::{BootId, SessionId};
use provost_model::{ClusterId, Digest};
use provost_proto::PROTOCOL_VERSION;
use provost_proto::heartbeat::{CapabilityHealth, Health, Heartbeat};
use provost_proto::hello::{Hello, MAX_BLOBS_HELD};
use provost_trust::dsse::payload_type;

use super::Uplink;

impl Uplink {
    pub(super) fn hello(&self, nonce: [u8; 32]) -> Hello {
        let position = self.chain.position().borrow().clone();
        let active = self.bundles.borrow().active.clone();
        let blobs_held = self.store.blobs(MAX_BLOBS_HELD).unwrap_or_default();
        Hello {
            protocol_version: PROTOCOL_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: vec!["bundles".to_owned(), "audit".to_owned()],
            payload_types: payload_type::ALL.iter().map(ToString::to_string).collect(),
            instance: self.membership.identity().instance,
            nonce,
            root_version: self.trust.root_version(),
            epoch: position.epoch,
            last_seq: position.last_seq,
            head: position.head,
            acked_seq: position.acked_seq,
            first_held_seq: position.first_held_seq,
            bundle: active.map(|active| active.manifest),
            config: Some(self.config_digest),
            wall_ms: self.clock.wall_ms(),
            server_version: self.server_version.clone(),
            node_versions: self.node_versions.clone(),
            blobs_held,
        }
    }

    /// Health goes along where it is not what was sent last.
    pub(super) fn heartbeat(
        &self,
        cluster: ClusterId,
        session: SessionId,
        health_sent: Option<Digest>,
    ) -> Heartbeat {
        let position = self.chain.position().borrow().clone();
        let health = self.capabilities();
        let digest = health.digest();
        let changed = health_sent != Some(digest);
        let clock = &self.clock;
        let wall_ms = clock.wall_ms();
        let age_ms = position.oldest_wall_ms.map_or(0, |oldest| wall_ms.saturating_sub(oldest));
        Heartbeat {
            cluster,
            instance: self.membership.identity().instance,
            session,
            epoch: position.epoch,
            last_seq: position.last_seq,
            head: position.head,
            acked_seq: position.acked_seq,
            spool_records: position.records,
            spool_bytes: position.bytes,
            spool_oldest_age_ms: u64::try_from(age_ms).unwrap_or(0),
            trust_state: self.trust.digest(),
            wall_ms,
            monotonic_ms: clock.monotonic_ms(),
            boot: BootId::from_bytes(clock.boot()),
            health_digest: Some(digest),
            health: changed.then_some(health),
        }
    }

    fn capabilities(&self) -> Health {
        let parts =
            self.health.parts().into_iter().filter(|(name, _)| !matches!(*name, "hub" | "bundle"));
        let capability = |(name, part): (&str, provost_runtime::admin::Part)| CapabilityHealth {
            capability: name.to_owned(),
            healthy: part.healthy,
            detail: part.detail.chars().take(200).collect(),
        };
        Health { capabilities: parts.map(capability).collect(), webhook: None }
    }
}
