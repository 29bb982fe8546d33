//! Files that cannot be read back: set aside beside where they were, named `.damaged`, and said.
//!
//! Invariants: what is damaged is kept, so that a person can look at it; the agent goes on with
//! what is left. As long as one is kept, `trust` is not healthy, with the command that ends it. Of each folder of bundles,
//! whose files come again from the hub, the newest few are kept: a disk that goes bad does not fill up with them.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use provost_model::record::{ModeEvent, ModeRecord};
use provost_runtime::admin::Health;
use provost_runtime::shutdown::Shutdown;

use crate::disk;
use crate::report::Journal;

const EXTENSION: &str = ".damaged";
/// Where files are set aside, in the data folder.
const FOLDERS: [&str; 5] =
    ["trust", "trust/roots", "bundles", "bundles/manifests", "bundles/blobs"];
/// In each folder that is pruned.
pub const KEPT_ASIDE: usize = 4;
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const PART: &str = "trust";

/// A file that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub what: String,
}

impl Damage {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand errors and literals over")]
    pub fn of(path: &Path, what: impl ToString) -> Self {
        Self { path: path.to_owned(), what: what.to_string() }
    }

    /// The file keeps its bytes under another name. One that is missing needs no other name.
    pub fn set_aside(&self) -> io::Result<()> {
        match disk::rename(&self.path, &aside(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name(), self.what)
    }
}

/// Removes what was set aside in the folder but the newest [`KEPT_ASIDE`].
pub fn prune(folder: &Path) -> io::Result<()> {
    let mut aside = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_aside) {
            // A rename is a change of the file, not of what is in it.
            let meta = entry.metadata()?;
            aside.push(((meta.ctime(), meta.ctime_nsec()), entry.path()));
        }
    }
    aside.sort();
    let surplus = aside.len().saturating_sub(KEPT_ASIDE);
    aside[..surplus].iter().try_for_each(|(_, path)| disk::remove(path))
}

#[must_use]
pub fn is_aside(name: &str) -> bool {
    name.ends_with(EXTENSION)
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(EXTENSION);
    path.with_file_name(name)
}

/// What was set aside and nobody has removed since; what trust rests on first.
#[must_use]
pub fn kept(data_dir: &Path) -> Vec<PathBuf> {
    let mut kept = Vec::new();
    for entries in FOLDERS.iter().filter_map(|name| std::fs::read_dir(data_dir.join(name)).ok()) {
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let mut aside: Vec<_> = paths.filter(|path| path.to_str().is_some_and(is_aside)).collect();
        aside.sort();
        kept.append(&mut aside);
    }
    kept
}

/// For health and status: none where nothing is kept.
#[must_use]
pub fn problem(data_dir: &Path, known: &[Damage]) -> Option<String> {
    let kept = kept(data_dir);
    let first = kept.first()?;
    let why = known.iter().find(|damage| aside(&damage.path) == *first);
    let what = why.map_or_else(
        || format!("{} is damaged", first.file_name().unwrap_or_default().to_string_lossy()),
        ToString::to_string,
    );
    let more = match kept.len() {
        1 => String::new(),
        more => format!(" (and {} more)", more - 1),
    };
    Some(format!("{what}{more}; look at it, then: rm '{}'", first.display()))
}

/// Says each in the chain and in the log.
pub async fn declare(damages: &[Damage], journal: &Arc<dyn Journal>) {
    for damage in damages {
        tracing::error!(path = %damage.path.display(), what = damage.what, "a file is set aside");
        journal
            .mode(ModeRecord {
                event: ModeEvent::Degraded,
                capability: PART.to_owned(),
                detail: damage.to_string().chars().take(200).collect(),
            })
            .await;
    }
}

/// Keeps the health of `trust` until shutdown; says in the chain when the last file is gone.
pub async fn watch(
    data_dir: PathBuf,
    known: Vec<Damage>,
    health: Health,
    journal: Arc<dyn Journal>,
    shutdown: Shutdown,
) {
    let mut is_whole = tell(&data_dir, &known, &health);
    while shutdown.sleep(LOOK_AGAIN).await {
        let was_whole = std::mem::replace(&mut is_whole, tell(&data_dir, &known, &health));
        if is_whole && !was_whole {
            let event = ModeEvent::Recovered;
            let capability = PART.to_owned();
            journal.mode(ModeRecord { event, capability, detail: String::new() }).await;
        }
    }
}

/// True: nothing is set aside.
pub fn tell(data_dir: &Path, known: &[Damage], health: &Health) -> bool {
    let problem = problem(data_dir, known);
    health.set_optional(PART, problem.is_none(), problem.clone().unwrap_or_default());
    problem.is_none()
}
