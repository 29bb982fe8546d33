//! The start without any network: the bundle that was in force is verified again and goes on.
//!
//! Where it cannot be read, the newest of those before it that can is taken, if it is neither revoked
//! nor below the floor: an older policy set is better than none, and the hub offers the lost one again.
//! Every manifest that verifies keeps the version floor, so that a lost trust state lowers nothing.

use provost_bundle::VerifiedBundle;
use provost_model::record::BundleEvent;
use provost_model::{ClusterId, Digest};
use provost_trust::manifest::{self, Purpose};
use provost_trust::{PolicyManifest, TrustedRoot, Verified};

use super::Bundles;
use crate::damage::Damage;

impl Bundles {
    /// Puts the last good bundle into force. Gives what could not be read; changes nothing on disk.
    pub async fn load_last_good(
        &mut self,
        cluster: Option<ClusterId>,
    ) -> anyhow::Result<Vec<Damage>> {
        let pointer = self.store.pointer()?;
        let in_order = pointer.is_ok();
        let (digests, damage) = match pointer {
            Ok(pointer) => {
                let before = pointer.before.iter().copied();
                (std::iter::once(pointer.manifest).chain(before).collect(), None)
            }
            // None is there before the first bundle, and after one that was set aside.
            Err(damage) => (self.store.manifests()?, damage),
        };
        let mut damages: Vec<Damage> = damage.into_iter().collect();
        if digests.is_empty() {
            return Ok(damages);
        }
        let mut manifests = self.reverify(&digests, &mut damages)?;
        for manifest in &manifests {
            self.trust.recall(manifest);
        }
        if !in_order {
            manifests.sort_by_key(|manifest| std::cmp::Reverse(manifest.version));
        }
        for manifest in manifests {
            let is_last = in_order && digests.first() == Some(&manifest.digest());
            if !is_last && !self.may_stand_in(&manifest) {
                continue;
            }
            match self.take_up(manifest, cluster, &mut damages).await {
                Ok(()) => break,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "a bundle that was in force cannot be used");
                }
            }
        }
        Ok(damages)
    }

    fn reverify(
        &self,
        digests: &[Digest],
        damages: &mut Vec<Damage>,
    ) -> anyhow::Result<Vec<Verified<PolicyManifest>>> {
        // Without a root nothing can be verified, and nothing is damaged by that.
        let roots = self.trust.roots().unwrap_or_default();
        if roots.is_empty() {
            tracing::error!("no root can be read: nothing is in force until the hub sends it");
            return Ok(Vec::new());
        }
        let mut manifests = Vec::new();
        for digest in digests {
            let verified = match self.store.manifest(digest)? {
                None => Err("it is missing or damaged".to_owned()),
                Some(envelope) => match verify(&roots, &envelope) {
                    Err(what) if !self.trust.has_all_roots() => {
                        tracing::error!(manifest = digest.short(), what, "its root is not here");
                        continue;
                    }
                    other => other,
                },
            };
            match verified {
                Ok(manifest) => manifests.push(manifest),
                Err(what) => damages.push(self.store.damaged_manifest(digest, what)),
            }
        }
        Ok(manifests)
    }

    /// As a rollback to it would be judged.
    fn may_stand_in(&self, manifest: &Verified<PolicyManifest>) -> bool {
        let state = self.trust.state();
        let held = state.as_ref().and_then(|state| state.held_manifest(&manifest.channel));
        manifest.check_version(manifest.digest(), held, Purpose::Rollback).is_ok()
    }

    async fn take_up(
        &mut self,
        manifest: Verified<PolicyManifest>,
        cluster: Option<ClusterId>,
        damages: &mut Vec<Damage>,
    ) -> anyhow::Result<()> {
        let (contents, damaged) = self.store.contents(&manifest.files)?;
        damages.extend(damaged);
        let verified = VerifiedBundle::new(manifest, contents)?;
        let prepared = self.prepare(verified.clone(), cluster, false).await?;
        self.put_into_force(verified, prepared, BundleEvent::PolicySetChanged).await;
        Ok(())
    }
}

/// Under the newest root that its signatures fit.
fn verify(
    roots: &[TrustedRoot],
    envelope: &provost_trust::Envelope,
) -> Result<Verified<PolicyManifest>, String> {
    let mut why = String::new();
    for root in roots {
        match manifest::verify(root, envelope) {
            Ok(manifest) => return Ok(manifest),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}
