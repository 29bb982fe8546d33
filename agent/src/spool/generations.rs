//! The spool over a volume: appends, reads, acknowledgements, and what gives way at the budget.
//!
//! Invariant: a generation is started only after a manifest that says all others of its lane are
//! sealed is durable. So at most one generation of a lane needs to be scanned after a crash. A generation
//! that a failed append has touched takes no more, and its end is durable before anything else is appended:
//! what that append left there, or leaves there later, is never taken for records, even without the manifest.

use std::collections::BTreeMap;

use provost_model::Digest;
use provost_model::record::ElisionReason;

use super::ledger::{Elided, Holder, Lane, Ledger, Run};
use super::volume::{Name, Packs, Volume};
use super::{
    Anchor, Entry, Error, Extent, Item, Limit, Limits, Room, Spool, Tally, frame, recovery, volume,
};

/// Ends of batches that may be on their way; beyond, the oldest is forgotten.
const MAX_CUTS: usize = 4096;
/// Compressed bytes that one step of a read takes from the volume.
const READ_STEP_BYTES: usize = 64 * 1024;

pub struct Generations<V> {
    pub(super) volume: V,
    pub(super) ledger: Ledger,
    limits: Limits,
    /// Where reads have ended: where a batch that was sent may end.
    cuts: BTreeMap<u64, Anchor>,
    elisions_made: u64,
    /// An append failed there, and their ends are not durable yet.
    endless: Vec<Name>,
}

impl<V: Volume> Generations<V> {
    /// Opens what is there and declares what is not; see [`recovery`].
    pub fn open(volume: V, limits: Limits, head: Option<&recovery::Known>) -> Result<Self, Error> {
        let recovered = recovery::recover(volume, head)?;
        Ok(Self {
            volume: recovered.volume,
            ledger: recovered.ledger,
            limits,
            cuts: BTreeMap::new(),
            elisions_made: recovered.elisions_made,
            endless: Vec::new(),
        })
    }

    fn name(&self, id: u64, lane: Lane) -> Name {
        Name { epoch: self.ledger.epoch, id, lane }
    }

    fn persist(&mut self) -> Result<(), Error> {
        let bytes = recovery::encode_manifest(&self.ledger);
        Ok(self.volume.save_manifest(&bytes).map_err(volume::Error::Io)?)
    }

    fn check_order(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut at = self.ledger.last;
        for entry in entries {
            if entry.seq != at.seq + 1 || entry.before != at.head {
                return Err(Error::OutOfOrder { seq: entry.seq, last: at.seq });
            }
            at = Anchor { seq: entry.seq, head: entry.after };
        }
        Ok(())
    }

    fn try_append(&mut self, entries: &[Entry], room: Room) -> Result<(), Error> {
        let mut written = Vec::new();
        if let Err(error) = self.put_lanes(entries, room, &mut written) {
            if !written.is_empty() {
                self.give_up_active();
            }
            return Err(error);
        }
        for (id, lane, members) in written {
            for entry in members {
                let tally = Tally::of_bytes(entry.class, &entry.record);
                self.ledger.appended(id, entry, &tally);
            }
            self.measure(id, lane);
        }
        if let Some(entry) = entries.last() {
            self.ledger.last = Anchor { seq: entry.seq, head: entry.after };
        }
        Ok(())
    }

    /// Gives in `written` what a store may hold now, even where this fails.
    fn put_lanes<'a>(
        &mut self,
        entries: &'a [Entry],
        room: Room,
        written: &mut Vec<(u64, Lane, Vec<&'a Entry>)>,
    ) -> Result<(), Error> {
        for lane in [Lane::Data, Lane::P0] {
            let members: Vec<&Entry> =
                entries.iter().filter(|entry| Lane::of(entry.class) == lane).collect();
            if members.is_empty() {
                continue;
            }
            let packs = pack_all(&members)?;
            let size = packs.values().map(Vec::len).sum::<usize>() as u64;
            self.make_room(lane, size, room)?;
            let id = match self.ledger.active(lane) {
                Some(id) => id,
                None => self.start(lane)?,
            };
            written.push((id, lane, members));
            self.volume.put(self.name(id, lane), &packs)?;
        }
        Ok(())
    }

