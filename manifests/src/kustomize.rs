//! What kustomizations list. Nothing is rendered: a listed manifest is read as written and marked
//! so, a listed patch is no object of its own.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::Why;
use crate::node::Node;

pub const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Folders above a scanned path that are asked for kustomizations.
const MAX_FOLDERS_ABOVE: usize = 8;

/// How a kustomization uses a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// Rendered with changes: the name of the kustomization.
    Resource(Arc<str>),
    NotEvaluated(Why),
}

/// What each file is to kustomizations, by canonical path.
#[derive(Debug, Default)]
pub struct Listing {
    uses: HashMap<PathBuf, Use>,
}

impl Listing {
    /// Takes note of a kustomization that lies in `folder`.
    pub fn add(&mut self, kustomization: &Node, folder: &Path, shown: &Arc<str>) {
        for key in ["resources", "crds"] {
            self.each(kustomization.get(key), folder, &Use::Resource(Arc::clone(shown)));
        }
        self.each(
            kustomization.get("patchesStrategicMerge"),
            folder,
            &Use::NotEvaluated(Why::Patch),
        );
        for key in ["transformers", "generators", "validators", "configurations"] {
            self.each(kustomization.get(key), folder, &Use::NotEvaluated(Why::KustomizeConfig));
        }
        for (key, why) in [
            ("patches", Why::Patch),
            ("patchesJson6902", Why::Patch),
            ("replacements", Why::KustomizeConfig),
            ("helmCharts", Why::KustomizeConfig),
        ] {
            for element in kustomization.get(key).map_or(&[][..], Node::elements) {
                for field in ["path", "valuesFile"] {
                    self.note(element.get(field), folder, &Use::NotEvaluated(why));
                }
            }
        }
        for key in ["configMapGenerator", "secretGenerator"] {
            for generator in kustomization.get(key).map_or(&[][..], Node::elements) {
                self.each(generator.get("files"), folder, &Use::NotEvaluated(Why::KustomizeConfig));
                self.each(generator.get("envs"), folder, &Use::NotEvaluated(Why::KustomizeConfig));
            }
        }
        let openapi = kustomization.get("openapi").and_then(|openapi| openapi.get("path"));
        self.note(openapi, folder, &Use::NotEvaluated(Why::KustomizeConfig));
    }

    #[must_use]
    pub fn use_of(&self, path: &Path) -> Option<&Use> {
        self.uses.get(path)
    }

    fn each(&mut self, list: Option<&Node>, folder: &Path, listed: &Use) {
        for element in list.map_or(&[][..], Node::elements) {
            self.note(Some(element), folder, listed);
        }
    }

    /// A URL, a folder or an inline patch names no file here and is left alone. Generators may
    /// write `key=file`. A file that is a resource somewhere stays one.
    fn note(&mut self, name: Option<&Node>, folder: &Path, listed: &Use) {
        let Some(name) = name.and_then(Node::as_str) else { return };
        if name.contains('\n') || name.contains("://") {
            return;
        }
        let candidates = [Some(name), name.split_once('=').map(|(_, file)| file)];
        let found = candidates
            .into_iter()
            .flatten()
            .find_map(|name| fs::canonicalize(folder.join(name)).ok());
        let Some(path) = found.filter(|path| path.is_file()) else { return };
        let entry = self.uses.entry(path).or_insert_with(|| listed.clone());
        if matches!(listed, Use::Resource(_)) && matches!(entry, Use::NotEvaluated(_)) {
            *entry = listed.clone();
        }
    }
}

/// Kustomizations in the folders above `start` (canonical), itself included, nearest first. Ends at
/// the root of a repository.
#[must_use]
pub fn above(start: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in start.ancestors().take(MAX_FOLDERS_ABOVE) {
        found.extend(FILE_NAMES.iter().map(|name| folder.join(name)).filter(|path| path.is_file()));
        if folder.join(".git").exists() {
            break;
        }
    }
    found
}
