//! Bundles from assignment to force, and every way to be refused: what is in force stays.

use std::time::Duration;

use bytes::Bytes;
use provost_model::record::BundleEvent;
use provost_model::{Code, LabelSelector};
use provost_proto::session::BundleAnswer;
use provost_trust::{Envelope, Grant};

use super::hub::{BOUND, Hub, State};
use super::signing::{Keys, assigned, at, blobs, contents, header, sign_assignment, sign_manifest};
use super::{Running, enrolled};

/// Signs version `version` and assigns it.
pub fn publish(hub: &Hub, version: u64) -> Envelope {
    let contents = contents(&format!("Version {version}."));
    let manifest = sign_manifest(&[&hub.keys.policy], &contents, header(version));
    let assign = hub.assign(&manifest);
    hub.set(|state| {
        state.blobs.extend(blobs(&contents));
        state.assign = Some(assign);
    });
    manifest
}

pub fn refusal(state: &State) -> Option<Code> {
    state.answers.iter().rev().find_map(|answer| match answer {
        BundleAnswer::Refused { code, .. } => Some(*code),
        BundleAnswer::Active { .. } => None,
    })
}

/// Version 2 is in force; then `change` makes the hub assign something, which is refused with
/// `code`, and version 2 stays, also over a restart without the hub.
async fn refused(code: Code, change: impl FnOnce(&Hub)) {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    publish(&hub, 2);
    agent.active(2).await;
    let in_force = agent.agent.sets.borrow().id();
    change(&hub);
    hub.wait("a refusal", |state| refusal(state).is_some()).await;
    assert_eq!(refusal(&hub.state()), Some(code));
    assert_eq!(agent.agent.sets.borrow().id(), in_force);
    assert_eq!(agent.status().refused.unwrap().code, code.as_str());
    let events: Vec<_> =
        agent.recorder.seen.lock().unwrap().bundles.iter().map(|b| (b.event, b.version)).collect();
    assert_eq!(events[0], (BundleEvent::Activated, 2));
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1].0, BundleEvent::Refused);
    agent.stop().await;
    hub.stop();
    let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
    agent.active(2).await;
    agent.stop().await;
}

/// Assigns `manifest` in place of version 2, with the blobs of `version`.
fn offer(hub: &Hub, manifest: Envelope) {
    let keys = hub.keys.clone();
    hub.set(|state| {
        state.assign = Some(Box::new(move |hello, cluster| {
            let version = serde_json::from_slice::<serde_json::Value>(&manifest.payload)
                .ok()
                .and_then(|json| json["version"].as_u64())
                .unwrap_or(3);
            sign_assignment(&keys, &assigned(hello.nonce, cluster, &manifest, version), &manifest)
        }));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assigned_bundle_goes_into_force_and_survives_without_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    let empty = agent.agent.sets.borrow().id();
    let manifest = publish(&hub, 1);
    agent.active(1).await;
    assert_ne!(agent.agent.sets.borrow().id(), empty);
    let active = BundleAnswer::Active { manifest: manifest.payload_digest(), version: 1 };
    hub.wait("the answer", |state| state.answers.contains(&active)).await;
    let second = publish(&hub, 2);
    agent.active(2).await;
    let recorder = agent.stop().await;
    let seen = recorder.seen.lock().unwrap().bundles.clone();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].manifest, second.payload_digest());
    assert_eq!(seen[1].policy_set.as_ref().unwrap().entries.len(), 1);

    hub.stop();
    let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
    agent.active(2).await;
    assert_eq!(agent.agent.sets.borrow().policy_set().entries.len(), 1);
    assert_eq!(agent.status().bundle.unwrap().policies, Some(1));
    agent.stop().await;
    let offline = provost_agent::status::from_data_folder(&folder.path().join("data")).unwrap();
    let bundle = offline.unwrap().bundle.unwrap();
    assert_eq!((bundle.version, bundle.policies), (2, None), "what is in force is not known then");
}

/// A key of the policy role is replaced: what it signed stays in force, also over a restart, but
/// nothing new of it is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_root_ends_old_keys_and_not_what_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    publish(&hub, 1);
    agent.active(1).await;
    let new_key = provost_trust::KeyPair::generate().unwrap();
    let assign = |key: &provost_trust::KeyPair, version: u64| {
        let contents = contents(&format!("Version {version}."));
        let manifest = sign_manifest(&[key], &contents, header(version));
        let (keys, root) = (hub.keys.clone(), hub.keys.rotated(&new_key));
        hub.set(|state| {
            state.blobs.extend(blobs(&contents));
            state.assign = Some(Box::new(move |hello, cluster| {
                let assigned = assigned(hello.nonce, cluster, &manifest, version);
                let mut assignment = sign_assignment(&keys, &assigned, &manifest);
                assignment.roots = vec![root.clone()];
                assignment
            }));
        });
    };
    assign(&hub.keys.policy, 2);
    hub.wait("a refusal", |state| refusal(state).is_some()).await;
    assert_eq!(refusal(&hub.state()), Some(Code::ThresholdNotMet));
    agent.stop().await;
    hub.set(|state| state.assign = None);
    let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
    agent.active(1).await;
    agent.link("connected", |link| link.connected).await;
    assert_eq!(hub.state().hellos.last().unwrap().root_version, 2);
    assign(&new_key, 3);
    agent.active(3).await;
    agent.stop().await;
}

