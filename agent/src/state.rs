//! The verdict table: what was last said of every subject.
//!
//! In memory only what answers "is this news?": a stamp of the object, its uid, and eight bytes per verdict. The
//! verdicts with their findings are on disk, in a checkpoint that is written whole and renamed; what came after it is
//! in the spool, which is its write-ahead log. [`table`] is the memory, [`checkpoint`] the file,
//! [`replay`] the start from both.

pub mod checkpoint;
pub mod replay;
pub mod table;

pub use table::{Cell, Entry, Table};
