//! Files that are torn, altered or of a newer version: the agent goes on with what is left, says it,
//! and accepts nothing that it would have refused before.

use std::fs;
use std::path::{Path, PathBuf};

use provost_agent::status::{self, PartStatus};
use provost_model::Code;
use provost_model::record::ModeEvent;
use provost_proto::session::BundleAnswer;
use provost_trust::assignment::AssignedAction;

use super::bundles::{publish, refusal};
use super::hub::Hub;
use super::signing::{assigned, blobs, contents, header, sign_assignment, sign_manifest};
use super::{Running, enrolled};

fn data(folder: &Path, name: &str) -> PathBuf {
    folder.join("data").join(name)
}

fn trust_part(agent: &Running) -> Option<PartStatus> {
    agent.status().parts.into_iter().find(|part| part.name == "trust")
}

/// An agent that had `versions` in force one after the other, stopped; and its hub, which assigns
/// nothing any more.
async fn after(folder: &Path, versions: &[u64]) -> Hub {
    let (hub, agent) = enrolled(folder).await;
    for version in versions {
        publish(&hub, *version);
        agent.active(*version).await;
    }
    agent.stop().await;
    hub.set(|state| {
        state.assign = None;
        state.answers.clear();
    });
    hub
}

/// The start over a damaged `file`: it is kept, said in status and in the chain.
async fn start_over_damage(folder: &Path, hub: &Hub, file: &str) -> Running {
    let before = fs::read(data(folder, file)).unwrap();
    let agent = Running::start(folder, None, hub.clock.clone()).await;
    let kept = format!("{file}.damaged");
    assert_eq!(fs::read(data(folder, &kept)).unwrap(), before, "{file} is not kept");
    let part = trust_part(&agent).unwrap();
    let command = format!("rm '{}", data(folder, "").display());
    assert!(!part.healthy && part.detail.contains(&command), "{part:?}");
    let modes = agent.recorder.seen.lock().unwrap().modes.clone();
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    assert!(
        modes
            .iter()
            .any(|mode| (mode.event, mode.capability.as_str()) == (ModeEvent::Degraded, "trust")
                && mode.detail.starts_with(name)),
        "{modes:?}"
    );
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_trust_state_keeps_its_floor_and_what_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = data(folder.path(), "trust/state.json");
    let hub = after(folder.path(), &[1, 3]).await;
    let good = fs::read(&path).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let newer = text.replace("\"version\": 1,", "\"version\": 2,");
    let flipped = text.replace("\"version\": 3,", "\"version\": 2,");
    assert!(newer != text && flipped != text);
    for damaged in [&b""[..], &good[..good.len() / 2], newer.as_bytes(), flipped.as_bytes()] {
        fs::write(&path, damaged).unwrap();
        let agent = start_over_damage(folder.path(), &hub, "trust/state.json").await;
        agent.active(3).await;
        assert!(trust_part(&agent).unwrap().detail.contains("that of the bundles held here"));
        agent.stop().await;
        assert_eq!(fs::read(&path).unwrap(), good, "the floor is another");
    }
    // It is refused what it had refused before: an older version.
    let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
    publish(&hub, 2);
    hub.wait("a refusal", |state| refusal(state).is_some()).await;
    assert_eq!(refusal(&hub.state()), Some(Code::Older));
    publish(&hub, 4);
    agent.active(4).await;
    agent.stop().await;
    let stopped = status::from_data_folder(&data(folder.path(), "")).unwrap().unwrap();
    assert!(stopped.parts[0].detail.contains("rm '"), "{:?}", stopped.parts);
    fs::remove_file(data(folder.path(), "trust/state.json.damaged")).unwrap();
    let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
    assert!(trust_part(&agent).unwrap().healthy);
    agent.stop().await;
}

/// Nothing tells the floor: the agent is as one that never had a bundle of the channel. It takes what
/// the director assigns and the signers signed, and no rollback.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_floor_only_an_activation_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let hub = after(folder.path(), &[2]).await;
    for entry in fs::read_dir(data(folder.path(), "bundles/manifests")).unwrap() {
        fs::write(entry.unwrap().path(), "torn").unwrap();
    }
    fs::write(data(folder.path(), "trust/state.json"), "torn").unwrap();
    let agent = start_over_damage(folder.path(), &hub, "trust/state.json").await;
    assert!(agent.status().bundle.is_none());
    let modes = agent.recorder.seen.lock().unwrap().modes.clone();
    assert!(modes.iter().any(|m| m.detail.contains("no version floor is known")), "{modes:?}");
    let contents = contents("Version 1.");
    let manifest = sign_manifest(&[&hub.keys.policy], &contents, header(1));
    let (keys, rolled) = (hub.keys.clone(), manifest.clone());
    hub.set(|state| {
        state.blobs.extend(blobs(&contents));
        state.assign = Some(Box::new(move |hello, cluster| {
            let mut assigned = assigned(hello.nonce, cluster, &rolled, 1);
            assigned.action = AssignedAction::RollbackTo;
            sign_assignment(&keys, &assigned, &rolled)
        }));
    });
    hub.wait("a refusal", |state| refusal(state).is_some()).await;
    assert_eq!(refusal(&hub.state()), Some(Code::BelowFloor));
    publish(&hub, 2);
    agent.active(2).await;
    agent.stop().await;
}

