//! A directory of manifests as a source: watched, and looked at again at intervals.
//!
//! Once all files were read, only those are whose size, time or place changed; where such a file may say what
//! others are, or there is something that cannot be seen, all are again. A file that cannot be read, or not any more, is no deletion: its objects are said to
//! be unreadable and keep their verdicts, and health says which file it is. While one cannot be read whose objects
//! nobody knows, as after a restart, only what is known to be gone is gone, and no listing ends. Of two objects with
//! one key the first by path counts, as the other would overwrite it in a cluster in an order that nobody chose.

mod look;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use notify::{RecursiveMode, Watcher as _};
use provost_engine::{CompiledSet, Object};
use provost_manifests::{Class, Document, Input, Problem, ProblemKind, Visited, revisit, visit};
use provost_model::Digest;
use provost_model::subject::Location;
use provost_runtime::shutdown::Shutdown;
use provost_runtime::telemetry::trace::Moment;
use serde::Deserialize as _;
use tokio::sync::{Notify, mpsc, watch};

use super::{Change, Error, Observed, Scope, Source};
use crate::key::Key;
use look::{Difference, Look, Stamps};

/// Editors and `git pull` write in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// Problems named in health; the rest is counted.
const MAX_NAMED: usize = 3;

/// Objects by file.
type Held = HashMap<Arc<str>, Vec<Key>>;

#[derive(Clone, Debug)]
pub struct Settings {
    pub dir: PathBuf,
    /// Fills the namespace of namespaced kinds that name none.
    pub namespace: Option<String>,
    /// The directory is looked at this often even when nothing says that it changed.
    pub rescan: Duration,
}

pub struct ManifestsSource {
    settings: Settings,
    /// What each file held when it was last read whole. One that never was is not in it.
    known: Held,
    last: Option<Last>,
}

/// The last time that something was read.
struct Last {
    set: Digest,
    stamps: Stamps,
    /// What that look could not see.
    unseen: Vec<Problem>,
    /// Files that may say what others are.
    ruling: Vec<Input>,
    /// All was read, and no object stood twice.
    is_whole: bool,
}

impl ManifestsSource {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, known: HashMap::new(), last: None }
    }
}

#[async_trait]
impl Source for ManifestsSource {
    async fn run(
        self: Box<Self>,
        mut sets: watch::Receiver<Arc<CompiledSet>>,
        changes: mpsc::Sender<Change>,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        let mut source = *self;
        if !source.settings.dir.is_dir() {
            let what = format!(
                "{} is not a directory: create it or correct source.manifests.dir",
                source.settings.dir.display()
            );
            return Err(Error { what, cause: None });
        }
        let stirred = Arc::new(Notify::new());
        let _watcher = watch_dir(&source.settings.dir, &stirred);
        loop {
            let set = sets.borrow_and_update().id();
            let channel = changes.clone();
            source = blocking(move || source.update(set, &channel)).await?;
            let rescan = tokio::time::sleep(source.settings.rescan);
            tokio::select! {
                () = shutdown.wait() => return Ok(()),
                () = changes.closed() => return Ok(()),
                changed = sets.changed() => if changed.is_err() { return Ok(()) },
                () = stirred.notified() => if !shutdown.sleep(SETTLE).await { return Ok(()) },
                () = rescan => {}
            }
        }
    }
}

impl ManifestsSource {
    /// Reads what changed where that is enough, and everything otherwise.
    fn update(mut self, set: Digest, changes: &mpsc::Sender<Change>) -> Self {
        // Looked at before it is read: what changes meanwhile is seen to have changed the next time.
        let look = Look::at(&self.settings.dir);
        match &mut self.last {
            Some(last) if last.set == set && last.unseen == look.found.problems => {
                let difference = look.since(&last.stamps);
                if difference.is_empty() {
                    return self;
                }
                if last.is_whole && self.follow(set, &difference, changes) {
                    if let Some(last) = &mut self.last {
                        last.stamps = look.stamps;
                    }
                    return self;
                }
            }
            _ => {}
        }
        self.list(set, look, changes)
    }

    /// Says what a difference comes to. False: only all files together can tell, or something is wrong.
    fn follow(
        &mut self,
        set: Digest,
        difference: &Difference,
        changes: &mpsc::Sender<Change>,
    ) -> bool {
        let Some(last) = &self.last else { return false };
        let Settings { dir, namespace, rescan: _ } = &self.settings;
        let Difference { changed, gone } = difference;
        let ruled = |file: &Arc<str>| last.ruling.iter().any(|input| input.shown == *file);
        if gone.iter().any(|file| ruled(file) || !is_gone(file)) || !dir.is_dir() {
            return false;
        }
        let touched: HashSet<&Arc<str>> =
            changed.iter().map(|input| &input.shown).chain(gone).collect();
        let others = self.known.iter().filter(|(file, _)| !touched.contains(file));
        let seen = others.flat_map(|(_, keys)| keys).cloned().collect();
        let mut round = Round { dir, changes, seen, duplicates: Vec::new(), lost: false };
        let mut held = Held::new();
        let told = revisit(dir, namespace.as_deref(), &last.ruling, changed, |document| {
            round.hold(document, &mut held)
        });
        if told.is_none_or(|problems| !problems.is_empty()) || !round.duplicates.is_empty() {
            return false;
        }
        round.gone(touched.iter().filter_map(|file| self.known.get(*file)).flatten());
        round.say(Change::Complete { set, unavailable: Vec::new() });
        for file in touched {
            self.known.remove(file);
        }
        self.known.extend(held);
        true
    }