    fn start(&mut self, lane: Lane) -> Result<u64, Error> {
        while let Some(name) = self.endless.last() {
            // Nothing was appended since the failure.
            let end = self.ledger.last.seq;
            self.volume.save_end(*name, end).map_err(volume::Error::Io)?;
            self.endless.pop();
        }
        let id = self.ledger.start_generation(lane);
        if let Err(error) = self.persist() {
            self.ledger.generations.remove(&id);
            return Err(error);
        }
        Ok(id)
    }

    /// Takes a generation's size, and seals it when it is full.
    fn measure(&mut self, id: u64, lane: Lane) {
        let name = self.name(id, lane);
        let Ok(bytes) = self.volume.bytes(name) else { return };
        let Some(generation) = self.ledger.generations.get_mut(&id) else { return };
        generation.bytes = bytes;
        if bytes >= self.limits.generation_bytes {
            generation.sealed = true;
            self.volume.close(name);
        }
    }

    /// After a failed write: whatever stands in the open generations now, or comes to stand there, is not to
    /// be taken for records.
    fn give_up_active(&mut self) {
        for lane in [Lane::Data, Lane::P0] {
            if let Some(id) = self.ledger.active(lane) {
                self.seal(id, lane);
                self.endless.push(self.name(id, lane));
            }
        }
        let names = self.all_names();
        for id in self.ledger.emptied() {
            // What cannot be removed now is a stranger at the next open, and removed then.
            let _ = names.get(&id).map(|name| self.volume.remove(*name));
        }
    }

    fn seal(&mut self, id: u64, lane: Lane) {
        self.volume.close(self.name(id, lane));
        if let Some(generation) = self.ledger.generations.get_mut(&id) {
            generation.sealed = true;
        }
    }

    fn make_room(&mut self, lane: Lane, incoming: u64, room: Room) -> Result<(), Error> {
        while !self.fits(lane, incoming) {
            if !self.free_one(room, ElisionReason::Cap)? {
                return Err(Error::NoRoom);
            }
        }
        Ok(())
    }

    fn fits(&self, lane: Lane, incoming: u64) -> bool {
        let p0 = self.ledger.bytes(Some(Lane::P0));
        let data = self.ledger.bytes(Some(Lane::Data));
        match lane {
            Lane::P0 => p0 + data + incoming <= self.limits.budget_bytes,
            Lane::Data => {
                let kept = p0.max(self.limits.reserved_bytes());
                data + incoming + kept <= self.limits.budget_bytes
            }
        }
    }

    /// Rule 4: lets one generation go. False when none may.
    fn free_one(&mut self, room: Room, reason: ElisionReason) -> Result<bool, Error> {
        if let Some(id) = self.ledger.oldest_drained() {
            self.drop_drained(id)?;
            return Ok(true);
        }
        let Some((id, last_seq)) = self.ledger.oldest_sheddable() else { return Ok(false) };
        let unacked = last_seq > self.ledger.acked.seq;
        if unacked && room == Room::Keep {
            return Ok(false);
        }
        if last_seq > self.ledger.checkpoint {
            return Err(Error::NeedsCheckpoint);
        }
        self.elide(id, reason)?;
        Ok(true)
    }

    fn drop_drained(&mut self, id: u64) -> Result<(), Error> {
        let names = self.all_names();
        let mut gone = self.ledger.drop_drained(id);
        self.ledger.advance_floor();
        gone.extend(self.ledger.emptied());
        self.persist()?;
        self.remove_all(&names, &gone)
    }

    fn elide(&mut self, id: u64, reason: ElisionReason) -> Result<(), Error> {
        let names = self.all_names();
        self.ledger.elide(id, reason, &self.cuts);
        self.elisions_made += 1;
        let mut gone = self.ledger.emptied();
        gone.push(id);
        self.persist()?;
        self.remove_all(&names, &gone)
    }

    fn quarantine(&mut self, id: u64) -> Result<(), Error> {
        let Some(generation) = self.ledger.generations.get(&id) else { return Ok(()) };
        let name = self.name(id, generation.lane);
        let names = self.all_names();
        self.ledger.elide(id, ElisionReason::Corrupt, &self.cuts);
        self.elisions_made += 1;
        let gone = self.ledger.emptied();
        self.persist()?;
        self.volume.quarantine(name).map_err(volume::Error::Io)?;
        self.remove_all(&names, &gone)
    }