/// A download that breaks is gone on with in the same session, however often, until it is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_is_tried_until_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    let digests = blobs(&contents("Version 1.")).into_keys();
    hub.set(|state| state.broken = digests.map(|digest| (digest, 15)).collect());
    publish(&hub, 1);
    agent.active(1).await;
    assert_eq!(hub.state().hellos.len(), 1);
    assert!(hub.state().broken.values().all(|left| *left == 0));
    agent.stop().await;
}

/// Scenario: what is fetched cannot be kept, before any bundle is in force. Guarantee: health says why there is none,
/// and nothing of it once there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_cannot_be_kept_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    let detail = |agent: &Running| {
        let parts = agent.status().parts;
        parts.into_iter().find(|part| part.name == "bundle").unwrap().detail
    };
    assert_eq!(detail(&agent), "none in force yet");
    let partial = folder.path().join("data/bundles/partial");
    std::fs::remove_dir_all(&partial).unwrap();
    std::fs::write(&partial, "no folder").unwrap();
    publish(&hub, 1);
    until(|| detail(&agent).starts_with("none in force yet: cannot read or write")).await;
    assert!(detail(&agent).contains("Not a directory"), "{}", detail(&agent));
    std::fs::remove_file(&partial).unwrap();
    std::fs::create_dir(&partial).unwrap();
    agent.active(1).await;
    until(|| detail(&agent).is_empty()).await;
    agent.stop().await;
}

/// With a bound.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(BOUND, waiting).await.unwrap();
}

/// A download that goes nowhere does not stand in the way of the next assignment.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_assignment_ends_a_download_that_goes_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    let mut broken = blobs(&contents("Version 1."));
    broken.retain(|digest, _| !blobs(&contents("Version 2.")).contains_key(digest));
    hub.set(|state| state.broken = broken.into_keys().map(|d| (d, u32::MAX)).collect());
    publish(&hub, 1);
    hub.wait("a broken download", |state| state.broken.values().any(|left| *left < u32::MAX)).await;
    publish(&hub, 2);
    agent.active(2).await;
    assert_eq!(hub.state().hellos.len(), 1);
    agent.stop().await;
}

