//! Fields that many messages share: ids, digests, texts with a limit.

use bytes::Bytes;
use prost::Message;
use provost_model::Digest;

use crate::Error;

/// Names, addresses, ids and details that have no tighter limit of their own.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;
/// Paths of files and fields.
pub(crate) const MAX_PATH_BYTES: usize = 4096;

pub(crate) fn decode<M: Message + Default>(what: &'static str, bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|source| Error::Decode { what, source })
}

pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or(Error::Missing { field })
}

pub(crate) fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, Error> {
    if bytes.is_empty() {
        return Err(Error::Missing { field });
    }
    Digest::try_from(bytes).map_err(|error| Error::bad(field, error))
}

pub(crate) fn optional_digest(field: &'static str, bytes: &[u8]) -> Result<Option<Digest>, Error> {
    if bytes.is_empty() { Ok(None) } else { digest(field, bytes).map(Some) }
}

pub(crate) fn digest_bytes(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

pub(crate) fn optional_digest_bytes(digest: Option<&Digest>) -> Bytes {
    digest.map(digest_bytes).unwrap_or_default()
}

/// A 128-bit id of one of `model`'s types.
pub(crate) fn id<'a, T>(field: &'static str, bytes: &'a [u8]) -> Result<T, Error>
where
    T: TryFrom<&'a [u8]>,
    T::Error: ToString,
{
    if bytes.is_empty() {
        return Err(Error::Missing { field });
    }
    T::try_from(bytes).map_err(|error| Error::bad(field, error))
}

pub(crate) fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::bad(field, format!("expected {N} bytes")))
}

pub(crate) fn text(field: &'static str, text: String) -> Result<String, Error> {
    text_up_to(field, text, MAX_TEXT_BYTES)
}

pub(crate) fn text_up_to(field: &'static str, text: String, limit: usize) -> Result<String, Error> {
    within(field, text.len(), limit)?;
    Ok(text)
}

pub(crate) fn non_empty(field: &'static str, value: String) -> Result<String, Error> {
    if value.is_empty() { Err(Error::Missing { field }) } else { text(field, value) }
}

pub(crate) const fn within(field: &'static str, size: usize, limit: usize) -> Result<(), Error> {
    if size > limit { Err(Error::TooLong { field, size, limit }) } else { Ok(()) }
}

/// Nothing is acknowledged that was not made.
pub(crate) fn acked_seq(field: &'static str, acked: u64, last: u64) -> Result<u64, Error> {
    if acked > last {
        return Err(Error::bad(field, "it is beyond the last record"));
    }
    Ok(acked)
}

pub(crate) fn slug<T>(field: &'static str, text: &str) -> Result<T, Error>
where
    T: std::str::FromStr,
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| Error::bad(field, error))
}
