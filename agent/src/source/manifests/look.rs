//! The directory as it stands: which files are there, and what of each changes when it does. Nothing is read.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use provost_manifests::{Input, Walk, walk};

/// A look at the directory, and all that it found.
pub struct Look {
    pub found: Walk,
    pub stamps: Stamps,
}

/// What is kept of a look: by file, a hash over what changes with its content.
#[derive(Debug, Default)]
pub struct Stamps(HashMap<Arc<str>, u64>);

/// Between two looks.
pub struct Difference {
    pub changed: Vec<Input>,
    pub gone: Vec<Arc<str>>,
}

impl Look {
    pub fn at(dir: &Path) -> Self {
        let found = walk(&[dir.to_owned()], &[]);
        let stamp_of = |input: &Input| (Arc::clone(&input.shown), stamp(&input.shown));
        let stamps = Stamps(found.inputs.iter().map(stamp_of).collect());
        Self { found, stamps }
    }

    pub fn since(&self, Stamps(before): &Stamps) -> Difference {
        let Stamps(now) = &self.stamps;
        let is_changed = |input: &&Input| before.get(&input.shown) != now.get(&input.shown);
        let is_gone = |file: &&Arc<str>| !now.contains_key(*file);
        Difference {
            changed: self.found.inputs.iter().filter(is_changed).cloned().collect(),
            gone: before.keys().filter(is_gone).map(Arc::clone).collect(),
        }
    }
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }
}

/// A file that is away, or whose folder may not be entered, has a stamp too.
fn stamp(file: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Ok(metadata) = std::fs::metadata(file) {
        (metadata.modified().ok(), metadata.len(), identity(&metadata)).hash(&mut hasher);
    }
    hasher.finish()
}

/// A file put in another's place by a rename is another file, whatever its size and time.
#[cfg(unix)]
fn identity(metadata: &std::fs::Metadata) -> (u64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.ino(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> (u64, i64) {
    (0, 0)
}
