//! Runs statements that were put together from constants and arguments.

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::{Fields as _, SqliteStore};
use crate::store::Result;
use crate::store::sql::{Arg, Sql};

impl SqliteStore {
    pub(crate) async fn rows(&self, sql: Sql) -> Result<Vec<SqliteRow>> {
        // The text is safe: `Sql` takes only constants, every value is an argument.
        let mut query = sqlx::query(AssertSqlSafe(sql.text));
        for arg in sql.args {
            query = match arg {
                Arg::Text(text) => query.bind(text),
                Arg::Int(int) => query.bind(int),
            };
        }
        Ok(query.fetch_all(self.reader()).await?)
    }

    /// The column `n` of the one row of a count.
    pub(crate) async fn count_of(&self, sql: Sql) -> Result<u64> {
        self.rows(sql).await?.first().map_or(Ok(0), |row| row.count("n"))
    }
}
