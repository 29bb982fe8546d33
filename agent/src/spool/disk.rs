//! A volume on disk: one small sled database per generation, in a directory of its own.
//!
//! sled is not trusted with its life: each open database lives on a thread of its own, every call has a
//! deadline, and a panic or a deadline that passes means that the generation is damaged. Its one-time files are
//! never synced by itself, so that they are here, once, before the first record counts. Acknowledged means
//! flushed: nothing is left to a background flush.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::ledger::Lane;
use super::volume::{Error, Name, Packs, Volume};

/// A leaf holds this many packs; small, because each flush rewrites the leaves it touched.
type Db = sled::Db<64>;
type Job = Box<dyn FnOnce(&Db) + Send>;

/// Databases that are open only to be read; two lanes are read at once.
const MAX_READERS: usize = 2;
/// Quarantined generations kept for inspection.
const MAX_QUARANTINED: usize = 2;
/// Given up on a full disk, so that a manifest and a head still fit.
const RESERVE_BYTES: usize = 256 * 1024;
const LOCKED_TRIES: u32 = 100;
const LOCKED_DELAY: Duration = Duration::from_millis(50);
const CACHE_BYTES: usize = 1024 * 1024;
/// What stays free beside what is put: a new store, and its bookkeeping.
const ROOM_BYTES: u64 = 1024 * 1024;
/// How long a store that failed is waited for when it is closed. sled waits for ever for what a full disk
/// refused; its thread is then left to itself.
const PATIENCE_WITH_FAILED: Duration = Duration::from_millis(100);

/// How long a call on a database may take: far beyond any disk that works.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    pub open: Duration,
    pub call: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { open: Duration::from_secs(30), call: Duration::from_secs(30) }
    }
}

pub struct Disk {
    directory: PathBuf,
    deadlines: Deadlines,
    open: BTreeMap<Name, Database>,
    /// Opened to be read, oldest first.
    readers: Vec<Name>,
}

struct Database {
    jobs: Option<SyncSender<Job>>,
    /// Disconnected when the thread has closed the store.
    closed: Receiver<()>,
    /// How long closing may take.
    patience: Cell<Duration>,
}

