//! The verdict table on disk: written whole beside the old one and renamed.
//!
//! Frames in one zstd stream. Frame 1: magic `PT`, version, kind (`h` header, `s` subject, `e` end),
//! length u32, payload, CRC-32C of all before it. The header says in JSON up to which seq of which
//! epoch the table goes. A subject: key, stamp, uid, cells, parts, each after its length. The end
//! has the number of subjects: a file without it is no checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use provost_model::{BindingId, Digest, PolicyId};
use serde::{Deserialize, Serialize};

use super::table::{Cell, Entry, Parts, Stamp, Table};
use crate::key::Key;

const MAGIC: [u8; 2] = *b"PT";
const VERSION: u8 = 1;
/// Far beyond any subject: 64 parts of 64 KiB.
const MAX_FRAME_BYTES: u32 = 8 * 1024 * 1024;
const ZSTD_LEVEL: i32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub epoch: u64,
    pub seq: u64,
    /// The policy set that the last Bundle record of the epoch carried.
    pub announced: Option<Digest>,
    pub names: Vec<(PolicyId, BindingId)>,
    pub sets: BTreeMap<Digest, Vec<u16>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub key: Key,
    pub stamp: Stamp,
    pub uid: String,
    pub cells: Vec<Cell>,
    pub parts: Parts,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("verdict table: {0}")]
    Io(#[from] io::Error),
    #[error("the verdict table is damaged: {0}")]
    Damaged(&'static str),
}

impl Header {
    #[must_use]
    pub fn of(table: &Table, epoch: u64, seq: u64, announced: Option<Digest>) -> Self {
        let (names, sets) = (table.names().to_vec(), table.sets().clone());
        Self { epoch, seq, announced, names, sets }
    }
}

/// Where the checkpoint is.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
}

