//! A directory of manifests as a source: watched, and looked at again at intervals.
//!
//! Nothing is read while no file's size, time or place changed. A file that cannot be read, or not
//! any more, is no deletion: its objects are said to be unreadable and keep their verdicts, and
//! health says which file it is. While one cannot be read whose objects nobody knows, as after a
//! restart, only what is known to be gone is gone, and no listing ends. Of two objects with one key the first by path counts, as the
//! other would overwrite it in a cluster in an order that nobody chose.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use notify::{RecursiveMode, Watcher as _};
use provost_engine::{CompiledSet, Object};
use provost_manifests::{Class, Document, Problem, ProblemKind, visit, walk};
use provost_model::Digest;
use provost_model::subject::{Location, ResourceRef};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::telemetry::trace::Moment;
use serde::Deserialize as _;
use tokio::sync::{Notify, mpsc, watch};

use super::{Change, Error, Observed, Scope, Source};

/// Editors and `git pull` write in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// Problems named in health; the rest is counted.
const MAX_NAMED: usize = 3;

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
    known: HashMap<Arc<str>, Vec<Arc<ResourceRef>>>,
}

impl ManifestsSource {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, known: HashMap::new() }
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
        let mut last: Option<(Digest, Digest)> = None;
        loop {
            let set = sets.borrow_and_update().id();
            let dir = source.settings.dir.clone();
            let stamp = blocking(move || stamp(&dir)).await?;
            if last != Some((set, stamp)) {
                let channel = changes.clone();
                source = blocking(move || source.list(set, &channel)).await?;
                last = Some((set, stamp));
            }
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
    /// Reads everything and says it as one listing. Ends early when nobody listens any more.
    fn list(mut self, set: Digest, changes: &mpsc::Sender<Change>) -> Self {
        let Settings { dir, namespace, rescan: _ } = &self.settings;
        let mut round =
            Round { dir, changes, seen: HashSet::new(), duplicates: Vec::new(), lost: false };
        round.say(Change::Begin(Scope::Everything));
        let mut held: HashMap<Arc<str>, Vec<Arc<ResourceRef>>> = HashMap::new();
        let problems = visit(dir, namespace.as_deref(), |document| {
            if let Some(subject) = round.exists(&document) {
                held.entry(document.file).or_default().push(subject);
            }
            if round.lost { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
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
        self.known = held;
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
    seen: HashSet<Arc<ResourceRef>>,
    duplicates: Vec<String>,
    /// Nobody listens any more.
    lost: bool,
}

impl Round<'_> {
    fn say(&mut self, change: Change) {
        self.lost = self.lost || self.changes.blocking_send(change).is_err();
    }

    fn exists(&mut self, document: &Document) -> Option<Arc<ResourceRef>> {
        let Class::Resource(resource) = &document.class else { return None };
        let object = match Object::deserialize(&document.node) {
            Ok(object) => object,
            Err(error) => {
                tracing::warn!(file = %document.file, %error, "an object cannot be read");
                return None;
            }
        };
        let subject = Arc::new(ResourceRef {
            group: resource.gvk.group.clone(),
            kind: resource.gvk.kind.clone(),
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
        });
        if !self.seen.insert(Arc::clone(&subject)) {
            self.duplicates.push(format!("{subject} in {}", self.relative(&document.file)));
            return None;
        }
        let file = self.relative(&document.file);
        let location = Location { file, line: document.at.line, ..Location::default() };
        let (subject_of, location, seen) = ((*subject).clone(), Some(location), Moment::now());
        let observed = Observed { object, subject: subject_of, location, seen };
        self.say(Change::Exists(Box::new(observed)));
        Some(subject)
    }

    fn unreadable(&mut self, subjects: &[Arc<ResourceRef>]) {
        for subject in subjects {
            if self.seen.insert(Arc::clone(subject)) {
                self.say(Change::Unreadable { subject: (**subject).clone() });
            }
        }
    }

    /// What was there before and was not seen now.
    fn gone<'s>(&mut self, before: impl Iterator<Item = &'s Arc<ResourceRef>>) {
        for subject in before {
            if !self.seen.contains(subject) {
                self.say(Change::Gone { subject: (**subject).clone(), seen: Moment::now() });
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

/// Changes whenever a file comes, goes, or has another size or time. Nothing is read.
fn stamp(dir: &Path) -> Digest {
    let mut text = Vec::new();
    for input in walk(&[dir.to_owned()], &[]).inputs {
        let metadata = std::fs::metadata(&*input.shown).ok();
        let modified = metadata.as_ref().and_then(|m| m.modified().ok());
        let length = metadata.as_ref().map(std::fs::Metadata::len);
        let identity = metadata.as_ref().map(identity);
        text.extend_from_slice(
            format!("{}\0{modified:?}\0{length:?}\0{identity:?}\n", input.shown).as_bytes(),
        );
    }
    Digest::of(&text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use provost_bundle::Bundle;
    use provost_engine::{Cluster, Options as EngineOptions};
    use std::collections::BTreeSet;
    use std::fs;

    struct Watched {
        folder: tempfile::TempDir,
        changes: mpsc::Receiver<Change>,
        shutdown: Shutdown,
        _sets: watch::Sender<Arc<CompiledSet>>,
    }

    /// One finished listing: what exists, what could not be read, whether the rest is gone.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Listing {
        exist: BTreeSet<String>,
        unreadable: BTreeSet<String>,
        gone: BTreeSet<String>,
        closes: bool,
        healthy: bool,
    }

    impl Watched {
        fn start(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(folder.path().join(name), text).unwrap();
            }
            let set = CompiledSet::compile(
                &Bundle::empty(),
                &Cluster::default(),
                &EngineOptions::default(),
            );
            let (keep, sets) = watch::channel(Arc::new(set));
            let (sender, changes) = mpsc::channel(4);
            let shutdown = Shutdown::new();
            let settings = Settings {
                dir: folder.path().to_owned(),
                namespace: None,
                rescan: Duration::from_millis(50),
            };
            let run = Box::new(ManifestsSource::new(settings)).run(sets, sender, shutdown.clone());
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(async { run.await.unwrap() });
            tasks.detach_all();
            Self { folder, changes, shutdown, _sets: keep }
        }

        fn write(&self, name: &str, text: &str) {
            let partial = self.folder.path().join("partial");
            fs::write(&partial, text).unwrap();
            fs::rename(partial, self.folder.path().join(name)).unwrap();
        }

        async fn listing(&mut self) -> Listing {
            let mut listing = Listing::default();
            loop {
                let next = tokio::time::timeout(Duration::from_secs(30), self.changes.recv());
                match next.await.expect("a listing within 30 s").expect("the source goes on") {
                    Change::Begin(_) => listing = Listing::default(),
                    Change::Exists(observed) => {
                        listing.exist.insert(observed.object.name().to_owned());
                    }
                    Change::Unreadable { subject } => {
                        listing.unreadable.insert(subject.name);
                    }
                    Change::End { .. } => listing.closes = true,
                    Change::Health { healthy, .. } => listing.healthy = healthy,
                    Change::Complete { .. } => return listing,
                    Change::Gone { subject, .. } => {
                        listing.gone.insert(subject.name);
                    }
                }
            }
        }

        async fn until(&mut self, what: &Listing) {
            while self.listing().await != *what {}
        }
    }

    fn map(name: &str) -> String {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: x}}\n")
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_file_that_breaks_deletes_nothing_and_one_that_goes_does() {
        let mut watched = Watched::start(&[("a.yaml", &map("one")), ("b.yaml", &map("two"))]);
        let both = Listing {
            exist: names(&["one", "two"]),
            closes: true,
            healthy: true,
            ..Listing::default()
        };
        watched.until(&both).await;

        watched.write("b.yaml", "kind: [");
        let broken = Listing {
            exist: names(&["one"]),
            unreadable: names(&["two"]),
            closes: true,
            ..Listing::default()
        };
        watched.until(&broken).await;

        watched.write("b.yaml", &map("two"));
        watched.until(&both).await;
        fs::remove_file(watched.folder.path().join("b.yaml")).unwrap();
        let one =
            Listing { exist: names(&["one"]), closes: true, healthy: true, ..Listing::default() };
        watched.until(&one).await;
        watched.shutdown.trigger();
    }

    /// Guarantee: a directory that goes away closes nothing, and is looked at again when it is back.
    #[tokio::test]
    async fn a_directory_that_goes_away_deletes_nothing() {
        let mut watched = Watched::start(&[("a.yaml", &map("one"))]);
        let one =
            Listing { exist: names(&["one"]), closes: true, healthy: true, ..Listing::default() };
        watched.until(&one).await;
        let (dir, aside) =
            (watched.folder.path().to_owned(), watched.folder.path().with_extension("aside"));
        fs::rename(&dir, &aside).unwrap();
        let away = Listing { unreadable: names(&["one"]), ..Listing::default() };
        assert_eq!(watched.listing().await, away, "the first listing without it");
        fs::rename(&aside, &dir).unwrap();
        watched.until(&one).await;
        watched.shutdown.trigger();
    }

    /// Guarantee: whatever else changes, what a file may have held that was broken from the start stays
    /// open; what was seen to be there and is gone is closed; and once the file is whole, so is the list.
    #[tokio::test]
    async fn a_file_that_was_never_readable_keeps_open_what_nobody_saw() {
        let mut watched = Watched::start(&[
            ("a.yaml", &format!("{}---\n{}", map("one"), map("two"))),
            ("b.yaml", "kind: ["),
            ("c.yaml", &map("three")),
        ]);
        let exist = |exist: &[&str]| Listing { exist: names(exist), ..Listing::default() };
        assert_eq!(watched.listing().await, exist(&["one", "two", "three"]));

        watched.write("a.yaml", &map("one"));
        let gone = |gone: &[&str]| Listing { gone: names(gone), ..exist(&["one", "three"]) };
        watched.until(&gone(&["two"])).await;
        watched.write("d.yaml", &map("four"));
        watched.until(&exist(&["one", "three", "four"])).await;
        fs::remove_file(watched.folder.path().join("c.yaml")).unwrap();
        watched.until(&Listing { gone: names(&["three"]), ..exist(&["one", "four"]) }).await;
        watched.write("d.yaml", "# nothing\n");
        watched.until(&Listing { gone: names(&["four"]), ..exist(&["one"]) }).await;

        watched.write("b.yaml", &map("five"));
        let whole = Listing { closes: true, healthy: true, ..exist(&["one", "five"]) };
        watched.until(&whole).await;
        watched.shutdown.trigger();
    }

    #[tokio::test]
    async fn of_two_objects_with_one_key_the_first_counts() {
        let mut watched = Watched::start(&[("a.yaml", &map("one")), ("b.yaml", &map("one"))]);
        let listing = watched.listing().await;
        assert_eq!(listing.exist, names(&["one"]));
        assert!(!listing.healthy, "the duplicate is reported");
        watched.shutdown.trigger();
    }

    #[tokio::test]
    async fn a_missing_directory_is_said_at_once() {
        let settings = Settings {
            dir: "/does/not/exist".into(),
            namespace: None,
            rescan: Duration::from_secs(1),
        };
        let set =
            CompiledSet::compile(&Bundle::empty(), &Cluster::default(), &EngineOptions::default());
        let (_keep, sets) = watch::channel(Arc::new(set));
        let (sender, _changes) = mpsc::channel(1);
        let error = Box::new(ManifestsSource::new(settings))
            .run(sets, sender, Shutdown::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("/does/not/exist"), "{error}");
    }
}