impl Disk {
    pub fn open(directory: &Path, deadlines: Deadlines) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let disk = Self {
            directory: directory.to_owned(),
            deadlines,
            open: BTreeMap::new(),
            readers: Vec::new(),
        };
        disk.hold_reserve();
        Ok(disk)
    }

    fn path(&self, name: Name) -> PathBuf {
        self.directory.join(directory_name(name))
    }

    fn end_path(&self, name: Name) -> PathBuf {
        self.directory.join(format!("{}.end", directory_name(name)))
    }

    fn remove_end(&self, name: Name) -> io::Result<()> {
        match fs::remove_file(self.end_path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn database(&mut self, name: Name) -> Result<&Database, Error> {
        if !self.open.contains_key(&name) {
            let path = self.path(name);
            let is_new = !path.exists();
            if is_new {
                // Of one that was removed, where the manifest was lost and its number is given again.
                self.remove_end(name)?;
            }
            let database = Database::open(name.id, &path, self.deadlines.open)?;
            if is_new {
                sync_tree(&path)?;
                sync_file(&self.directory)?;
            }
            self.open.insert(name, database);
        }
        self.open.get(&name).ok_or_else(|| damaged(name.id, "not open"))
    }

    /// Keeps few of those open that are only read.
    fn remember_reader(&mut self, name: Name) {
        if self.readers.contains(&name) {
            return;
        }
        self.readers.push(name);
        if self.readers.len() > MAX_READERS {
            let oldest = self.readers.remove(0);
            self.open.remove(&oldest);
        }
    }

    /// sled hangs when a disk fills up under it: it gets nothing that would not fit.
    fn check_room(&self, packs: &Packs) -> io::Result<()> {
        let incoming: usize = packs.values().map(Vec::len).sum();
        let disk = rustix::fs::statvfs(&self.directory)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < ROOM_BYTES.saturating_add(2 * incoming as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Whole and durable on return, or as it was.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = self.directory.join("manifest.new");
        let written = write_synced(&new, bytes);
        let is_full = written.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::StorageFull);
        if is_full && self.give_up_reserve() {
            write_synced(&new, bytes)?;
        } else {
            written?;
        }
        fs::rename(&new, path)?;
        sync_file(&self.directory)
    }

    fn give_up_reserve(&self) -> bool {
        fs::remove_file(self.directory.join("reserve")).is_ok()
    }

    fn hold_reserve(&self) {
        let path = self.directory.join("reserve");
        if !path.exists() && write_synced(&path, &vec![0xa5; RESERVE_BYTES]).is_err() {
            // Without it a full disk only has to be healed from outside.
            let _ = fs::remove_file(&path);
        }
    }

    fn drop_old_quarantine(&self) -> io::Result<()> {
        let mut kept: Vec<_> = fs::read_dir(self.directory.join("quarantine"))?
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        kept.sort();
        let surplus = kept.len().saturating_sub(MAX_QUARANTINED);
        kept[..surplus].iter().try_for_each(|(_, path)| fs::remove_dir_all(path))
    }
}

impl Volume for Disk {
    fn load_manifest(&mut self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.directory.join("manifest")) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save_manifest(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.replace(&self.directory.join("manifest"), bytes)
    }

    fn list(&mut self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            names.extend(entry.file_name().to_str().and_then(parse_directory_name));
        }
        names.sort();
        Ok(names)
    }

    fn put(&mut self, name: Name, packs: &Packs) -> Result<(), Error> {
        self.check_room(packs)?;
        let deadline = self.deadlines.call;
        let packs = packs.clone();
        let database = self.database(name)?;
        database.call(name.id, deadline, move |db| {
            for (key, pack) in packs {
                db.insert(key.to_be_bytes(), pack)?;
            }
            db.flush().map(|_| ())
        })
    }

    fn read(&mut self, name: Name, from: u64, bytes: usize) -> Result<Packs, Error> {
        if !self.path(name).exists() {
            return Ok(Packs::new());
        }
        if !self.open.contains_key(&name) {
            self.remember_reader(name);
        }
        let deadline = self.deadlines.call;
        let database = self.database(name)?;
        database.call(name.id, deadline, move |db| read_packs(db, from, bytes))
    }

    fn bytes(&mut self, name: Name) -> io::Result<u64> {
        let path = self.path(name);
        if path.exists() { disk_usage(&path) } else { Ok(0) }
    }

    fn save_end(&mut self, name: Name, end: u64) -> io::Result<()> {
        if !self.path(name).exists() {
            return Ok(());
        }
        self.replace(&self.end_path(name), end_text(end).as_bytes())
    }

    fn load_end(&mut self, name: Name) -> Result<Option<u64>, Error> {
        let text = match fs::read(self.end_path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let end = parse_end(&text).ok_or_else(|| damaged(name.id, "its end cannot be read"))?;
        Ok(Some(end))
    }

    fn close(&mut self, name: Name) {
        self.readers.retain(|reader| *reader != name);
        self.open.remove(&name);
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        self.close(name);
        match fs::remove_dir_all(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.remove_end(name)?;
        self.hold_reserve();
        Ok(())
    }

    fn quarantine(&mut self, name: Name) -> io::Result<()> {
        self.readers.retain(|reader| *reader != name);
        if let Some(database) = self.open.remove(&name) {
            database.abandon();
        }
        let path = self.path(name);
        if !path.exists() {
            return Ok(());
        }
        let quarantine = self.directory.join("quarantine");
        fs::create_dir_all(&quarantine)?;
        let target = quarantine.join(directory_name(name));
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        fs::rename(&path, &target)?;
        self.remove_end(name)?;
        sync_file(&self.directory)?;
        self.drop_old_quarantine()
    }

    fn release_reserve(&mut self) -> bool {
        self.give_up_reserve()
    }
}

impl Database {
    fn open(id: u64, path: &Path, deadline: Duration) -> Result<Self, Error> {
        let (jobs, receiver) = mpsc::sync_channel::<Job>(1);
        let (opened, is_open) = mpsc::sync_channel(1);
        let (closing, closed) = mpsc::sync_channel::<()>(0);
        let path = path.to_owned();
        let body = move || {
            // Goes last, whichever way this ends.
            let _closing = closing;
            let config = sled::Config::new()
                .path(&path)
                .flush_every_ms(None)
                .cache_capacity_bytes(CACHE_BYTES)
                // Packs are compressed already.
                .zstd_compression_level(1);
            let db = match catch_unwind(AssertUnwindSafe(|| open_unlocked(&config))) {
                Ok(Ok(db)) => db,
                Ok(Err(error)) => return drop(opened.send(Err(Error::from(error)))),
                Err(_) => return drop(opened.send(Err(damaged(id, "it panicked at open")))),
            };
            drop(opened.send(Ok(())));
            for job in receiver {
                job(&db);
            }
            // A damaged database may panic on its way out; that ends this thread only.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        };
        std::thread::Builder::new().name(format!("spool-{id}")).spawn(body)?;
        match is_open.recv_timeout(deadline) {
            Ok(Ok(())) => Ok(Self { jobs: Some(jobs), closed, patience: Cell::new(deadline) }),
            Ok(Err(Error::Io(error))) if is_about_content(&error) => {
                Err(damaged(id, &error.to_string()))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(damaged(id, "it did not open in time")),
        }
    }

    fn call<T: Send + 'static>(
        &self,
        id: u64,
        deadline: Duration,
        work: impl FnOnce(&Db) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |db| {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(db)));
            drop(answer.send(outcome.map_err(|_| ())));
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        if !sent {
            return Err(damaged(id, "its thread is gone or hangs"));
        }
        let answer = answered.recv_timeout(deadline);
        if !matches!(answer, Ok(Ok(Ok(_)))) {
            self.patience.set(PATIENCE_WITH_FAILED);
        }
        match answer {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) if is_about_content(&error) => Err(damaged(id, &error.to_string())),
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Err(())) => Err(damaged(id, "it panicked")),
            Err(RecvTimeoutError::Timeout) => Err(damaged(id, "it did not answer in time")),
            Err(RecvTimeoutError::Disconnected) => Err(damaged(id, "its thread is gone")),
        }
    }

    /// Leaves the thread to itself: it may hang for ever.
    fn abandon(self) {
        self.patience.set(Duration::ZERO);
    }
}

