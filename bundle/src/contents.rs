//! The files of a built bundle, by path: `.rego` and `.json` alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use provost_model::binding::Origin;
use provost_model::{Binding, Digest, LabelSelector};
use provost_trust::files::{self, FileEntry, FileKind};
use provost_trust::manifest::{EngineNeeds, EngineVersion, Limits, PolicyManifest, Ring};
use provost_trust::{Timestamp, Verified};
use serde::Serialize;

use crate::assemble::{BuiltExample, assemble};
use crate::bundle::{Bundle, Expectation};
use crate::diagnostic::Diagnostic;
use crate::role::{Form, Role};
use crate::source::Source;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub files: BTreeMap<String, Bytes>,
}

/// The first engine that reads bundles of this layout. It moves only when the layout does: agents two
/// minor versions back must go on taking new bundles.
pub const OLDEST_ENGINE: EngineVersion = EngineVersion { major: 0, minor: 1, patch: 0 };

/// What a manifest says beside its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub channel: String,
    pub version: u64,
    pub floor_version: u64,
    pub revoked_versions: Vec<u64>,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub scope: LabelSelector,
    pub rings: Vec<Ring>,
}

/// A manifest that was verified and exactly the files it lists.
#[derive(Clone, Debug)]
pub struct VerifiedBundle {
    manifest: Verified<PolicyManifest>,
    contents: Contents,
}

/// Writes metadata, bindings and examples as JSON beside the Rego.
#[must_use]
pub fn pack(source: &Source) -> Contents {
    Contents::of(source.bundle())
}

impl Contents {
    /// The files of a bundle. The same bundle gives the same bytes.
    #[must_use]
    pub fn of(bundle: &Bundle) -> Self {
        let mut files = BTreeMap::new();
        let mut rego = Vec::new();
        rego.extend(&bundle.libraries);
        rego.extend(&bundle.library_tests);
        for policy in &bundle.policies {
            rego.push(&policy.module);
            rego.extend(&policy.tests);
            files.insert(format!("{}/metadata.json", policy.folder), json(&policy.meta));
            for example in &policy.examples {
                let expectation = match example.expectation {
                    Expectation::Pass => "pass",
                    Expectation::Fail => "fail",
                };
                let path =
                    format!("{}/examples/{expectation}/{}.json", policy.folder, example.name);
                let (documents, input) = (example.documents.clone(), example.input.clone());
                files.insert(path, json(&BuiltExample { documents, input }));
            }
            let bindings: Vec<&Binding> =
                bundle.bindings.iter().filter(|b| b.policy == policy.meta.id).collect();
            if !bindings.is_empty() {
                files.insert(format!("bindings/{}.json", policy.meta.id), json(&bindings));
            }
        }
        let texts = rego.into_iter();
        files.extend(texts.map(|m| (m.path.clone(), Bytes::copy_from_slice(m.text.as_bytes()))));
        Self { files }
    }

    /// What the manifest lists, sorted by path.
    #[must_use]
    pub fn entries(&self) -> Vec<FileEntry> {
        let entry = |(path, bytes): (&String, &Bytes)| FileEntry {
            path: path.clone(),
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
            // What has no place in a bundle has no kind either; loading refuses it.
            kind: Role::of(path, Form::Built).kind().unwrap_or(FileKind::Policy),
        };
        self.files.iter().map(entry).collect()
    }

    /// Reproducible: path, size and SHA-256 of each file.
    #[must_use]
    pub fn content_digest(&self) -> Digest {
        files::content_digest(&self.entries())
    }

    /// The manifest to sign.
    #[must_use]
    pub fn manifest(&self, header: Header) -> PolicyManifest {
        let Header {
            channel,
            version,
            floor_version,
            revoked_versions,
            created,
            expires,
            scope,
            rings,
        } = header;
        PolicyManifest {
            channel,
            version,
            floor_version,
            revoked_versions,
            created,
            expires,
            scope,
            rings,
            engine: EngineNeeds { minimum: OLDEST_ENGINE, builtins: Vec::new() },
            limits: Limits::default(),
            content_digest: self.content_digest(),
            files: self.entries(),
        }
    }

    /// Reads the bundle. Parses no YAML.
    pub fn load(&self, origin: Origin) -> Result<Bundle, Vec<Diagnostic>> {
        assemble(&self.files, Form::Built, origin, &ToOwned::to_owned)
    }
}

impl VerifiedBundle {
    /// Checks that the files are those of the manifest, no more, no fewer, byte for byte.
    pub fn new(
        manifest: Verified<PolicyManifest>,
        contents: Contents,
    ) -> Result<Self, provost_trust::Error> {
        let files = files::verify(&manifest, contents.files)?.into_inner();
        Ok(Self { manifest, contents: Contents { files } })
    }

    #[must_use]
    pub const fn manifest(&self) -> &Verified<PolicyManifest> {
        &self.manifest
    }

    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The bundle, its origin the manifest's digest.
    pub fn load(&self) -> Result<Bundle, Vec<Diagnostic>> {
        self.contents.load(Origin::Bundle(self.manifest.digest()))
    }
}

fn json<T: Serialize>(value: &T) -> Bytes {
    // Maps have string keys and numbers are finite: there is nothing here that JSON cannot hold.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
