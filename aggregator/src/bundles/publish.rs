//! The gate: root chain, manifest, files, compile, self-test; and what would change.
//!
//! Any failure leaves what is published as it was, with a typed reason and an audit row.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use provost_bundle::contents::{Contents, VerifiedBundle};
use provost_bundle::plan::{Plan, plan};
use provost_bundle::{Bundle, Diagnostic};
use provost_engine::selftest::{self, TestOutcome, TestResult};
use provost_model::binding::Origin;
use provost_model::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES};
use provost_model::record::FileError;
use provost_model::{Code, Digest};
use provost_trust::manifest::{self, EngineVersion, PolicyManifest, Purpose};
use provost_trust::root::Role;
use provost_trust::state::HeldManifest;
use provost_trust::{Envelope, Timestamp, TrustedRoot, Verified};
use serde::Serialize;

use super::{offer, roots};
use crate::hub::Hub;
use crate::refusal::{Refusal, Result};
use crate::store::Actor;
use crate::store::bundles::{BundleRow, FileRow, Publication, PublishedPolicy, RootRow};
use crate::store::identity::ClusterStatus;

/// Files of a refused bundle that are told at most.
const MAX_ERRORS: usize = 100;
/// What expires within this is worth a word.
const EXPIRES_SOON_S: i64 = 7 * 86_400;

#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// Root envelopes, oldest first.
    pub roots: Vec<Envelope>,
    pub manifest: Envelope,
    /// Files by content; those that the hub holds already may be left out.
    pub blobs: Vec<Bytes>,
    /// Check and compare, publish nothing.
    pub plan_only: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    pub channel: String,
    pub version: u64,
    pub manifest: Digest,
    pub content: Digest,
    pub root_version: u64,
    pub policies: u64,
    /// Tests and examples that ran.
    pub tests: u64,
    /// Approved clusters in its scope.
    pub clusters: u64,
    /// False under `plan_only`, and where this very bundle was published before.
    pub published: bool,
    /// Against what is published now.
    pub plan: Plan,
    /// What its publisher may not have meant.
    pub warnings: Vec<String>,
}

/// What passed the gate.
struct Checked {
    root: TrustedRoot,
    new_roots: Vec<RootRow>,
    manifest: Verified<PolicyManifest>,
    envelope: Envelope,
    files: BTreeMap<String, Bytes>,
    bundle: Bundle,
    tests: u64,
}

/// Publishes a bundle, or says why not.
pub async fn publish(hub: &Arc<Hub>, request: PublishRequest, actor: &Actor) -> Result<Published> {
    let plan_only = request.plan_only;
    let target = request.manifest.payload_digest().short();
    let checked = match check(hub, request).await {
        Ok(checked) => checked,
        Err(refusal) if plan_only => return Err(refusal),
        Err(refusal) => {
            let (code, detail) = (refusal.code.as_str(), &refusal.detail);
            hub.store.publish_refused(&target, code, detail, actor, hub.clock.wall_ms()).await?;
            return Err(refusal);
        }
    };
    let (old, plan) = compare(hub, &checked).await?;
    let same = old.as_ref().is_some_and(|old| old.manifest == checked.manifest.digest());
    let clusters = offer::clusters_in_scope(hub, &checked.manifest).await?;
    let mut warnings = warnings(hub, &checked, clusters).await?;
    if old.is_some() && plan.is_none() {
        warnings.push("the bundle before it does not load: nothing could be compared".to_owned());
    }
    let outcome = Published {
        channel: checked.manifest.channel.clone(),
        version: checked.manifest.version,
        manifest: checked.manifest.digest(),
        content: checked.manifest.content_digest,
        root_version: checked.root.version(),
        tests: checked.tests,
        clusters,
        policies: checked.bundle.policies.len() as u64,
        published: !plan_only && !same,
        plan: plan.unwrap_or_else(|| self::plan(None, &checked.bundle)),
        warnings,
    };
    if plan_only {
        return Ok(outcome);
    }
    let now_ms = hub.clock.wall_ms();
    let publication = publication(checked, actor, now_ms);
    hub.store.publish(&publication, actor, now_ms).await?;
    hub.passed(&publication);
    hub.root_version.send_replace(Some(outcome.root_version));
    hub.published.send_modify(|generation| *generation += 1);
    tracing::info!(channel = outcome.channel, version = outcome.version, "bundle published");
    Ok(outcome)
}