impl Drop for Database {
    /// Waits for the database to close, so that its directory can be opened or removed.
    fn drop(&mut self) {
        self.jobs = None;
        if self.closed.recv_timeout(self.patience.get()) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a store of the spool does not close; its thread is left to itself");
        }
    }
}

/// Waits for one that is just being closed by this process; the caller has the deadline.
fn open_unlocked(config: &sled::Config) -> io::Result<Db> {
    for _ in 0..LOCKED_TRIES {
        match config.open::<64>() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::park_timeout(LOCKED_DELAY);
            }
            opened => return opened,
        }
    }
    config.open::<64>()
}

fn read_packs(db: &Db, from: u64, bytes: usize) -> io::Result<Packs> {
    let start = db.get_lt((from + 1).to_be_bytes())?.map(|(key, _)| key);
    let start = start.map_or(Ok(from), |key| key_to_seq(&key))?;
    let mut packs = Packs::new();
    let mut size = 0;
    for pair in db.range(start.to_be_bytes()..) {
        let (key, pack) = pair?;
        size += pack.len();
        packs.insert(key_to_seq(&key)?, pack.to_vec());
        if size >= bytes && packs.len() > 1 {
            break;
        }
    }
    Ok(packs)
}

fn key_to_seq(key: &[u8]) -> io::Result<u64> {
    let bytes = key.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Errors that say that the content is wrong, rather than that the disk or the process is.
fn is_about_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Unsupported
    )
}

fn damaged(id: u64, what: &str) -> Error {
    Error::Damaged { id, what: what.to_owned() }
}

fn directory_name(name: Name) -> String {
    let lane = match name.lane {
        Lane::P0 => "p0",
        Lane::Data => "data",
    };
    format!("generation-{}-{}-{lane}", name.epoch, name.id)
}

/// Of the generations in a spool's folder; none where there are none.
pub fn newest_epoch(directory: &Path) -> io::Result<Option<u64>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    let epochs = names.filter_map(|name| Some(parse_directory_name(name.to_str()?)?.epoch));
    Ok(epochs.max())
}

fn parse_directory_name(text: &str) -> Option<Name> {
    let mut parts = text.strip_prefix("generation-")?.split('-');
    let epoch = parts.next()?.parse().ok()?;
    let id = parts.next()?.parse().ok()?;
    let lane = match (parts.next()?, parts.next()) {
        ("p0", None) => Lane::P0,
        ("data", None) => Lane::Data,
        _ => return None,
    };
    Some(Name { epoch, id, lane })
}

/// Line 1: `provost-spool-end`, version, CRC-32C of line 2. Line 2: the seq.
fn end_text(end: u64) -> String {
    let line = format!("{end}\n");
    format!("provost-spool-end 1 {:08x}\n{line}", crc32c::crc32c(line.as_bytes()))
}

/// The seq of an end that is whole.
#[must_use]
pub fn parse_end(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let end = text.lines().nth(1)?.parse().ok()?;
    (text == end_text(end)).then_some(end)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            sync_file(&entry.path())?;
        }
    }
    sync_file(path)
}

/// Blocks, not lengths: slabs may have holes.
fn disk_usage(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += disk_usage(&entry.path())?;
        }
    }
    Ok(bytes)
}
