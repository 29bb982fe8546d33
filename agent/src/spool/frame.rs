//! Bytes of the spool: one frame per record, packs of frames as the values of a store.
//!
//! Every frame carries its own checksum, because no store is trusted with flipped bits. Both are
//! versioned; golden bytes stand in the tests. Numbers are big-endian.
//!
//! Frame 1: magic `PR`, version, class (0, 1, 2), seq u64, length u32, chain value before (32),
//! record, CRC-32C of all that stands before it. Pack 1: magic `PP`, version, 0, frames u32, size
//! u32 before compression, CRC-32C u32 of all but itself, the frames in zstd.

use bytes::Bytes;
use provost_model::Digest;
use provost_model::limits::MAX_SET_RECORD_BYTES;
use provost_model::record::Class;
use provost_trust::chain;

use super::Entry;

const FRAME_MAGIC: [u8; 2] = *b"PR";
const PACK_MAGIC: [u8; 2] = *b"PP";
const VERSION: u8 = 1;
const FRAME_HEADER_BYTES: usize = 2 + 1 + 1 + 8 + 4 + 32;
const PACK_HEADER_BYTES: usize = 2 + 1 + 1 + 4 + 4 + 4;
const CRC_BYTES: usize = 4;
/// Records of one pack: compression gains little beyond, and a read decompresses whole packs.
pub const PACK_RECORDS: usize = 64;
/// A pack never claims more than its records can fill.
const MAX_PACK_BYTES: usize =
    PACK_RECORDS * (MAX_SET_RECORD_BYTES + FRAME_HEADER_BYTES + CRC_BYTES);
/// Fast and nearly as small as the default on records, which repeat themselves.
const ZSTD_LEVEL: i32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("too short")]
    Short,
    #[error("wrong magic or version")]
    Magic,
    #[error("checksum differs")]
    Checksum,
    #[error("a length or number is out of its bounds")]
    Bounds,
    #[error("does not decompress")]
    Compression,
}

/// At most [`PACK_RECORDS`] entries, in order.
pub fn pack(entries: &[&Entry]) -> std::io::Result<Vec<u8>> {
    let mut frames = Vec::new();
    for entry in entries {
        put_frame(entry, &mut frames);
    }
    let compressed = zstd::bulk::compress(&frames, ZSTD_LEVEL)?;
    let mut bytes = Vec::with_capacity(PACK_HEADER_BYTES + compressed.len());
    bytes.extend(PACK_MAGIC);
    bytes.extend([VERSION, 0]);
    bytes.extend(length_u32(entries.len()).to_be_bytes());
    bytes.extend(length_u32(frames.len()).to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &compressed);
    bytes.extend(crc.to_be_bytes());
    bytes.extend(compressed);
    Ok(bytes)
}

pub fn unpack(bytes: &[u8]) -> Result<Vec<Entry>, Damage> {
    let mut reader = Reader { rest: bytes };
    if reader.take::<2>()? != PACK_MAGIC || reader.take::<2>()? != [VERSION, 0] {
        return Err(Damage::Magic);
    }
    let count = u32::from_be_bytes(reader.take()?) as usize;
    let size = u32::from_be_bytes(reader.take()?) as usize;
    let crc = u32::from_be_bytes(reader.take()?);
    if count == 0 || count > PACK_RECORDS || size > MAX_PACK_BYTES {
        return Err(Damage::Bounds);
    }
    let header = &bytes[..PACK_HEADER_BYTES - CRC_BYTES];
    if crc32c::crc32c_append(crc32c::crc32c(header), reader.rest) != crc {
        return Err(Damage::Checksum);
    }
    let frames = zstd::bulk::decompress(reader.rest, size).map_err(|_| Damage::Compression)?;
    let mut reader = Reader { rest: &frames };
    let entries = (0..count).map(|_| take_frame(&mut reader)).collect::<Result<Vec<_>, _>>()?;
    if reader.rest.is_empty() { Ok(entries) } else { Err(Damage::Bounds) }
}

fn put_frame(entry: &Entry, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend(FRAME_MAGIC);
    bytes.extend([VERSION, class_to_byte(entry.class)]);
    bytes.extend(entry.seq.to_be_bytes());
    bytes.extend(length_u32(entry.record.len()).to_be_bytes());
    bytes.extend(entry.before.as_bytes());
    bytes.extend(&entry.record);
    let crc = crc32c::crc32c(&bytes[start..]);
    bytes.extend(crc.to_be_bytes());
}

fn take_frame(reader: &mut Reader<'_>) -> Result<Entry, Damage> {
    let whole = reader.rest;
    if reader.take::<2>()? != FRAME_MAGIC {
        return Err(Damage::Magic);
    }
    let [version, class] = reader.take()?;
    if version != VERSION {
        return Err(Damage::Magic);
    }
    let class = class_from_byte(class).ok_or(Damage::Bounds)?;
    let seq = u64::from_be_bytes(reader.take()?);
    let length = u32::from_be_bytes(reader.take()?) as usize;
    let before = Digest::from_bytes(reader.take()?);
    let record = reader.slice(length)?;
    let framed = &whole[..FRAME_HEADER_BYTES + length];
    if crc32c::crc32c(framed) != u32::from_be_bytes(reader.take()?) {
        return Err(Damage::Checksum);
    }
    Ok(Entry {
        seq,
        class,
        before,
        after: chain::next(&before, &chain::leaf(record)),
        record: Bytes::copy_from_slice(record),
    })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Damage::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Damage::Short)?;
        self.rest = rest;
        Ok(taken)
    }
}

const fn class_to_byte(class: Class) -> u8 {
    match class {
        Class::P0 => 0,
        Class::P1 => 1,
        Class::P2 => 2,
    }
}

const fn class_from_byte(byte: u8) -> Option<Class> {
    match byte {
        0 => Some(Class::P0),
        1 => Some(Class::P1),
        2 => Some(Class::P2),
        _ => None,
    }
}

/// Lengths here are bounded far below 4 GiB by the limits of records and packs.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(seq: u64, record: &[u8]) -> Entry {
        let before = Digest::of(&seq.to_be_bytes());
        let after = chain::next(&before, &chain::leaf(record));
        Entry { seq, class: Class::P1, before, after, record: Bytes::copy_from_slice(record) }
    }

    #[test]
    fn golden() {
        let mut bytes = Vec::new();
        put_frame(&entry(7, b"record"), &mut bytes);
        assert_eq!(
            hex::encode(bytes),
            "50520101000000000000000700000006a3eb8db89fc5123ccfd49585059f292bc40a1c0d550b860f24f84efb4760fbf27265636f7264b7e00a02"
        );
    }

    proptest! {
        #[test]
        fn packs_round_trip_and_no_flipped_bit_passes(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..64),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let entries: Vec<Entry> = (1..).zip(&records).map(|(seq, r)| entry(seq, r)).collect();
            let bytes = pack(&entries.iter().collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(unpack(&bytes), Ok(entries));
            let mut flipped = bytes;
            let at = at.index(flipped.len());
            flipped[at] ^= 1 << bit;
            prop_assert!(unpack(&flipped).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(unpack(&bytes).is_err());
        }
    }
}
