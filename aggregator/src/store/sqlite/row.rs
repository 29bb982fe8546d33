//! Reading columns into the model's types. A value that does not parse is [`Error::Corrupt`], never a default.

use std::str::FromStr;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::store::{Error, Result};

pub trait Fields {
    fn text(&self, column: &str) -> Result<String>;
    fn text_opt(&self, column: &str) -> Result<Option<String>>;
    fn int(&self, column: &str) -> Result<i64>;
    fn int_opt(&self, column: &str) -> Result<Option<i64>>;
    fn bytes(&self, column: &str) -> Result<Vec<u8>>;
    /// A column that holds a count, a seq or a version.
    fn count(&self, column: &'static str) -> Result<u64>;
    fn count_opt(&self, column: &'static str) -> Result<Option<u64>>;
    fn flag(&self, column: &str) -> Result<bool>;
    /// A column whose text a model type parses.
    fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T>
    where
        T::Err: ToString;
    fn parsed_opt<T: FromStr>(&self, column: &'static str) -> Result<Option<T>>
    where
        T::Err: ToString;
    fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T>;
    /// 32 bytes in hex.
    fn key(&self, column: &'static str) -> Result<[u8; 32]>;
}

impl Fields for SqliteRow {
    fn text(&self, column: &str) -> Result<String> {
        Ok(self.try_get(column)?)
    }

    fn text_opt(&self, column: &str) -> Result<Option<String>> {
        Ok(self.try_get(column)?)
    }

    fn int(&self, column: &str) -> Result<i64> {
        Ok(self.try_get(column)?)
    }

    fn int_opt(&self, column: &str) -> Result<Option<i64>> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        Ok(self.try_get(column)?)
    }

    fn count(&self, column: &'static str) -> Result<u64> {
        u64::try_from(self.int(column)?).map_err(|e| Error::corrupt(column, e))
    }

    fn count_opt(&self, column: &'static str) -> Result<Option<u64>> {
        self.int_opt(column)?
            .map(|n| u64::try_from(n).map_err(|e| Error::corrupt(column, e)))
            .transpose()
    }

    fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T>
    where
        T::Err: ToString,
    {
        self.text(column)?.parse().map_err(|e: T::Err| Error::corrupt(column, e))
    }

    fn parsed_opt<T: FromStr>(&self, column: &'static str) -> Result<Option<T>>
    where
        T::Err: ToString,
    {
        let text = self.text_opt(column)?;
        text.map(|text| text.parse().map_err(|e: T::Err| Error::corrupt(column, e))).transpose()
    }

    fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|e| Error::corrupt(column, e))
    }

    fn key(&self, column: &'static str) -> Result<[u8; 32]> {
        let mut key = [0; 32];
        hex::decode_to_slice(self.text(column)?, &mut key)
            .map_err(|e| Error::corrupt(column, e))?;
        Ok(key)
    }
}

/// Counts and seqs are u64 in the model and BIGINT in SQL; what does not fit has no row anywhere near it.
#[must_use]
pub fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
