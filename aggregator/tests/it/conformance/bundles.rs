//! Roots, bundles, blobs.

use bytes::Bytes;
use provost_aggregator::store::Error;
use provost_aggregator::store::bundles::{BundleRow, FileRow, Publication, RootRow};
use provost_model::Digest;

use super::{Fixture, actor};

fn publication(version: u64, manifest: &[u8], roots: Vec<RootRow>) -> Publication {
    let content = Bytes::from_static(b"package x");
    let digest = Digest::of(&content);
    Publication {
        roots,
        bundle: BundleRow {
            channel: "stable".to_owned(),
            version,
            manifest: Digest::of(manifest),
            content: digest,
            envelope: "{}".to_owned(),
            floor_version: 0,
            created_at_ms: 1,
            expires_at_ms: 2,
            policies: 0,
            published_at_ms: 3,
            published_by: "tester".to_owned(),
        },
        files: vec![FileRow { path: "policies/x.rego".to_owned(), digest, size: 9 }],
        blobs: vec![(digest, content)],
        policies: Vec::new(),
    }
}

pub async fn a_version_is_published_once(fixture: Fixture) {
    let store = &*fixture.store;
    let root =
        RootRow { version: 1, payload_digest: Digest::of(b"root"), envelope: "{}".to_owned() };
    store.publish(&publication(1, b"m1", vec![root.clone()]), &actor(), 10).await.unwrap();
    store.publish(&publication(1, b"m1", Vec::new()), &actor(), 11).await.unwrap();
    let other = store.publish(&publication(1, b"m2", Vec::new()), &actor(), 12).await.unwrap_err();
    assert!(matches!(other, Error::Conflict { .. }), "{other}");
    // A root that came meanwhile takes the whole publication down with it.
    let race = store.publish(&publication(2, b"m3", vec![root]), &actor(), 13).await.unwrap_err();
    assert!(matches!(race, Error::Conflict { .. }), "{race}");
    assert_eq!(store.newest_bundle("stable").await.unwrap().unwrap().version, 1);
    assert_eq!(store.bundles().await.unwrap().len(), 1);
    assert_eq!(store.roots_after(0).await.unwrap().len(), 1);
    let digest = Digest::of(b"package x");
    assert_eq!(store.bundles_with_blob(digest).await.unwrap().len(), 1);
    assert_eq!(store.blob(digest).await.unwrap().as_deref(), Some(&b"package x"[..]));
    assert_eq!(store.missing_blobs(&[digest, Digest::of(b"?")]).await.unwrap(), [Digest::of(b"?")]);
}

pub async fn a_refused_publication_leaves_a_trace(fixture: Fixture) {
    let store = &*fixture.store;
    store.publish_refused("abc", "THRESHOLD_NOT_MET", "one of two", &actor(), 10).await.unwrap();
    let (_, entry) = &store.audit_log(None, 1).await.unwrap()[0];
    assert_eq!(
        (entry.action.as_str(), entry.result.as_str()),
        ("bundle.publish", "THRESHOLD_NOT_MET")
    );
}
