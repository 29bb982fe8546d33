//! The head file: how far the chain was announced. Synced before a seq is sent or announced.
//!
//! Two slots, written in turn and each under its checksum, so that a torn write costs the newer one only.
//! Slot 1: magic `PVHD`, version u16, 0 u16, turn u64, epoch u64, last seq u64, head (32), acknowledged
//! seq u64, its head (32), CRC-32C u32; big-endian.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use provost_model::Digest;

use super::Anchor;
use super::recovery::Known;

const MAGIC: [u8; 4] = *b"PVHD";
pub const VERSION: u16 = 1;
#[doc(hidden)]
pub const SLOT_BYTES: usize = 4 + 2 + 2 + 8 + 8 + 8 + 32 + 8 + 32 + 4;
/// A sector each, so that one write cannot tear both.
const SLOT_STRIDE_BYTES: u16 = 4096;

/// What the file said when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Known(Known),
    /// There was no file: a new chain.
    Nothing,
    /// There was one, and no slot of it can be trusted: the chain must start another epoch.
    Damaged,
}

pub struct HeadFile {
    file: File,
    turn: u64,
}

impl HeadFile {
    pub fn open(path: &Path) -> io::Result<(Self, Found)> {
        let existed = path.exists();
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).write(true).truncate(false).open(path)?;
        if !existed && let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        let slots = [0, 1].map(|slot| read_slot(&file, slot));
        let newest = slots.into_iter().flatten().max_by_key(|(turn, _)| *turn);
        let is_empty = file.metadata()?.len() == 0;
        let (turn, found) = match newest {
            Some((turn, known)) => (turn, Found::Known(known)),
            None if is_empty => (0, Found::Nothing),
            None => (0, Found::Damaged),
        };
        Ok((Self { file, turn }, found))
    }

    /// Durable on return.
    pub fn save(&mut self, known: &Known) -> io::Result<()> {
        let turn = self.turn + 1;
        let mut bytes = [0; SLOT_STRIDE_BYTES as usize];
        bytes[..SLOT_BYTES].copy_from_slice(&encode(turn, known));
        self.file.write_all_at(&bytes, (turn % 2) * u64::from(SLOT_STRIDE_BYTES))?;
        self.file.sync_data()?;
        self.turn = turn;
        Ok(())
    }
}

/// The newest version that a slot names, whether or not the slot is sound: those of a newer one are read by nobody here.
/// None: there is no file, or nothing of one.
pub fn version(path: &Path) -> io::Result<Option<u32>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let named = |slot: u64| {
        let mut bytes = [0; MAGIC.len() + 2];
        file.read_exact_at(&mut bytes, slot * u64::from(SLOT_STRIDE_BYTES)).ok()?;
        let [high, low] = *bytes.strip_prefix(&MAGIC)?.first_chunk()?;
        Some(u32::from(u16::from_be_bytes([high, low])))
    };
    Ok(named(0).max(named(1)))
}

fn read_slot(file: &File, slot: u64) -> Option<(u64, Known)> {
    let mut bytes = [0; SLOT_BYTES];
    file.read_exact_at(&mut bytes, slot * u64::from(SLOT_STRIDE_BYTES)).ok()?;
    decode(&bytes)
}

fn encode(turn: u64, known: &Known) -> [u8; SLOT_BYTES] {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(turn.to_be_bytes());
    bytes.extend(known.epoch.to_be_bytes());
    for anchor in [known.last, known.acked] {
        bytes.extend(anchor.seq.to_be_bytes());
        bytes.extend(anchor.head.as_bytes());
    }
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    let mut slot = [0; SLOT_BYTES];
    slot.copy_from_slice(&bytes);
    slot
}

/// One slot: its turn, and what is known. Public for the fuzz targets alone.
#[doc(hidden)]
pub fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(u64, Known)> {
    let (content, crc) = bytes.split_at(SLOT_BYTES - 4);
    let sound = content.starts_with(&MAGIC)
        && content[4..6] == VERSION.to_be_bytes()
        && crc == crc32c::crc32c(content).to_be_bytes();
    if !sound {
        return None;
    }
    let number = |at: usize| content[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    let digest = |at: usize| content[at..].first_chunk().map(|bytes| Digest::from_bytes(*bytes));
    let last = Anchor { seq: number(24)?, head: digest(32)? };
    let acked = Anchor { seq: number(64)?, head: digest(72)? };
    Some((number(8)?, Known { epoch: number(16)?, last, acked }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(seq: u64) -> Known {
        let anchor = |seq: u64| Anchor { seq, head: Digest::of(&seq.to_be_bytes()) };
        Known { epoch: 3, last: anchor(seq), acked: anchor(seq / 2) }
    }

    #[test]
    fn the_newest_sound_slot_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        let (mut file, found) = HeadFile::open(&path).unwrap();
        assert_eq!(found, Found::Nothing);
        for seq in 1..=4 {
            file.save(&known(seq)).unwrap();
        }
        assert_eq!(HeadFile::open(&path).unwrap().1, Found::Known(known(4)));

        let torn = OpenOptions::new().write(true).open(&path).unwrap();
        torn.write_all_at(&[0xff; 20], 30).unwrap();
        assert_eq!(HeadFile::open(&path).unwrap().1, Found::Known(known(3)));
        torn.write_all_at(&[0xff; 20], 30 + u64::from(SLOT_STRIDE_BYTES)).unwrap();
        assert_eq!(HeadFile::open(&path).unwrap().1, Found::Damaged);
    }

    /// Of a version that this one does not know: another epoch begins, so that nothing forks.
    #[test]
    fn a_newer_head_file_counts_as_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        HeadFile::open(&path).unwrap().0.save(&known(4)).unwrap();
        let mut slot = encode(1, &known(4));
        slot[5] = 2;
        let (content, crc) = slot.split_at_mut(SLOT_BYTES - 4);
        crc.copy_from_slice(&crc32c::crc32c(content).to_be_bytes());
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&slot, u64::from(SLOT_STRIDE_BYTES)).unwrap();
        assert_eq!(HeadFile::open(&path).unwrap().1, Found::Damaged);
    }

    #[test]
    fn golden() {
        let known = Known {
            epoch: 1,
            last: Anchor { seq: 2, head: Digest::from_bytes([3; 32]) },
            acked: Anchor { seq: 1, head: Digest::from_bytes([4; 32]) },
        };
        let text = hex::encode(encode(5, &known));
        assert_eq!(
            text,
            "50564844000100000000000000000005000000000000000100000000000000020303030303030303030303030303030303030303030303030303030303030303000000000000000104040404040404040404040404040404040404040404040404040404040404044b6870af"
        );
        assert_eq!(decode(&encode(5, &known)), Some((5, known)));
    }
}
