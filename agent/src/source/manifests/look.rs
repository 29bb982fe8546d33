//! The directory as it stands: which files are there, and what of each changes when it does. Nothing is read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use provost_manifests::{Input, walk};

/// Changes with the content of a file. None: it is away, or its folder may not be entered.
type Stamp = Option<(Option<SystemTime>, u64, (u64, i64))>;

#[derive(Debug, Default)]
pub struct Look {
    pub inputs: Vec<Input>,
    stamps: HashMap<Arc<str>, Stamp>,
}

/// Between two looks.
pub struct Difference {
    pub changed: Vec<Input>,
    pub gone: Vec<Input>,
}

impl Look {
    pub fn at(dir: &Path) -> Self {
        let inputs = walk(&[dir.to_owned()], &[]).inputs;
        let stamps =
            inputs.iter().map(|input| (Arc::clone(&input.shown), stamp(&input.shown))).collect();
        Self { inputs, stamps }
    }

    pub fn since(&self, before: &Self) -> Difference {
        let is_changed =
            |input: &&Input| before.stamps.get(&input.shown) != self.stamps.get(&input.shown);
        let is_gone = |input: &&Input| !self.stamps.contains_key(&input.shown);
        Difference {
            changed: self.inputs.iter().filter(is_changed).cloned().collect(),
            gone: before.inputs.iter().filter(is_gone).cloned().collect(),
        }
    }
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }
}

fn stamp(file: &str) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok(), metadata.len(), identity(&metadata)))
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
