//! A volume in memory, for tests: durable across a simulated crash, with faults on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::volume::{Error, Name, Packs, Volume};

/// Clones share their content: keep one, drop the spool over another, and open again.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    manifest: Option<Vec<u8>>,
    stores: BTreeMap<Name, Packs>,
    ends: BTreeMap<Name, u64>,
    quarantined: BTreeSet<Name>,
    /// The number of writes (puts, manifests and ends) that still succeed.
    writes_left: Option<u64>,
    /// The first write that fails is made all the same.
    is_late: bool,
    disk_full: bool,
}

impl Memory {
    /// Every write after the next `writes` fails, as after a kill.
    pub fn fail_after(&self, writes: u64) {
        self.lock().writes_left = Some(writes);
    }

    /// As [`Memory::fail_after`], but the first write that fails arrives all the same, as one does that was
    /// given up too early.
    pub fn fail_late_after(&self, writes: u64) {
        self.fail_after(writes);
        self.lock().is_late = true;
    }

    pub fn heal(&self) {
        let mut state = self.lock();
        state.writes_left = None;
        state.is_late = false;
        state.disk_full = false;
    }

    /// Appends fail for want of space until a generation is removed; a manifest still fits.
    pub fn fill_disk(&self) {
        self.lock().disk_full = true;
    }

    /// Flips one bit of every pack of a generation.
    pub fn corrupt(&self, name: Name) {
        if let Some(packs) = self.lock().stores.get_mut(&name) {
            for pack in packs.values_mut() {
                let middle = pack.len() / 2;
                pack[middle] ^= 1;
            }
        }
    }

    pub fn lose_manifest(&self) {
        self.lock().manifest = None;
    }

    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.lock().stores.keys().copied().collect()
    }

    #[must_use]
    pub fn quarantined(&self) -> Vec<Name> {
        self.lock().quarantined.iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, make: impl FnOnce(&mut Self)) -> io::Result<()> {
        let fails = self.writes_left == Some(0);
        self.writes_left = self.writes_left.map(|left| left.saturating_sub(1));
        if !fails || std::mem::take(&mut self.is_late) {
            make(self);
        }
        if fails { Err(io::Error::other("the process is gone")) } else { Ok(()) }
    }
}

impl Volume for Memory {
    fn load_manifest(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().manifest.clone())
    }

    fn save_manifest(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock().write(|state| state.manifest = Some(bytes.to_vec()))
    }

    fn list(&mut self) -> io::Result<Vec<Name>> {
        Ok(self.names())
    }

    fn put(&mut self, name: Name, packs: &Packs) -> Result<(), Error> {
        let mut state = self.lock();
        if state.disk_full {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        let put = |state: &mut State| state.stores.entry(name).or_default().extend(packs.clone());
        Ok(state.write(put)?)
    }

    fn read(&mut self, name: Name, from: u64, bytes: usize) -> Result<Packs, Error> {
        let state = self.lock();
        let Some(packs) = state.stores.get(&name) else { return Ok(Packs::new()) };
        let start = packs.range(..=from).next_back().map_or(from, |(&key, _)| key);
        let mut size = 0;
        let mut taken = Packs::new();
        for (&key, pack) in packs.range((Bound::Included(start), Bound::Unbounded)) {
            taken.insert(key, pack.clone());
            size += pack.len();
            if size >= bytes && taken.len() > 1 {
                break;
            }
        }
        Ok(taken)
    }

    fn bytes(&mut self, name: Name) -> io::Result<u64> {
        let state = self.lock();
        let bytes = state.stores.get(&name).map_or(0, |p| p.values().map(Vec::len).sum::<usize>());
        Ok(bytes as u64)
    }

    fn save_end(&mut self, name: Name, end: u64) -> io::Result<()> {
        let mut state = self.lock();
        if !state.stores.contains_key(&name) {
            return Ok(());
        }
        state.write(|state| state.ends.extend([(name, end)]))
    }

    fn load_end(&mut self, name: Name) -> Result<Option<u64>, Error> {
        Ok(self.lock().ends.get(&name).copied())
    }

    fn close(&mut self, _: Name) {}

    fn remove(&mut self, name: Name) -> io::Result<()> {
        let mut state = self.lock();
        state.ends.remove(&name);
        if state.stores.remove(&name).is_some_and(|packs| !packs.is_empty()) {
            state.disk_full = false;
        }
        Ok(())
    }

    fn quarantine(&mut self, name: Name) -> io::Result<()> {
        let mut state = self.lock();
        state.stores.remove(&name);
        state.ends.remove(&name);
        state.quarantined.insert(name);
        Ok(())
    }

    fn release_reserve(&mut self) -> bool {
        false
    }
}