    fn all_names(&self) -> BTreeMap<u64, Name> {
        let name = |(&id, g): (&u64, &super::ledger::Generation)| (id, self.name(id, g.lane));
        self.ledger.generations.iter().map(name).collect()
    }

    fn remove_all(&mut self, names: &BTreeMap<u64, Name>, gone: &[u64]) -> Result<(), Error> {
        for name in gone.iter().filter_map(|id| names.get(id)) {
            self.volume.remove(*name).map_err(volume::Error::Io)?;
        }
        Ok(())
    }

    /// Entries of one run of one generation, from `from` on.
    fn read_run(&mut self, id: u64, run: &Run, from: u64) -> Result<Vec<Entry>, volume::Error> {
        let Some(generation) = self.ledger.generations.get(&id) else { return Ok(Vec::new()) };
        let name = self.name(id, generation.lane);
        let packs = self.volume.read(name, from, READ_STEP_BYTES)?;
        let mut entries = Vec::new();
        for pack in packs.values() {
            let unpacked = frame::unpack(pack).map_err(|damage| damaged(id, &damage))?;
            entries.extend(unpacked.into_iter().filter(|e| (from..=run.to).contains(&e.seq)));
        }
        if !entries.iter().map(|entry| entry.seq).eq((from..).take(entries.len())) {
            return Err(damaged(id, &"a record is missing"));
        }
        if entries.is_empty() { Err(damaged(id, &"records are missing")) } else { Ok(entries) }
    }
}

impl<V: Volume> Spool for Generations<V> {
    fn append(&mut self, entries: &[Entry], room: Room) -> Result<(), Error> {
        self.check_order(entries)?;
        // Once: removing what is empty takes it anew where there is room.
        let mut reserve = true;
        loop {
            match self.try_append(entries, room) {
                Err(Error::Volume(error)) if error.is_disk_full() => {
                    let freed = std::mem::take(&mut reserve) && self.volume.release_reserve();
                    if !freed && !self.free_one(room, ElisionReason::Disk)? {
                        return Err(error.into());
                    }
                }
                done => return done,
            }
        }
    }