/// A torn file of the bundle: the one before it is in force until the hub sends it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_bundle_is_set_aside_and_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let hub = after(folder.path(), &[1, 2]).await;
    let pointer = fs::read(data(folder.path(), "bundles/active.json")).unwrap();
    let pointer: serde_json::Value = serde_json::from_slice(&pointer).unwrap();
    let manifest = format!("bundles/manifests/{}.dsse.json", pointer["manifest"].as_str().unwrap());
    let policy = {
        let text = fs::read(data(folder.path(), &manifest)).unwrap();
        let envelope = provost_trust::Envelope::from_json(&text).unwrap();
        let parsed = provost_trust::PolicyManifest::parse(&envelope.payload).unwrap();
        let entry = parsed.files.iter().find(|file| file.path.ends_with("policy.rego")).unwrap();
        format!("bundles/blobs/{}", entry.sha256)
    };
    for file in [policy, manifest] {
        let whole = fs::read(data(folder.path(), &file)).unwrap();
        fs::write(data(folder.path(), &file), &whole[..whole.len() / 2]).unwrap();
        let agent = start_over_damage(folder.path(), &hub, &file).await;
        agent.active(1).await;
        publish(&hub, 2);
        agent.active(2).await;
        assert_eq!(fs::read(data(folder.path(), &file)).unwrap(), whole);
        agent.stop().await;
        hub.set(|state| state.assign = None);
    }
}

/// Which bundle was in force is in one small file: without it, it is the newest that was, at this start and at every
/// other one without a hub; the hub's word about that bundle brings the file back.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pointer_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = after(folder.path(), &[1, 2]).await;
    let path = data(folder.path(), "bundles/active.json");
    let good = fs::read_to_string(&path).unwrap();
    let newer = good.replace("\"version\": 1", "\"version\": 9");
    assert_ne!(newer, good);
    for damaged in [&good[..good.len() / 2], &newer] {
        fs::write(&path, damaged).unwrap();
        let agent = start_over_damage(folder.path(), &hub, "bundles/active.json").await;
        agent.active(2).await;
        agent.stop().await;
        hub.set(|state| state.assign = None);
        assert!(!path.exists());
        let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
        agent.active(2).await;
        hub.set(|state| state.answers.clear());
        publish(&hub, 2);
        let is_active = |answer: &BundleAnswer| matches!(answer, BundleAnswer::Active { .. });
        hub.wait("its word", |state| state.answers.iter().any(is_active)).await;
        agent.stop().await;
        hub.set(|state| state.assign = None);
        assert_eq!(fs::read_to_string(&path).unwrap(), good, "it points where it did");
    }
    let agent = Running::start(folder.path(), None, hub.clock.clone()).await;
    publish(&hub, 3);
    agent.active(3).await;
    agent.stop().await;
}

/// A root or grant that cannot be read comes again from the hub, and the floor stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_root_and_a_torn_grant_come_again() {
    for file in ["trust/roots/0000000001.dsse.json", "trust/grant.dsse.json"] {
        let folder = tempfile::tempdir().unwrap();
        let hub = after(folder.path(), &[2]).await;
        let whole = fs::read(data(folder.path(), file)).unwrap();
        fs::write(data(folder.path(), file), &whole[..whole.len() / 2]).unwrap();
        let agent = start_over_damage(folder.path(), &hub, file).await;
        let offer = |version| {
            let contents = contents(&format!("Version {version}."));
            let manifest = sign_manifest(&[&hub.keys.policy], &contents, header(version));
            let (keys, grant) = (hub.keys.clone(), hub.grant());
            hub.set(|state| {
                state.blobs.extend(blobs(&contents));
                state.assign = Some(Box::new(move |hello, cluster| {
                    let assigned = assigned(hello.nonce, cluster, &manifest, version);
                    let mut assignment = sign_assignment(&keys, &assigned, &manifest);
                    assignment.roots = vec![keys.root()];
                    assignment.grant = Some(grant.clone());
                    assignment
                }));
            });
        };
        offer(1);
        hub.wait("a refusal", |state| refusal(state).is_some()).await;
        assert_eq!(refusal(&hub.state()), Some(Code::Older), "{file}");
        offer(3);
        agent.active(3).await;
        let is_active = |answer: &BundleAnswer| matches!(answer, BundleAnswer::Active { .. });
        hub.wait("an activation", |state| state.answers.iter().any(is_active)).await;
        agent.stop().await;
        assert!(data(folder.path(), file).is_file(), "{file} did not come again");
    }
}

/// A root that was followed and cannot be read: nothing new is taken under the one before it.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_root_accepts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, agent) = enrolled(folder.path()).await;
    publish(&hub, 1);
    agent.active(1).await;
    let new_key = provost_trust::KeyPair::generate().unwrap();
    let rotated = hub.keys.rotated(&new_key);
    let with_root = |version, root: Option<provost_trust::Envelope>| {
        let contents = contents(&format!("Version {version}."));
        let manifest = sign_manifest(&[&hub.keys.policy], &contents, header(version));
        let keys = hub.keys.clone();
        hub.set(|state| {
            state.answers.clear();
            state.blobs.extend(blobs(&contents));
            state.assign = Some(Box::new(move |hello, cluster| {
                let assigned = assigned(hello.nonce, cluster, &manifest, version);
                let mut assignment = sign_assignment(&keys, &assigned, &manifest);
                assignment.roots = root.iter().cloned().collect();
                assignment
            }));
        });
    };
    with_root(2, Some(rotated));
    hub.wait("a refusal", |state| refusal(state) == Some(Code::ThresholdNotMet)).await;
    agent.stop().await;
    hub.set(|state| state.assign = None);
    let file = "trust/roots/0000000002.dsse.json";
    fs::write(data(folder.path(), file), "torn").unwrap();
    let agent = start_over_damage(folder.path(), &hub, file).await;
    agent.active(1).await;
    // The old key, which the lost root had ended, signs for nothing.
    with_root(3, None);
    hub.wait("a refusal", |state| refusal(state).is_some()).await;
    assert_eq!(refusal(&hub.state()), Some(Code::Older));
    agent.stop().await;
}
