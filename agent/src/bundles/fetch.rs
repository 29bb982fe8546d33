//! Fetching the files of a manifest that are not here yet, by digest and resumable.
//!
//! Every byte is hashed as it comes, and never more than the declared size is taken. What a broken
//! link left stays as a partial blob and is gone on with; what does not hash right is thrown away
//! whole.

use async_trait::async_trait;
use bytes::Bytes;
use provost_model::Digest;
use provost_proto::status::Refusal;
use provost_trust::files::{FileCheck, FileEntry};

use super::store::{self, Store};

/// Where blobs come from: the hub, over the session's connection.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// Bytes of the blob from `offset` on, at most one chunk.
    async fn chunk(&self, blob: Digest, offset: u64) -> Result<Bytes, Refusal>;
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The link, or the hub: the bundle is not to blame, and the hub will offer it again.
    #[error("the hub did not deliver {blob}: {refusal}")]
    Source { blob: Digest, refusal: Refusal },
    #[error(transparent)]
    Refused(#[from] provost_trust::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// After it, every file is in the store.
pub async fn missing(
    store: &Store,
    files: &[FileEntry],
    source: &dyn BlobSource,
) -> Result<(), Error> {
    for entry in files {
        if !store.holds(&entry.sha256) {
            blob(store, entry, source).await?;
        }
    }
    Ok(())
}

/// The bytes of a partial blob are not synced, so that a power cut may have altered them: what
/// was gone on with and does not hash right is fetched once more from its start, and only what
/// came whole from the hub is held against the bundle.
async fn blob(store: &Store, entry: &FileEntry, source: &dyn BlobSource) -> Result<(), Error> {
    let blob = entry.sha256;
    let held = store.partial(&blob)?;
    if !held.is_empty() {
        match rest(store, entry, source, &held).await {
            Err(Error::Refused(error)) => {
                tracing::warn!(%error, blob = blob.short(), "a partial file is fetched anew");
            }
            other => return other,
        }
    }
    rest(store, entry, source, &[]).await
}

/// Goes on after `held`; what is refused leaves no partial blob.
async fn rest(
    store: &Store,
    entry: &FileEntry,
    source: &dyn BlobSource,
    held: &[u8],
) -> Result<(), Error> {
    let blob = entry.sha256;
    let mut check = FileCheck::new(entry);
    let refused = |error: provost_trust::Error| match store.drop_partial(&blob) {
        Ok(()) => Error::from(error),
        Err(failed) => failed.into(),
    };
    check.update(held).map_err(refused)?;
    let mut offset = held.len() as u64;
    // An empty file has no chunk to ask for, but must exist.
    store.append_partial(&blob, &[])?;
    while offset < entry.size {
        let undelivered = |refusal| Error::Source { blob, refusal };
        let chunk = source.chunk(blob, offset).await.map_err(undelivered)?;
        if chunk.is_empty() {
            break;
        }
        check.update(&chunk).map_err(refused)?;
        store.append_partial(&blob, &chunk)?;
        offset += chunk.len() as u64;
    }
    check.finish().map_err(refused)?;
    Ok(store.complete(&blob)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use provost_model::Code;
    use provost_trust::files::FileKind;
    use std::sync::Mutex;

    /// Gives three bytes at a time, and breaks after `until` of them.
    struct Hub {
        bytes: Vec<u8>,
        until: Mutex<u64>,
        asked: Mutex<Vec<u64>>,
    }

    #[async_trait]
    impl BlobSource for Hub {
        async fn chunk(&self, _: Digest, offset: u64) -> Result<Bytes, Refusal> {
            self.asked.lock().unwrap().push(offset);
            if offset >= *self.until.lock().unwrap() {
                return Err(Refusal::new(Code::Unavailable, "cut"));
            }
            let from = usize::try_from(offset).unwrap().min(self.bytes.len());
            let to = (from + 3).min(self.bytes.len());
            Ok(Bytes::copy_from_slice(&self.bytes[from..to]))
        }
    }

    fn hub(bytes: &[u8]) -> Hub {
        Hub { bytes: bytes.to_vec(), until: Mutex::new(u64::MAX), asked: Mutex::default() }
    }

    fn entry(bytes: &[u8]) -> FileEntry {
        FileEntry {
            path: "a.rego".to_owned(),
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
            kind: FileKind::Policy,
        }
    }

    #[tokio::test]
    async fn a_cut_link_is_gone_on_with_where_it_broke() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (hub, files) = (hub(b"0123456789"), [entry(b"0123456789")]);
        *hub.until.lock().unwrap() = 6;
        assert!(matches!(missing(&store, &files, &hub).await, Err(Error::Source { .. })));
        *hub.until.lock().unwrap() = u64::MAX;
        missing(&store, &files, &hub).await.unwrap();
        assert_eq!(*hub.asked.lock().unwrap(), [0, 3, 6, 6, 9]);
        assert_eq!(store.contents(&files).unwrap().0.files["a.rego"], &b"0123456789"[..]);
        missing(&store, &files, &hub).await.unwrap();
        assert_eq!(hub.asked.lock().unwrap().len(), 5);
    }

    #[tokio::test]
    async fn altered_longer_and_shorter_blobs_are_refused_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let files = [entry(b"0123456789")];
        for (bytes, code) in [
            (&b"012345678X"[..], Code::DigestMismatch),
            (b"0123456789ABC", Code::TooLarge),
            (b"01234567", Code::DigestMismatch),
        ] {
            match missing(&store, &files, &hub(bytes)).await {
                Err(Error::Refused(error)) => assert_eq!(error.code(), code),
                other => panic!("{other:?}"),
            }
            assert!(store.partial(&files[0].sha256).unwrap().is_empty());
            assert!(!store.holds(&files[0].sha256));
        }
        missing(&store, &files, &hub(b"0123456789")).await.unwrap();
    }

    #[tokio::test]
    async fn a_torn_partial_is_fetched_anew_once() {
        for torn in [&b"01234\0"[..], b"0123456789AB", b"\0\0\0\0\0\0\0\0\0\0"] {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            let (hub, files) = (hub(b"0123456789"), [entry(b"0123456789")]);
            store.append_partial(&files[0].sha256, torn).unwrap();
            missing(&store, &files, &hub).await.unwrap();
            assert_eq!(store.contents(&files).unwrap().0.files["a.rego"], &b"0123456789"[..]);
            assert_eq!(hub.asked.lock().unwrap().iter().filter(|at| **at == 0).count(), 1);
        }
    }

    #[tokio::test]
    async fn a_hub_that_alters_is_refused_after_a_torn_partial_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (hub, files) = (hub(b"012345678X"), [entry(b"0123456789")]);
        store.append_partial(&files[0].sha256, b"0123").unwrap();
        assert!(matches!(missing(&store, &files, &hub).await, Err(Error::Refused(_))));
        assert_eq!(*hub.asked.lock().unwrap(), [4, 7, 0, 3, 6, 9]);
        assert!(store.partial(&files[0].sha256).unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_empty_file_needs_no_chunk() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (hub, files) = (hub(b""), [entry(b"")]);
        missing(&store, &files, &hub).await.unwrap();
        assert!(hub.asked.lock().unwrap().is_empty());
        assert!(store.holds(&files[0].sha256));
    }
}