/// A new session assigns the same bundle again: it is acknowledged, not activated again.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_assignment_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    publish(&hub, 1);
    hub.wait("an answer", |state| state.answers.len() == 1).await;
    hub.set(|_| {});
    hub.wait("another answer", |state| state.answers.len() >= 2).await;
    let seen = agent.recorder.seen.lock().unwrap().bundles.len();
    assert_eq!(seen, 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_file_is_refused() {
    refused(Code::DigestMismatch, |hub| {
        let contents = contents("Version 3.");
        let manifest = sign_manifest(&[&hub.keys.policy], &contents, header(3));
        let mut served = blobs(&contents);
        for blob in served.values_mut() {
            let mut bytes = blob.to_vec();
            bytes[0] ^= 1;
            *blob = Bytes::from(bytes);
        }
        hub.set(|state| state.blobs.extend(served));
        offer(hub, manifest);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_manifest_is_refused() {
    refused(Code::BadSignature, |hub| {
        let mut manifest = sign_manifest(&[&hub.keys.policy], &contents("Version 3."), header(3));
        let text = String::from_utf8(manifest.payload).unwrap();
        manifest.payload = text.replacen("team-label", "team-lab3l", 1).into_bytes();
        offer(hub, manifest);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_manifest_is_refused() {
    refused(Code::Unsigned, |hub| {
        offer(hub, sign_manifest(&[], &contents("Version 3."), header(3)));
    })
    .await;
}

/// The hub itself cannot sign policy.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_the_director_or_a_stranger_is_refused() {
    refused(Code::ThresholdNotMet, |hub| {
        let keys = [&hub.keys.director, &Keys::make().policy];
        offer(hub, sign_manifest(&keys, &contents("Version 3."), header(3)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_refused() {
    refused(Code::Older, |hub| {
        offer(hub, sign_manifest(&[&hub.keys.policy], &contents("Version 1."), header(1)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_with_other_content_is_refused() {
    refused(Code::SameVersionDiffers, |hub| {
        offer(hub, sign_manifest(&[&hub.keys.policy], &contents("Other."), header(2)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_manifest_is_refused() {
    refused(Code::Expired, |hub| {
        let mut header = header(3);
        header.expires = at(-1);
        offer(hub, sign_manifest(&[&hub.keys.policy], &contents("Version 3."), header));
    })
    .await;
}

/// Neither a new version nor other labels, however well they are signed.
#[tokio::test(flavor = "multi_thread")]
async fn under_an_expired_root_nothing_new_comes_into_force() {
    refused(Code::Expired, |hub| {
        let contents = contents("Version 3.");
        let manifest = sign_manifest(&[&hub.keys.policy], &contents, header(3));
        let mut grant = Grant::parse(&hub.grant().payload).unwrap();
        grant.version = 2;
        grant.labels = [("site".to_owned(), "elsewhere".to_owned())].into();
        let mut grant = grant.to_unsigned().unwrap();
        grant.add_signature(&hub.keys.director);
        let (keys, root) = (hub.keys.clone(), hub.keys.expired());
        hub.set(|state| {
            state.blobs.extend(blobs(&contents));
            state.assign = Some(Box::new(move |hello, cluster| {
                let assigned = assigned(hello.nonce, cluster, &manifest, 3);
                let mut assignment = sign_assignment(&keys, &assigned, &manifest);
                assignment.roots = vec![root.clone()];
                assignment.grant = Some(grant.clone());
                assignment
            }));
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_for_other_clusters_is_refused() {
    refused(Code::OutOfScope, |hub| {
        let mut header = header(3);
        header.scope = LabelSelector {
            match_labels: [("site".to_owned(), "elsewhere".to_owned())].into(),
            match_expressions: Vec::new(),
        };
        offer(hub, sign_manifest(&[&hub.keys.policy], &contents("Version 3."), header));
    })
    .await;
}

/// An assignment of another session, kept by whoever stood between.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_assignment_is_refused() {
    refused(Code::WrongAssignment, |hub| {
        let manifest = sign_manifest(&[&hub.keys.policy], &contents("Version 3."), header(3));
        let keys = hub.keys.clone();
        hub.set(|state| {
            state.assign = Some(Box::new(move |_, cluster| {
                sign_assignment(&keys, &assigned([0; 32], cluster, &manifest, 3), &manifest)
            }));
        });
    })
    .await;
}

/// Only the director assigns.
#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_of_a_stranger_is_refused() {
    refused(Code::ThresholdNotMet, |hub| {
        let manifest = sign_manifest(&[&hub.keys.policy], &contents("Version 3."), header(3));
        let stranger = Keys::make();
        hub.set(|state| {
            state.assign = Some(Box::new(move |hello, cluster| {
                sign_assignment(&stranger, &assigned(hello.nonce, cluster, &manifest, 3), &manifest)
            }));
        });
    })
    .await;
}

/// It compiles, and its own example says that it is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_fails_its_own_tests_is_refused() {
    refused(Code::SelfTestFailed, |hub| {
        let mut contents = contents("Version 3.");
        let path = "governance/team-label/policy.rego";
        let text = String::from_utf8(contents.files[path].to_vec()).unwrap();
        let text = text.replace("not input.review", "input.review");
        contents.files.insert(path.to_owned(), Bytes::from(text));
        let served = blobs(&contents);
        hub.set(|state| state.blobs.extend(served));
        offer(hub, sign_manifest(&[&hub.keys.policy], &contents, header(3)));
    })
    .await;
}

/// The engine has no such function, or keeps policies from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_calls_what_is_not_allowed_is_refused() {
    refused(Code::BuiltinForbidden, |hub| {
        let mut contents = contents("Version 3.");
        let path = "governance/team-label/policy.rego";
        let text = String::from_utf8(contents.files[path].to_vec()).unwrap();
        let text = text.replace("not input.review", "http.send({}); not input.review");
        contents.files.insert(path.to_owned(), Bytes::from(text));
        let served = blobs(&contents);
        hub.set(|state| state.blobs.extend(served));
        offer(hub, sign_manifest(&[&hub.keys.policy], &contents, header(3)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_does_not_compile_is_refused() {
    refused(Code::CompileFailed, |hub| {
        let mut contents = contents("Version 3.");
        let path = "governance/team-label/policy.rego";
        let text = String::from_utf8(contents.files[path].to_vec()).unwrap();
        let text = text.replace("not input.review", "undefined_variable == 1; input.review");
        contents.files.insert(path.to_owned(), Bytes::from(text));
        let served = blobs(&contents);
        hub.set(|state| state.blobs.extend(served));
        offer(hub, sign_manifest(&[&hub.keys.policy], &contents, header(3)));
    })
    .await;
}

/// Its ring has not begun: the agent asks again by itself, and one record of it is enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_whose_time_has_not_come_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    let mut header = header(1);
    header.rings = vec![provost_trust::manifest::Ring {
        name: "late".to_owned(),
        selector: LabelSelector::default(),
        not_before: at(3_600),
        soak_seconds: 0,
    }];
    offer(&hub, sign_manifest(&[&hub.keys.policy], &contents("Version 1."), header));
    hub.wait("three refusals", |state| state.answers.len() >= 3).await;
    assert_eq!(refusal(&hub.state()), Some(Code::NotYet));
    assert_eq!(agent.recorder.seen.lock().unwrap().bundles.len(), 1);
    publish(&hub, 2);
    agent.active(2).await;
    agent.stop().await;
}
