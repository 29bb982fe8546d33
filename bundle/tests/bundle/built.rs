//! Packing, loading, the folder on disk.

use provost_bundle::layout::{self, BundleDir};
use provost_bundle::{Contents, Header, VerifiedBundle, contents};
use provost_model::binding::Origin;
use provost_model::{Code, Digest, LabelSelector};
use provost_trust::root::{Role, Root};
use provost_trust::{Envelope, KeyPair, Timestamp, TrustedRoot, manifest};

use crate::tree::Tree;

fn header() -> Header {
    Header {
        channel: "stable".to_owned(),
        version: 1,
        floor_version: 0,
        revoked_versions: Vec::new(),
        created: "2026-11-22T05:00:00Z".parse().unwrap(),
        expires: "2027-02-22T05:00:00Z".parse().unwrap(),
        scope: LabelSelector::default(),
        rings: Vec::new(),
    }
}

fn contents() -> Contents {
    contents::pack(&Tree::new().read().unwrap())
}

#[test]
fn a_packed_bundle_holds_rego_and_json_alone_and_loads_as_it_was() {
    let source = Tree::new().read().unwrap();
    let contents = contents::pack(&source);
    for path in contents.files.keys() {
        provost_trust::files::check_path(path).unwrap();
    }
    let origin = Origin::Bundle(Digest::of(b"manifest"));
    let mut loaded = contents.load(origin).unwrap();
    assert_eq!(loaded.origin, origin);

    // What differs is the extension of examples and where it came from.
    let mut read = source.into_bundle();
    read.origin = origin;
    for policy in loaded.policies.iter_mut().chain(&mut read.policies) {
        for example in &mut policy.examples {
            example.path.clear();
        }
    }
    assert_eq!(loaded, read);
    assert_eq!(Contents::of(&loaded), contents);
}

#[test]
fn the_content_digest_is_reproducible_and_golden() {
    insta::assert_snapshot!(contents().content_digest());
    let other = Tree::new().replace("lib/unused.rego", "x := 1", "x := 2");
    let other = contents::pack(&other.read().unwrap());
    assert_ne!(contents().content_digest(), other.content_digest());
}

#[test]
fn a_built_bundle_with_a_file_too_many_or_a_bad_one_does_not_load() {
    let origin = Origin::Bundle(Digest::of(b""));
    for (path, text, code) in [
        ("pods/privileged/examples/pass/x.yaml", "a: 1", Code::FileUnexpected),
        ("notes.json", "{}", Code::FileUnexpected),
        ("pods/privileged/metadata.json", "{}", Code::Malformed),
        ("bindings/privileged.json", "[{\"id\":\"a\"}]", Code::Malformed),
        ("pods/new/policy.rego", "package provost.pods.new", Code::FileMissing),
    ] {
        let mut contents = contents();
        contents.files.insert(path.to_owned(), text.to_owned().into());
        let problems = contents.load(origin).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code, code, "{path}: {}", problems[0]);
    }
}

/// What is asked of people only must not take a bundle out of force that once went into it.
#[test]
fn a_built_bundle_is_not_held_to_what_people_are() {
    let mut contents = contents();
    let path = "bindings/privileged.json";
    let text = String::from_utf8(contents.files[path].to_vec()).unwrap();
    let odd = text.replacen(
        "\"excludedNamespaces\"",
        "\"kinds\": [{\"group\": \"apps\", \"kinds\": [\"Pod\"]}], \"excludedNamespaces\"",
        1,
    );
    assert_ne!(text, odd);
    contents.files.insert(path.to_owned(), odd.into());
    contents.load(Origin::Bundle(Digest::of(b""))).unwrap();
}

fn signed(contents: &Contents, key: &KeyPair) -> Envelope {
    let mut envelope = contents.manifest(header()).to_unsigned().unwrap();
    envelope.add_signature(key);
    envelope
}

fn trusted(policy_key: &KeyPair) -> TrustedRoot {
    let root_key = KeyPair::from_seed(&[1; 32]).unwrap();
    let mut root = Root::first(Timestamp::from_unix_s(0), Timestamp::from_unix_s(i64::MAX));
    root.add_key(Role::Root, root_key.public(), "root");
    root.add_key(Role::Policy, policy_key.public(), "policy");
    let mut envelope = root.to_unsigned().unwrap();
    envelope.add_signature(&root_key);
    TrustedRoot::from_operator(&envelope).unwrap()
}

#[test]
fn a_folder_opens_as_it_was_written_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let key = KeyPair::from_seed(&[2; 32]).unwrap();
    let bundle = BundleDir { envelope: signed(&contents(), &key), contents: contents() };
    layout::write_dir(&path, &bundle).unwrap();
    let opened = layout::open_dir(&path).unwrap();
    assert_eq!(opened, bundle);
    assert!(layout::strays(&path, &opened).unwrap().is_empty());

    let manifest = manifest::verify(&trusted(&key), &opened.envelope).unwrap();
    let verified = VerifiedBundle::new(manifest, opened.contents).unwrap();
    let origin = verified.load().unwrap().origin;
    assert_eq!(origin, Origin::Bundle(opened.envelope.payload_digest()));
}

#[test]
fn a_folder_is_written_over_by_the_next_build_but_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let key = KeyPair::from_seed(&[2; 32]).unwrap();
    let first = BundleDir { envelope: signed(&contents(), &key), contents: contents() };
    layout::write_dir(&path, &first).unwrap();

    let next = Tree::new().without("lib/unused.rego").read().unwrap();
    let next = contents::pack(&next);
    let second = BundleDir { envelope: signed(&next, &key), contents: next };
    layout::write_dir(&path, &second).unwrap();
    let opened = layout::open_dir(&path).unwrap();
    assert_eq!(opened, second);
    assert!(layout::strays(&path, &opened).unwrap().is_empty());

    std::fs::write(folder.path().join("mine.txt"), "mine").unwrap();
    let error = layout::write_dir(folder.path(), &second).unwrap_err();
    assert!(matches!(error, layout::Error::Occupied { .. }), "{error}");
}

#[test]
fn a_blob_altered_missing_or_grown_is_refused() {
    let key = KeyPair::from_seed(&[2; 32]).unwrap();
    let root = trusted(&key);
    let contents = contents();
    let bundle = BundleDir { envelope: signed(&contents, &key), contents };
    type Harm = fn(&std::path::Path);
    let cases: [(Harm, Code); 3] = [
        (
            |blob| {
                let mut bytes = std::fs::read(blob).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(blob, bytes).unwrap();
            },
            Code::DigestMismatch,
        ),
        (|blob| std::fs::remove_file(blob).unwrap(), Code::FileMissing),
        (
            |blob| {
                let mut bytes = std::fs::read(blob).unwrap();
                bytes.extend([b' '; 5000]);
                std::fs::write(blob, bytes).unwrap();
            },
            Code::TooLarge,
        ),
    ];
    for (harm, code) in cases {
        let folder = tempfile::tempdir().unwrap();
        layout::write_dir(folder.path(), &bundle).unwrap();
        let blobs = folder.path().join(layout::BLOBS_FOLDER);
        let blob = std::fs::read_dir(blobs).unwrap().next().unwrap().unwrap().path();
        harm(&blob);
        let opened = layout::open_dir(folder.path()).unwrap();
        let manifest = manifest::verify(&root, &opened.envelope).unwrap();
        let refusal = VerifiedBundle::new(manifest, opened.contents).unwrap_err();
        assert_eq!(refusal.code(), code);
    }
}
