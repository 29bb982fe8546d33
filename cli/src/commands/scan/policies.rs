//! The policies of a scan: the built-in library, or the folders and bundles that were named, each
//! compiled as a set of its own, so that their libraries cannot meet.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use provost_bundle::{Bundle, Diagnostic, layout, source};
use provost_engine::{Cluster, CompiledSet, Options};
use provost_model::binding::Origin;
use provost_model::{PolicyId, PolicyMeta};
use provost_trust::{PolicyManifest, TrustedRoot, files};

use crate::exit::UsageError;
use crate::library;

/// Policies of one source, ready.
pub struct Set {
    pub name: String,
    pub compiled: CompiledSet,
    pub metas: Vec<PolicyMeta>,
    /// Folder that the paths of its files are below.
    pub root: String,
    /// Why policies of it could not be read.
    pub left_out: Vec<Diagnostic>,
}

impl Set {
    pub fn meta(&self, id: &PolicyId) -> Option<&PolicyMeta> {
        self.metas.iter().find(|meta| meta.id == *id)
    }
}

/// The sets of a scan.
pub struct Loaded {
    pub sets: Vec<Set>,
    /// Built bundles whose signatures nobody looked at.
    pub unsigned: Vec<String>,
    /// Built bundles whose signatures are good.
    pub signed: usize,
}

/// `ids` are ids or codes; empty means all. Signatures are checked under `root`.
pub fn load(
    paths: &[PathBuf],
    ids: &[String],
    root: Option<&TrustedRoot>,
) -> anyhow::Result<Loaded> {
    let mut bundles = Vec::new();
    let (mut unsigned, mut signed) = (Vec::new(), 0);
    if paths.is_empty() {
        bundles.push(Read::whole(library::NAME.to_owned(), library::bundle()?));
    }
    for path in paths {
        let name = path.display().to_string();
        if path.join(layout::ENVELOPE_FILE).is_file() {
            let bundle = read_built(path, root).with_context(|| {
                format!("{name} is no usable bundle, see 'provost bundle verify {name}'")
            })?;
            match root {
                Some(_) => signed += 1,
                None => unsigned.push(name.clone()),
            }
            bundles.push(Read::whole(name, bundle));
        } else {
            let source = read(path)?;
            let (root, left_out) = (source.root().to_owned(), source.left_out().to_vec());
            bundles.push(Read { name, root, bundle: source.into_bundle(), left_out });
        }
    }
    refuse_twins(&bundles)?;
    let wanted = wanted(&bundles, ids)?;
    let compile = |Read { name, root, bundle, left_out }| {
        let bundle = if ids.is_empty() { bundle } else { bundle.narrowed_to(&wanted) };
        let compiled = CompiledSet::compile(&bundle, &Cluster::default(), &Options::default());
        let metas = bundle.policies.into_iter().map(|policy| policy.meta).collect();
        Set { name, compiled, metas, root, left_out }
    };
    Ok(Loaded { sets: bundles.into_iter().map(compile).collect(), unsigned, signed })
}

/// Policies of one source, before they are compiled.
struct Read {
    name: String,
    root: String,
    bundle: Bundle,
    left_out: Vec<Diagnostic>,
}

impl Read {
    fn whole(name: String, bundle: Bundle) -> Self {
        Self { root: name.clone(), name, bundle, left_out: Vec::new() }
    }
}

/// A path that leads nowhere is a wrong call; policies that cannot be read leave a scan incomplete.
fn read(path: &Path) -> anyhow::Result<source::Source> {
    let shown = path.display();
    if !path.is_dir() {
        let what = if path.exists() { "is no folder" } else { "does not exist" };
        let message =
            format!("policies {shown}: it {what}; name a policy folder or a built bundle");
        return Err(UsageError(message).into());
    }
    source::read_what_is_whole(path).map_err(|problems| told(&problems))
}

/// A built bundle is used only whole; with a root, only where its policy keys signed it. Its dates are not
/// asked: they say until when a cluster may take it.
fn read_built(path: &Path, root: Option<&TrustedRoot>) -> anyhow::Result<Bundle> {
    let built = layout::open_dir(path)?;
    let manifest = PolicyManifest::parse(&built.envelope.payload)?;
    files::check_set(&manifest.files, &built.contents.files)?;
    if let Some(root) = root {
        provost_trust::manifest::verify(root, &built.envelope)?;
    }
    let origin = Origin::Bundle(built.envelope.payload_digest());
    built.contents.load(origin).map_err(|problems| told(&problems))
}

fn told<'a>(problems: impl IntoIterator<Item = &'a Diagnostic>) -> anyhow::Error {
    let lines: Vec<String> = problems.into_iter().map(ToString::to_string).collect();
    anyhow!(lines.join("\n"))
}

fn refuse_twins(bundles: &[Read]) -> Result<(), UsageError> {
    let mut seen: Vec<(&PolicyId, &str)> = Vec::new();
    for Read { name, bundle, .. } in bundles {
        for policy in &bundle.policies {
            let id = &policy.meta.id;
            if let Some((_, first)) = seen.iter().find(|(known, _)| *known == id) {
                return Err(UsageError(format!(
                    "policy {id} stands in {first} and in {name}: use one of them"
                )));
            }
            seen.push((id, name));
        }
    }
    Ok(())
}

fn wanted(bundles: &[Read], ids: &[String]) -> anyhow::Result<Vec<PolicyId>> {
    let metas =
        || bundles.iter().flat_map(|read| read.bundle.policies.iter().map(|policy| &policy.meta));
    let mut wanted = Vec::new();
    for id in ids {
        let fits =
            |meta: &&PolicyMeta| meta.id.as_str() == id || meta.code.eq_ignore_ascii_case(id);
        let found: Vec<PolicyId> = metas().filter(fits).map(|meta| meta.id.clone()).collect();
        if found.is_empty() {
            let left_out: Vec<_> = bundles.iter().flat_map(|read| &read.left_out).collect();
            if !left_out.is_empty() {
                return Err(told(left_out).context(format!("policy {id} was not found")));
            }
            let known: Vec<&str> = metas().map(|meta| meta.id.as_str()).collect();
            return Err(UsageError(format!(
                "--policy-id {id}: there is no such policy; known are {}",
                known.join(", ")
            ))
            .into());
        }
        wanted.extend(found);
    }
    Ok(wanted)
}
