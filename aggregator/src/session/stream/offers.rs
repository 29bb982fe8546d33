//! What a session is offered, and what its agent says of it.

use provost_model::Code;
use provost_proto::session::BundleAnswer;
use provost_proto::v1::hub_message::Message as ToAgent;

use super::Session;
use crate::bundles::offer;
use crate::refusal::Result;
use crate::store::bundles::{BundleAnswer as AnswerRow, BundleStatus};
use crate::store::reports::Alarm;

/// The alarm about a bundle that an agent does not take.
const BUNDLE_REFUSED: &str = "BUNDLE_REFUSED";

impl Session {
    /// Keeps the answer; the next offer goes by it in place of what Hello said.
    pub(super) async fn answered(&mut self, answer: BundleAnswer) -> Result<()> {
        let speaker = self.caller.speaker;
        let now_ms = self.hub.clock.wall_ms();
        let (manifest, version, status, code, errors) = match answer {
            BundleAnswer::Active { manifest, version } => {
                self.hello.bundle = Some(manifest);
                (manifest, version, BundleStatus::Active, String::new(), Vec::new())
            }
            BundleAnswer::Refused { manifest, version, code, errors } => {
                (manifest, version, BundleStatus::Refused, code.as_str().to_owned(), errors)
            }
        };
        let (cluster, instance) = (speaker.cluster, speaker.instance);
        let metrics = &self.hub.metrics;
        if status == BundleStatus::Refused {
            metrics.not_activated.increment();
            tracing::warn!(%cluster, version, code, "an agent refused a bundle");
        } else {
            metrics.activated.increment();
            self.hub.store.resolve(cluster, instance, BUNDLE_REFUSED, now_ms).await?;
        }
        // An agent whose clock is behind only waits: it asks again by itself.
        if status == BundleStatus::Refused && code != Code::NotYet.as_str() {
            let detail =
                format!("bundle version {version} ({}) was refused: {code}", manifest.short());
            let alarm = Alarm { cluster, instance, code: BUNDLE_REFUSED, detail: &detail };
            self.hub.store.raise(&alarm, now_ms).await?;
        }
        let row = AnswerRow { cluster, instance, manifest, version, status, code, errors };
        self.hub.store.bundle_answer(&row, now_ms).await?;
        Ok(())
    }

    /// Offers the newest bundle that is for the cluster, if it or the grant is not what was offered last. No session
    /// lives as long as an assignment does, so that none has to be made anew.
    pub(super) async fn offer(&mut self) -> Result<()> {
        let Some(offer) = offer::for_session(&self.hub, &self.caller.cluster, &self.hello).await?
        else {
            return Ok(());
        };
        self.newer_waits = offer.newer_waits;
        let key = (offer.bundle.manifest, self.caller.cluster.grant_version);
        if self.offered == Some(key) {
            return Ok(());
        }
        let first = self.offered.is_none_or(|(manifest, _)| manifest != offer.bundle.manifest);
        self.offered = Some(key);
        if first {
            let speaker = self.caller.speaker;
            let active = self.hello.bundle == Some(offer.bundle.manifest);
            let row = AnswerRow {
                cluster: speaker.cluster,
                instance: speaker.instance,
                manifest: offer.bundle.manifest,
                version: offer.bundle.version,
                status: if active { BundleStatus::Active } else { BundleStatus::Offered },
                code: String::new(),
                errors: Vec::new(),
            };
            self.hub.store.bundle_answer(&row, self.hub.clock.wall_ms()).await?;
        }
        self.hub.metrics.offers.increment();
        self.send(ToAgent::Assignment(offer.message.into())).await
    }
}
