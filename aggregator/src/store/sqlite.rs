//! The store on SQLite: WAL, one writing connection, a few reading ones.
//!
//! The SQL is text that PostgreSQL takes too ($1, ON CONFLICT, RETURNING, no SQLite functions); only migrations and
//! this file's connection handling are SQLite's own. Writers queue at the one-connection pool, so a write transaction
//! never meets SQLITE_BUSY from this process.

mod access;
mod apply;
mod bundles;
mod counts;
mod enrolment;
pub mod findings;
mod history;
mod identity;
mod load;
mod logins;
mod read;
mod reports;
mod retention;
mod rollups;
mod row;
mod rows;
mod verdicts;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection as _, SqlStr, Transaction};

use super::{AuditEntry, Error, Result};

pub use row::Fields;

pub type Db = sqlx::Sqlite;
pub type Tx = Transaction<'static, Db>;

/// Readers besides the one writer; pages and API calls run at most this many queries at once.
const READ_CONNECTIONS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// SQLite keeps this many kibibytes of pages per connection (negative means KiB in the pragma).
const CACHE_KIB: &str = "-16384";
/// As large as a batch and the rows that it changes; no part of a future, which would not fit a stack.
static PROBE: [u8; 512 * 1024] = [0; 512 * 1024];

#[derive(Clone, Debug)]
pub struct SqliteStore {
    read: SqlitePool,
    write: SqlitePool,
    /// Beside the database, and empty but while it is checked.
    probe: PathBuf,
}

impl SqliteStore {
    /// Opens or creates the database and brings it to this version's schema.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: an acknowledged batch survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", CACHE_KIB);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .after_release(|connection, _| Box::pin(is_at_rest(connection)))
            .connect_with(options.clone())
            .await?;
        migrator().run(&write).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(READ_CONNECTIONS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { read, write, probe: path.with_extension("probe") })
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    pub fn reader(&self) -> &SqlitePool {
        &self.read
    }

    /// Waits for the writer's turn.
    pub async fn begin(&self) -> Result<Tx> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A change of nothing is committed, and its volume has room for a batch: a page alone may still find a
    /// place in a log that is written anew, while no batch does.
    pub async fn check_write(&self) -> Result<()> {
        let mut tx = match self.write.begin_with("BEGIN IMMEDIATE").await {
            // Writers have queued for so long: they write.
            Err(sqlx::Error::PoolTimedOut) => return Ok(()),
            begun => begun?,
        };
        sqlx::query("PRAGMA user_version = 0").execute(&mut *tx).await?;
        tx.commit().await?;
        let path = self.probe.clone();
        let written = tokio::fs::write(&path, &PROBE[..]).await;
        let emptied = tokio::fs::File::create(&path).await.map(drop);
        written.and(emptied).map_err(|cause| Error::Volume { path, cause })
    }
}

/// Whether the connection can be used again. On a full disk SQLite ends a transaction by itself; the
/// library then still believes in it, and would refuse every one that follows.
async fn is_at_rest(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    // A rollback that was asked for is done when this is answered.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Inside the transaction of the change that it is about.
pub async fn append_audit(tx: &mut SqliteConnection, entry: &AuditEntry) -> Result<()> {
    sqlx::query("INSERT INTO audit (at_ms, actor, action, target, result, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(entry.at_ms)
        .bind(&entry.actor.0)
        .bind(&entry.action)
        .bind(&entry.target)
        .bind(&entry.result)
        .bind(&entry.detail)
        .execute(tx)
        .await?;
    Ok(())
}

fn migrator() -> Migrator {
    let step = |version, name: &'static str, text| {
        let text = SqlStr::from_static(text);
        Migration::new(version, name.into(), MigrationType::Simple, text, false)
    };
    let migrations = vec![
        step(1, "initial", include_str!("migrations/sqlite/0001_initial.sql")),
        step(2, "join resync", include_str!("migrations/sqlite/0002_join_resync.sql")),
    ];
    Migrator { migrations: migrations.into(), ..Migrator::DEFAULT }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `.cargo/config.toml` says them; cargo reads it only within the tree.
    #[tokio::test]
    async fn sqlite_is_built_with_the_options_of_this_tree() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("hub.db")).await.unwrap();
        let rows = sqlx::query("PRAGMA compile_options").fetch_all(store.reader()).await.unwrap();
        let options: Vec<String> =
            rows.iter().map(|row| row.text("compile_options").unwrap()).collect();
        assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
        assert!(!options.iter().any(|option| option == "ENABLE_MEMORY_MANAGEMENT"), "{options:?}");
    }
}