impl Checkpoint {
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// None where there is no checkpoint yet.
    pub fn read(&self) -> Result<Option<Reader>, Error> {
        match File::open(&self.path) {
            Ok(file) => Reader::new(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the table as it is in memory, with the parts of what is not dirty copied from the
    /// checkpoint before. Gives the size before compression. Blocks.
    pub fn write(&self, table: &mut Table, header: &Header) -> Result<u64, Error> {
        let dirty = table.take_dirty();
        match self.write_new(table, header, &dirty) {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                table.put_back(dirty);
                Err(error)
            }
        }
    }

    fn write_new(
        &self,
        table: &Table,
        header: &Header,
        dirty: &HashMap<Key, Option<Parts>>,
    ) -> Result<u64, Error> {
        let new = self.path.with_extension("new");
        let file = File::create(&new)?;
        let stream = zstd::stream::write::Encoder::new(BufWriter::new(file), ZSTD_LEVEL)?;
        let mut writer = Writer { stream, bytes: 0, subjects: 0 };
        writer.frame(b'h', &serde_json::to_vec(header).map_err(io::Error::other)?)?;
        // A damaged old file costs the parts in it: their subjects are not in the new one, and
        // come back when they are next evaluated.
        if let Ok(Some(mut old)) = self.read() {
            while let Ok(Some(subject)) = old.next_subject() {
                let entry = table.get(&subject.key).filter(|_| !dirty.contains_key(&subject.key));
                if let Some(entry) = entry {
                    writer.subject(&subject.key, entry, &subject.parts)?;
                }
            }
        }
        for (key, parts) in dirty {
            if let (Some(parts), Some(entry)) = (parts, table.get(key)) {
                writer.subject(key, entry, parts)?;
            }
        }
        let bytes = writer.finish()?;
        fs::rename(&new, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(bytes)
    }
}

struct Writer {
    stream: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    bytes: u64,
    subjects: u64,
}

impl Writer {
    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).ok().filter(|length| *length <= MAX_FRAME_BYTES);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut head = Vec::with_capacity(8);
        head.extend(MAGIC);
        head.extend([VERSION, kind]);
        head.extend(length.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
        self.stream.write_all(&head)?;
        self.stream.write_all(payload)?;
        self.stream.write_all(&crc.to_be_bytes())?;
        self.bytes += payload.len() as u64 + 12;
        Ok(())
    }

    fn subject(&mut self, key: &Key, entry: &Entry, parts: &Parts) -> io::Result<()> {
        self.subjects += 1;
        self.frame(b's', &subject_payload(key, entry, parts))
    }

    fn finish(mut self) -> io::Result<u64> {
        let subjects = self.subjects.to_be_bytes();
        self.frame(b'e', &subjects)?;
        let file = self.stream.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.bytes)
    }
}

/// Reads a checkpoint, subject by subject.
pub struct Reader<R: Read = File> {
    stream: zstd::stream::read::Decoder<'static, BufReader<R>>,
    header: Header,
    subjects: u64,
}

impl<R: Read> Reader<R> {
    /// Public for the fuzz targets alone: the agent reads a [`Checkpoint`].
    #[doc(hidden)]
    pub fn new(file: R) -> Result<Self, Error> {
        let mut stream = zstd::stream::read::Decoder::new(file)?;
        let (kind, payload) = read_frame(&mut stream)?;
        if kind != b'h' {
            return Err(Error::Damaged("no header"));
        }
        let header = serde_json::from_slice(&payload).map_err(|_| Error::Damaged("header"))?;
        Ok(Self { stream, header, subjects: 0 })
    }

    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// None at the end, which is checked.
    pub fn next_subject(&mut self) -> Result<Option<Subject>, Error> {
        let (kind, payload) = read_frame(&mut self.stream)?;
        match kind {
            b's' => {
                self.subjects += 1;
                subject(&payload).map(Some).ok_or(Error::Damaged("subject"))
            }
            b'e' if payload == self.subjects.to_be_bytes() => Ok(None),
            _ => Err(Error::Damaged("end")),
        }
    }
}

fn subject_payload(key: &Key, entry: &Entry, parts: &Parts) -> Vec<u8> {
    let mut payload = Vec::new();
    put(&mut payload, key.as_str().as_bytes());
    payload.extend(entry.stamp);
    put(&mut payload, entry.uid.as_bytes());
    let cells: Vec<u8> = entry.cells.iter().flat_map(|cell| cell.0.to_be_bytes()).collect();
    put(&mut payload, &cells);
    for part in parts {
        put(&mut payload, part);
    }
    payload
}

fn read_frame(stream: &mut impl Read) -> Result<(u8, Vec<u8>), Error> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).map_err(|_| Error::Damaged("cut short"))?;
    let [m0, m1, version, kind, l0, l1, l2, l3] = head;
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    if [m0, m1] != MAGIC || version != VERSION || length > MAX_FRAME_BYTES {
        return Err(Error::Damaged("frame"));
    }
    let mut payload = vec![0; length as usize];
    let mut crc = [0; 4];
    stream.read_exact(&mut payload).map_err(|_| Error::Damaged("cut short"))?;
    stream.read_exact(&mut crc).map_err(|_| Error::Damaged("cut short"))?;
    if crc32c::crc32c_append(crc32c::crc32c(&head), &payload).to_be_bytes() != crc {
        return Err(Error::Damaged("checksum"));
    }
    Ok((kind, payload))
}

fn subject(payload: &[u8]) -> Option<Subject> {
    let (key, rest) = take(payload)?;
    let (stamp, rest) = rest.split_first_chunk()?;
    let (uid, rest) = take(rest)?;
    let (cells, mut rest) = take(rest)?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, after) = take(rest)?;
        parts.push(Bytes::copy_from_slice(part));
        rest = after;
    }
    let (cells, odd) = cells.as_chunks::<8>();
    if !odd.is_empty() {
        return None;
    }
    Some(Subject {
        key: Key::from_text(std::str::from_utf8(key).ok()?)?,
        stamp: *stamp,
        uid: std::str::from_utf8(uid).ok()?.to_owned(),
        cells: cells.iter().map(|bytes| Cell(u64::from_be_bytes(*bytes))).collect(),
        parts,
    })
}

