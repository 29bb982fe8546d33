//! Where spools are opened over, again and again, and how each place is made to fail.

use std::path::PathBuf;

use tempfile::TempDir;

use super::super::disk::{Deadlines, Disk};
use super::super::generations::Generations;
use super::super::ledger::Lane;
use super::super::memory::Memory;
use super::super::recovery::Known;
use super::super::volume::Name;
use super::super::*;

/// One place that spools are opened over, again and again.
pub(super) trait Fixture {
    /// Size of a record, in digests of noise: so that a generation takes some 40.
    const NOISE: u64;

    fn new() -> Self;
    fn limits(&self) -> Limits;
    fn open(&self, known: Option<&Known>) -> Box<dyn Spool>;
    /// Flips bits in a generation.
    fn corrupt(&self, name: Name);
    fn lose_manifest(&self);
    fn names(&self) -> Vec<Name>;
    fn quarantined(&self) -> usize;
    /// Faults that only memory can have on demand.
    fn fail_after(&self, _writes: u64) {}
    fn fail_late_after(&self, _writes: u64) {}
    fn fill_disk(&self) {}
    fn heal(&self) {}
}

impl Fixture for Memory {
    const NOISE: u64 = 4;

    fn new() -> Self {
        Self::default()
    }

    fn limits(&self) -> Limits {
        Limits {
            budget_bytes: 640 * 1024,
            generation_bytes: 40 * 1024,
            tail_bytes: 80 * 1024,
            tail_ms: 1000,
        }
    }

    fn open(&self, known: Option<&Known>) -> Box<dyn Spool> {
        Box::new(Generations::open(self.clone(), self.limits(), known).unwrap())
    }

    fn corrupt(&self, name: Name) {
        Self::corrupt(self, name);
    }

    fn lose_manifest(&self) {
        Self::lose_manifest(self);
    }

    fn names(&self) -> Vec<Name> {
        Self::names(self)
    }

    fn quarantined(&self) -> usize {
        Self::quarantined(self).len()
    }

    fn fail_after(&self, writes: u64) {
        Self::fail_after(self, writes);
    }

    fn fail_late_after(&self, writes: u64) {
        Self::fail_late_after(self, writes);
    }

    fn fill_disk(&self) {
        Self::fill_disk(self);
    }

    fn heal(&self) {
        Self::heal(self);
    }
}

pub(super) struct OnDisk {
    directory: TempDir,
}

impl OnDisk {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("spool")
    }
}

impl Fixture for OnDisk {
    const NOISE: u64 = 64;

    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn limits(&self) -> Limits {
        // A sled database takes some 350 KiB before its first record.
        const KIB: u64 = 1024;
        Limits {
            budget_bytes: 8 * 1024 * KIB,
            generation_bytes: 512 * KIB,
            tail_bytes: 1024 * KIB,
            tail_ms: 1000,
        }
    }

    fn open(&self, known: Option<&Known>) -> Box<dyn Spool> {
        let disk = Disk::open(&self.path(), Deadlines::default()).unwrap();
        Box::new(Generations::open(disk, self.limits(), known).unwrap())
    }

    fn corrupt(&self, name: Name) {
        let lane = if name.lane == Lane::P0 { "p0" } else { "data" };
        let store = self.path().join(format!("generation-{}-{}-{lane}", name.epoch, name.id));
        for slab in std::fs::read_dir(store.join("slabs")).unwrap() {
            let path = slab.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x10);
            std::fs::write(&path, bytes).unwrap();
        }
    }

    fn lose_manifest(&self) {
        std::fs::remove_file(self.path().join("manifest")).unwrap();
    }

    fn names(&self) -> Vec<Name> {
        use super::volume::Volume as _;
        Disk::open(&self.path(), Deadlines::default()).unwrap().list().unwrap()
    }

    fn quarantined(&self) -> usize {
        std::fs::read_dir(self.path().join("quarantine")).map_or(0, Iterator::count)
    }
}
