//! Directories that change, break and go away, with the source's own watch.

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
        let set =
            CompiledSet::compile(&Bundle::empty(), &Cluster::default(), &EngineOptions::default());
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
    let without = Listing { gone: names(&["two"]), ..Listing::default() };
    watched.until(&without).await;
    watched.shutdown.trigger();
}

/// Guarantee: once everything was read, a change is said alone; where it may say what others are, or is wrong, all
/// is said again.
#[tokio::test]
async fn a_change_is_said_alone_where_that_is_enough() {
    let mut watched = Watched::start(&[("a.yaml", &map("one")), ("b.yaml", &map("two"))]);
    let whole = |exist: &[&str]| Listing {
        exist: names(exist),
        closes: true,
        healthy: true,
        ..Listing::default()
    };
    let alone = |exist: &[&str], gone: &[&str]| Listing {
        exist: names(exist),
        gone: names(gone),
        ..Listing::default()
    };
    assert_eq!(watched.listing().await, whole(&["one", "two"]));
    watched.write("b.yaml", &format!("{}---\n{}", map("two"), map("three")));
    assert_eq!(watched.listing().await, alone(&["two", "three"], &[]));
    watched.write("b.yaml", &map("three"));
    assert_eq!(watched.listing().await, alone(&["three"], &["two"]));
    watched.write("c.yaml", &map("four"));
    assert_eq!(watched.listing().await, alone(&["four"], &[]));

    watched.write("d.yaml", &map("four"));
    let twice = Listing { healthy: false, ..whole(&["one", "three", "four"]) };
    assert_eq!(watched.listing().await, twice);
    fs::remove_file(watched.folder.path().join("c.yaml")).unwrap();
    assert_eq!(watched.listing().await, whole(&["one", "three", "four"]));

    watched.write("kustomization.yaml", "resources: [a.yaml]\n");
    assert_eq!(watched.listing().await, whole(&["one", "three", "four"]));
    watched.write("a.yaml", &map("uno"));
    assert_eq!(watched.listing().await, alone(&["uno"], &["one"]));
    fs::remove_file(watched.folder.path().join("kustomization.yaml")).unwrap();
    assert_eq!(watched.listing().await, whole(&["uno", "three", "four"]));
    watched.shutdown.trigger();
}

/// Guarantee: a directory that goes away closes nothing, and is looked at again when it is back.
#[tokio::test]
async fn a_directory_that_goes_away_deletes_nothing() {
    let mut watched = Watched::start(&[("a.yaml", &map("one"))]);
    let one = Listing { exist: names(&["one"]), closes: true, healthy: true, ..Listing::default() };
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

/// Guarantee: what cannot be read and is new is told while the source runs, and so is that it is gone.
#[tokio::test]
async fn what_comes_and_cannot_be_read_is_told() {
    let mut watched = Watched::start(&[("a.yaml", &map("one"))]);
    let well =
        Listing { exist: names(&["one"]), closes: true, healthy: true, ..Listing::default() };
    assert_eq!(watched.listing().await, well);
    let link = watched.folder.path().join("b.yaml");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let ill =
        Listing { closes: false, healthy: false, exist: names(&["one"]), ..Listing::default() };
    watched.until(&ill).await;
    fs::remove_file(link).unwrap();
    watched.until(&well).await;
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
    let settings =
        Settings { dir: "/does/not/exist".into(), namespace: None, rescan: Duration::from_secs(1) };
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