async fn check(hub: &Arc<Hub>, request: PublishRequest) -> Result<Checked> {
    let PublishRequest { roots, manifest: envelope, blobs, plan_only: _ } = request;
    let now = Timestamp::from_unix_ms(hub.clock.wall_ms());
    let (root, new_roots) = trusted_root(hub, &roots).await?;
    let manifest = manifest::verify(&root, &envelope)?;
    root.check_expiry(now)?;
    root.check_created(now)?;
    manifest.check_expiry(now)?;
    manifest.check_created(now)?;
    check_version(hub, &manifest).await?;
    manifest.check_engine(EngineVersion::running())?;
    check_director(hub, &root)?;
    let files = collect_files(hub, &manifest, blobs).await?;
    let contents = VerifiedBundle::new(manifest.clone(), Contents { files: files.clone() })?;
    let gate = tokio::task::spawn_blocking(move || compile_and_test(&contents)).await;
    let (bundle, tests) = gate.map_err(Refusal::internal)??;
    Ok(Checked { root, new_roots, manifest, envelope, files, bundle, tests })
}

/// The root that the hub knows, followed by what the operator sent. Nothing known: the operator's first one.
async fn trusted_root(hub: &Hub, sent: &[Envelope]) -> Result<(TrustedRoot, Vec<RootRow>)> {
    let known = roots::after(hub, 0).await?;
    let chain: &[Envelope] = if known.is_empty() { sent } else { &known };
    let Some((first, rest)) = chain.split_first() else {
        return Err(Refusal::new(
            Code::WrongRoot,
            "the hub knows no root yet: send the operators' root chain",
        ));
    };
    let trusted = TrustedRoot::from_operator(first)?.follow(rest)?;
    let held = if known.is_empty() { 0 } else { trusted.version() };
    let root = trusted.follow(sent)?;
    let mut new_roots = Vec::new();
    for envelope in sent {
        let version = provost_trust::Root::parse(&envelope.payload)?.version;
        if version > held {
            let (payload_digest, envelope) = (envelope.payload_digest(), envelope.to_json());
            new_roots.push(RootRow { version, payload_digest, envelope });
        }
    }
    Ok((root, new_roots))
}

/// Agents would refuse every assignment of a hub whose director their root does not name.
fn check_director(hub: &Hub, root: &TrustedRoot) -> Result<()> {
    let director = hub.keys.director.public().id();
    if root.root().role(Role::Director).keys.contains(&director) {
        return Ok(());
    }
    let detail = format!(
        "root version {} does not name this hub's director key {}; add it with `provost root add-key --role director` \
         (the key is in director.pub.json of the hub's data folder, and under /api/v1/hub)",
        root.version(),
        director.short()
    );
    Err(Refusal::new(Code::WrongRoot, detail))
}

/// One channel in version 1: that of the first publication.
async fn check_version(hub: &Hub, manifest: &Verified<PolicyManifest>) -> Result<()> {
    let Some(newest) = offer::newest(hub).await? else { return Ok(()) };
    if newest.row.channel != manifest.channel {
        let detail = format!(
            "this hub serves channel {}, the bundle is of channel {}",
            newest.row.channel, manifest.channel
        );
        return Err(Refusal::new(Code::OutOfScope, detail));
    }
    let held = HeldManifest {
        version: newest.row.version,
        digest: newest.row.manifest,
        floor_version: newest.manifest.floor_version,
        revoked_versions: newest.manifest.revoked_versions,
    };
    manifest.check_version(manifest.digest(), Some(&held), Purpose::Activate)?;
    Ok(())
}

/// The manifest's files, from what was sent and from what is stored. What was sent and is not listed is refused.
async fn collect_files(
    hub: &Hub,
    manifest: &PolicyManifest,
    blobs: Vec<Bytes>,
) -> Result<BTreeMap<String, Bytes>> {
    let total: usize = blobs.iter().map(Bytes::len).sum();
    if blobs.len() > MAX_BUNDLE_FILES
        || total > MAX_BUNDLE_BYTES
        || blobs.iter().any(|b| b.len() > MAX_BLOB_BYTES)
    {
        return Err(Refusal::new(
            Code::TooLarge,
            "the bundle has too many files, or too large ones",
        ));
    }
    let sent: BTreeMap<Digest, Bytes> =
        blobs.into_iter().map(|blob| (Digest::of(&blob), blob)).collect();
    let listed = |digest: &Digest| manifest.files.iter().any(|file| file.sha256 == *digest);
    if let Some(digest) = sent.keys().find(|digest| !listed(digest)) {
        return Err(Refusal::new(
            Code::FileUnexpected,
            format!("a file of digest {digest} was sent, which is not in the manifest"),
        ));
    }
    let mut files = BTreeMap::new();
    for file in &manifest.files {
        let content = match sent.get(&file.sha256) {
            Some(content) => Some(content.clone()),
            None => hub.store.blob(file.sha256).await?,
        };
        let Some(content) = content else {
            let detail = format!("{} ({}) was not sent and is not stored", file.path, file.sha256);
            return Err(Refusal::new(Code::FileMissing, detail));
        };
        files.insert(file.path.clone(), content);
    }
    Ok(files)
}