    /// Reads everything and says it as one listing. Ends early when nobody listens any more.
    fn list(mut self, set: Digest, look: Look, changes: &mpsc::Sender<Change>) -> Self {
        let Settings { dir, namespace, rescan: _ } = &self.settings;
        let mut round =
            Round { dir, changes, seen: HashSet::new(), duplicates: Vec::new(), lost: false };
        round.say(Change::Begin(Scope::Everything));
        let mut held = Held::new();
        let Look { found, stamps } = look;
        let unseen = found.problems.clone();
        let Visited { problems, ruling } =
            visit(dir, found, namespace.as_deref(), |document| round.hold(document, &mut held));
        let is_short = problems.iter().any(hides_files);
        let unknown = is_short || problems.iter().any(|p| !self.known.contains_key(&p.file));
        let broken: HashSet<Arc<str>> = problems.iter().map(|p| Arc::clone(&p.file)).collect();
        held.retain(|file, _| !broken.contains(file));
        // A directory that is away, such as a volume that is not mounted, deleted nothing.
        let is_there = dir.is_dir();
        for (file, before) in &self.known {
            let is_gone = is_there && is_gone(file);
            let is_read = held.contains_key(file) || is_gone || (!is_short && opens(file));
            if broken.contains(file) || (unknown && !is_read) {
                round.unreadable(before);
                held.insert(Arc::clone(file), before.clone());
            }
        }
        if unknown {
            round.gone(self.known.values().flatten());
        } else {
            round.say(Change::End { scope: Scope::Everything, seen: Moment::now() });
        }
        round.health(&problems);
        round.say(Change::Complete { set, unavailable: Vec::new() });
        let is_whole = problems.is_empty() && round.duplicates.is_empty();
        self.known = held;
        self.last = Some(Last { set, stamps, unseen, ruling, is_whole });
        self
    }
}

/// Files may be missing from the list behind a limit that stands at no place of a file.
fn hides_files(problem: &Problem) -> bool {
    problem.kind == ProblemKind::Limit && problem.at.is_none()
}

fn opens(file: &str) -> bool {
    std::fs::File::open(file).is_ok()
}

/// Surely so: a folder that may not be entered hides its files.
fn is_gone(file: &str) -> bool {
    matches!(Path::new(file).try_exists(), Ok(false))
}

struct Round<'a> {
    dir: &'a Path,
    changes: &'a mpsc::Sender<Change>,
    seen: HashSet<Key>,
    duplicates: Vec<String>,
    /// Nobody listens any more.
    lost: bool,
}

impl Round<'_> {
    fn say(&mut self, change: Change) {
        self.lost = self.lost || self.changes.blocking_send(change).is_err();
    }

    fn hold(&mut self, document: Document, held: &mut Held) -> ControlFlow<()> {
        if let Some(key) = self.exists(&document) {
            // Most files hold one object.
            held.entry(document.file).or_insert_with(|| Vec::with_capacity(1)).push(key);
        }
        if self.lost { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn exists(&mut self, document: &Document) -> Option<Key> {
        let Class::Resource(resource) = &document.class else { return None };
        let object = match Object::deserialize(&document.node) {
            Ok(object) => object,
            Err(error) => {
                tracing::warn!(file = %document.file, %error, "an object cannot be read");
                return None;
            }
        };
        let subject = resource.reference();
        let key = Key::of(&subject);
        if !self.seen.insert(key.clone()) {
            self.duplicates.push(format!("{subject} in {}", self.relative(&document.file)));
            return None;
        }
        let file = self.relative(&document.file);
        let location = Location { file, line: document.at.line, ..Location::default() };
        let (location, seen) = (Some(location), Moment::now());
        let observed = Observed { object, subject, location, seen };
        self.say(Change::Exists(Box::new(observed)));
        Some(key)
    }

    fn unreadable(&mut self, keys: &[Key]) {
        for key in keys {
            if self.seen.insert(key.clone()) {
                self.say(Change::Unreadable { subject: key.subject() });
            }
        }
    }

    /// What was there before and was not seen now.
    fn gone<'k>(&mut self, before: impl Iterator<Item = &'k Key>) {
        for key in before {
            if !self.seen.contains(key) {
                self.say(Change::Gone { subject: key.subject(), seen: Moment::now() });
            }
        }
    }

    fn health(&mut self, problems: &[Problem]) {
        let problem = |p: &Problem| {
            let line = p.at.map(|at| format!(":{}", at.line)).unwrap_or_default();
            format!("{}{line}: {}", self.relative(&p.file), p.message)
        };
        let duplicate = |text: &String| format!("duplicate_object: {text}");
        let all: Vec<String> =
            problems.iter().map(problem).chain(self.duplicates.iter().map(duplicate)).collect();
        let mut detail = all.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; ");
        if all.len() > MAX_NAMED {
            detail.push_str(&format!("; and {} more", all.len() - MAX_NAMED));
        }
        for line in &all {
            tracing::warn!(problem = line, "a manifest is not evaluated");
        }
        self.say(Change::Health { healthy: all.is_empty(), detail });
    }

    fn relative(&self, file: &str) -> String {
        let path = Path::new(file).strip_prefix(self.dir).unwrap_or(Path::new(file));
        path.to_string_lossy().into_owned()
    }
}

/// None where the system gives no watch (a limit, a network file system): rescans go on.
fn watch_dir(dir: &Path, stirred: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let stirred = Arc::clone(stirred);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            stirred.notify_one();
        }
    });
    let watching = watcher.and_then(|mut watcher| {
        watcher.watch(dir, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    match watching {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "cannot watch the directory; rescans find changes");
            None
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| Error {
        what: "reading the directory was cut short".to_owned(),
        cause: Some(Box::new(cause)),
    })
}