    fn read(&mut self, from: u64, limit: Limit) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let (mut at, mut records, mut bytes) = (from, 0, 0);
        if from <= self.ledger.floor.seq {
            return Err(Error::Gone { seq: from, first_held: self.ledger.floor.seq + 1 });
        }
        let mut end = None;
        while at <= self.ledger.last.seq && records < limit.records && bytes < limit.bytes {
            let (id, run) = match self.ledger.holder(at) {
                None => return Err(Error::Gone { seq: at, first_held: at + 1 }),
                Some(Holder::Elided(elided)) => {
                    end = Some(Anchor { seq: elided.run.to, head: elided.run.after });
                    at = push_elision(elided, at, &mut items);
                    continue;
                }
                Some(Holder::Generation(id, run)) => (id, run.clone()),
            };
            match self.read_run(id, &run, at) {
                Ok(entries) => {
                    for entry in entries {
                        let size = entry.record.len();
                        let full = records == limit.records || bytes + size > limit.bytes;
                        if full && !items.is_empty() {
                            bytes = limit.bytes;
                            break;
                        }
                        records += 1;
                        bytes += size;
                        at = entry.seq + 1;
                        end = Some(Anchor { seq: entry.seq, head: entry.after });
                        items.push(Item::Record(entry));
                    }
                }
                Err(volume::Error::Damaged { what, .. }) => {
                    tracing::error!(generation = id, what, "spool generation set aside");
                    self.quarantine(id)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(end) = end {
            self.cuts.insert(end.seq, end);
            if self.cuts.len() > MAX_CUTS {
                self.cuts.pop_first();
            }
        }
        Ok(items)
    }

    fn acknowledge(&mut self, acked: Anchor, now_ms: i64) -> Result<(), Error> {
        let last = self.ledger.last.seq;
        if acked.seq > last {
            return Err(Error::Unknown { seq: acked.seq, last });
        }
        if acked.seq <= self.ledger.acked.seq {
            return Ok(());
        }
        // Where the chain is not known any more, there is nothing left to delete by mistake.
        if self.chain_at(acked.seq)?.is_some_and(|head| head != acked.head) {
            return Err(Error::HeadMismatch { seq: acked.seq });
        }
        self.ledger.acknowledge(acked, now_ms);
        self.cuts = self.cuts.split_off(&(acked.seq + 1));
        self.trim(now_ms)
    }

    fn checkpointed(&mut self, seq: u64) -> Result<(), Error> {
        self.ledger.checkpoint = self.ledger.checkpoint.max(seq.min(self.ledger.last.seq));
        Ok(())
    }

    fn trim(&mut self, now_ms: i64) -> Result<(), Error> {
        for lane in [Lane::Data, Lane::P0] {
            if let Some(id) = self.ledger.active(lane)
                && self.is_old(id, now_ms)
            {
                self.seal(id, lane);
            }
        }
        while let Some(id) = self.ledger.oldest_drained() {
            let drained = self.ledger.generations.values().filter(|g| g.acked_ms.is_some());
            let tail_bytes: u64 = drained.map(|g| g.bytes).sum();
            if tail_bytes <= self.limits.tail_bytes && !self.is_old(id, now_ms) {
                break;
            }
            self.drop_drained(id)?;
        }
        Ok(())
    }

    fn room_bytes(&self) -> u64 {
        let may_go = self.ledger.acked.seq.min(self.ledger.checkpoint);
        let drained = self.ledger.generations.values();
        let drained = drained.filter(|g| g.sealed && g.last_seq() <= may_go);
        let freeable: u64 = drained.map(|g| g.bytes).sum();
        let used = self.ledger.bytes(None) - freeable;
        self.limits.budget_bytes.saturating_sub(used + self.limits.reserved_bytes())
    }

    fn chain_at(&mut self, seq: u64) -> Result<Option<Digest>, Error> {
        let ledger = &self.ledger;
        let known = [ledger.last, ledger.acked, ledger.floor];
        let mut known = known.iter().chain(self.cuts.get(&seq));
        if let Some(anchor) = known.find(|anchor| anchor.seq == seq) {
            return Ok(Some(anchor.head));
        }
        match ledger.holder(seq) {
            None => Ok(None),
            Some(Holder::Elided(elided)) if elided.run.to == seq => Ok(Some(elided.run.after)),
            Some(Holder::Elided(elided)) => {
                let point = elided.points.iter().find(|point| point.seq == seq);
                Ok(point.map(|point| point.head))
            }
            Some(Holder::Generation(..)) => {
                match self.read(seq, Limit { records: 1, bytes: 1 })?.first() {
                    Some(Item::Record(entry)) => Ok(Some(entry.after)),
                    _ => Ok(None),
                }
            }
        }
    }

    fn reset(&mut self, epoch: u64) -> Result<(), Error> {
        let names = self.all_names();
        let old = std::mem::replace(&mut self.ledger, Ledger::new(epoch, 0));
        self.ledger.next_id = old.next_id;
        if let Err(error) = self.persist() {
            self.ledger = old;
            return Err(error);
        }
        self.cuts.clear();
        self.endless.clear();
        self.remove_all(&names, &names.keys().copied().collect::<Vec<_>>())
    }

    fn extent(&self) -> Extent {
        Extent {
            epoch: self.ledger.epoch,
            last: self.ledger.last,
            acked: self.ledger.acked,
            first_held: self.ledger.floor.seq + 1,
            unacked: self.ledger.unacked(),
            bytes: self.ledger.bytes(None),
            checkpoint: self.ledger.checkpoint,
            elisions_made: self.elisions_made,
        }
    }
}

impl<V: Volume> Generations<V> {
    /// Acknowledged for longer than the tail is kept.
    fn is_old(&self, id: u64, now_ms: i64) -> bool {
        let acked_ms = self.ledger.generations.get(&id).and_then(|g| g.acked_ms);
        acked_ms.is_some_and(|acked_ms| now_ms.saturating_sub(acked_ms) > self.limits.tail_ms)
    }
}

fn push_elision(elided: &Elided, from: u64, items: &mut Vec<Item>) -> u64 {
    items.push(Item::Elision(elided.to_elision(from)));
    elided.run.to + 1
}

fn pack_all(members: &[&Entry]) -> Result<Packs, Error> {
    let mut packs = Packs::new();
    for chunk in members.chunks(frame::PACK_RECORDS) {
        packs.insert(chunk[0].seq, frame::pack(chunk).map_err(volume::Error::Io)?);
    }
    Ok(packs)
}

fn damaged(id: u64, what: &dyn std::fmt::Display) -> volume::Error {
    volume::Error::Damaged { id, what: what.to_string() }
}