fn compile_and_test(verified: &VerifiedBundle) -> Result<(Bundle, u64)> {
    let bundle =
        verified.load().map_err(|diagnostics| refused("the bundle does not load", &diagnostics))?;
    let diagnostics = provost_engine::check(&bundle);
    if !diagnostics.is_empty() {
        return Err(refused("a policy does not compile", &diagnostics));
    }
    let results = selftest::run(&bundle);
    let tests = results.len() as u64;
    let failed: Vec<TestResult> =
        results.into_iter().filter(|result| result.outcome != TestOutcome::Pass).collect();
    if failed.is_empty() {
        return Ok((bundle, tests));
    }
    let error = |result: &TestResult| FileError {
        path: result.file.clone(),
        code: Code::SelfTestFailed.as_str().to_owned(),
        message: format!("{}: expected {}, got {}", result.name, result.expected, result.actual),
    };
    let detail = format!("{} of the bundle's own tests fail", failed.len());
    let errors = failed.iter().take(MAX_ERRORS).map(error).collect();
    Err(Refusal::new(Code::SelfTestFailed, detail).with_errors(errors))
}

fn refused(what: &str, diagnostics: &[Diagnostic]) -> Refusal {
    let code = diagnostics.first().map_or(Code::CompileFailed, |diagnostic| diagnostic.code);
    let detail =
        diagnostics.first().map_or_else(|| what.to_owned(), |first| format!("{what}: {first}"));
    let error = |diagnostic: &Diagnostic| FileError {
        path: diagnostic.file.clone(),
        code: diagnostic.code.as_str().to_owned(),
        message: diagnostic.to_string(),
    };
    Refusal::new(code, detail).with_errors(diagnostics.iter().take(MAX_ERRORS).map(error).collect())
}

async fn warnings(hub: &Hub, checked: &Checked, clusters: u64) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if clusters == 0 {
        let all = hub.store.clusters().await?;
        let approved = all.iter().filter(|c| c.status == ClusterStatus::Approved).count();
        if approved > 0 {
            warnings.push(format!("it is for none of the {approved} approved clusters"));
        }
    }
    let soon = Timestamp::from_unix_ms(hub.clock.wall_ms()).plus_s(EXPIRES_SOON_S);
    let root = checked.root.root();
    for (what, expires) in [("it", checked.manifest.expires), ("its root", root.expires)] {
        if expires < soon {
            warnings
                .push(format!("{what} expires at {expires}: agents take it no more after that"));
        }
    }
    Ok(warnings)
}

/// What is published now, and what would change; no plan where what is published cannot be read any more.
async fn compare(hub: &Hub, checked: &Checked) -> Result<(Option<BundleRow>, Option<Plan>)> {
    let Some(newest) = offer::newest(hub).await? else {
        return Ok((None, Some(plan(None, &checked.bundle))));
    };
    let mut files = BTreeMap::new();
    for file in hub.store.bundle_files(newest.row.manifest).await? {
        if let Some(content) = hub.store.blob(file.digest).await? {
            files.insert(file.path, content);
        }
    }
    // What cannot be compared must not stand in the way of its successor.
    let old = Contents { files }.load(Origin::Bundle(newest.row.manifest));
    let old = old.map_err(|diagnostics| {
        let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            manifest = newest.row.manifest.short(),
            first,
            "the published bundle does not load"
        );
    });
    Ok((Some(newest.row), old.ok().map(|old| plan(Some(&old), &checked.bundle))))
}

fn publication(checked: Checked, actor: &Actor, now_ms: i64) -> Publication {
    let Checked { root: _, new_roots, manifest, envelope, files, bundle, tests: _ } = checked;
    let row = BundleRow {
        channel: manifest.channel.clone(),
        version: manifest.version,
        manifest: manifest.digest(),
        content: manifest.content_digest,
        envelope: envelope.to_json(),
        floor_version: manifest.floor_version,
        created_at_ms: manifest.created.unix_s() * 1000,
        expires_at_ms: manifest.expires.unix_s() * 1000,
        policies: bundle.policies.len() as u64,
        published_at_ms: now_ms,
        published_by: actor.0.clone(),
    };
    let listed = manifest.files.iter().map(|file| FileRow {
        path: file.path.clone(),
        digest: file.sha256,
        size: file.size,
    });
    let policies = bundle.policies.iter().map(|policy| PublishedPolicy {
        meta: policy.meta.clone(),
        source: policy.module.text.to_string(),
    });
    Publication {
        roots: new_roots,
        bundle: row,
        files: listed.collect(),
        policies: policies.collect(),
        blobs: files.into_values().map(|content| (Digest::of(&content), content)).collect(),
    }
}