/// Longer than a frame may be is refused when the frame is written.
fn put(payload: &mut Vec<u8>, bytes: &[u8]) {
    payload.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    payload.extend(bytes);
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::from_text(&format!("apps\0Deployment\0shop\0{name}")).unwrap()
    }

    fn table() -> Table {
        let mut table = Table::default();
        for (number, name) in (1_u8..).zip(["a", "b", "c"]) {
            let parts = vec![Bytes::from(vec![number; 100]), Bytes::from_static(b"second")];
            table.put(key(name), [number; 16], "uid", vec![Cell(u64::from(number))], parts);
        }
        table
    }

    fn read(checkpoint: &Checkpoint) -> Result<(Header, Vec<Subject>), Error> {
        let mut reader = checkpoint.read()?.expect("a checkpoint");
        let mut subjects = Vec::new();
        while let Some(subject) = reader.next_subject()? {
            subjects.push(subject);
        }
        subjects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok((reader.header().clone(), subjects))
    }

    #[test]
    fn what_is_not_dirty_is_carried_over() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::at(folder.path().join("verdicts"));
        let mut table = table();
        let header = |table: &Table, seq| Header::of(table, 1, seq, None);
        let first = header(&table, 5);
        checkpoint.write(&mut table, &first).unwrap();
        table.remove(&key("a"));
        table.put(key("b"), [9; 16], "new", vec![Cell(9)], vec![Bytes::from_static(b"only")]);
        let second = header(&table, 6);
        checkpoint.write(&mut table, &second).unwrap();
        assert!(!table.is_dirty());
        let (found, subjects) = read(&checkpoint).unwrap();
        assert_eq!(found, second);
        let names: Vec<_> =
            subjects.iter().map(|s| (s.key.subject().name, s.parts.len())).collect();
        assert_eq!(names, [("b".to_owned(), 1), ("c".to_owned(), 2)]);
        assert_eq!((subjects[0].uid.as_str(), subjects[0].stamp), ("new", [9; 16]));
    }

    /// Of a version that this one does not know: everything is evaluated again.
    #[test]
    fn a_newer_table_counts_as_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::at(folder.path().join("verdicts"));
        let mut table = table();
        let header = Header::of(&table, 1, 5, None);
        checkpoint.write(&mut table, &header).unwrap();
        let plain = fs::read(&checkpoint.path).unwrap();
        let mut frames = zstd::stream::decode_all(&plain[..]).unwrap();
        frames[2] = VERSION + 1;
        let length = u32::from_be_bytes(*frames[4..].first_chunk().unwrap()) as usize;
        let (content, rest) = frames.split_at_mut(8 + length);
        rest[..4].copy_from_slice(&crc32c::crc32c(content).to_be_bytes());
        fs::write(&checkpoint.path, zstd::stream::encode_all(&frames[..], 1).unwrap()).unwrap();
        assert!(matches!(read(&checkpoint), Err(Error::Damaged(_))));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes_for_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::at(folder.path().join("verdicts"));
        let mut table = table();
        let header = Header::of(&table, 1, 5, None);
        checkpoint.write(&mut table, &header).unwrap();
        let sound = read(&checkpoint).unwrap();
        let bytes = fs::read(&checkpoint.path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&checkpoint.path, flipped).unwrap();
            // A bit of the compression that changes nothing is none that matters.
            assert!(read(&checkpoint).map_or(true, |found| found == sound), "at {at}");
            fs::write(&checkpoint.path, &bytes[..at]).unwrap();
            assert!(read(&checkpoint).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn golden() {
        let mut table = table();
        let entry = table.get(&key("a")).unwrap().clone();
        let payload = subject_payload(&key("a"), &entry, &vec![Bytes::from_static(b"part")]);
        assert_eq!(
            hex::encode(&payload),
            "0000001661707073004465706c6f796d656e740073686f70006101010101010101010101010101010101000000037569640000000800000000000000010000000470617274"
        );
        assert_eq!(subject(&payload).unwrap().uid, "uid");
        table.remove(&key("a"));
        assert_eq!(table.get(&key("a")), None);
    }
}
