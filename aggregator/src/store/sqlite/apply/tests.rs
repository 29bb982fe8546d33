//! What is loaded for a batch is less than what is stored, and must change nothing: the same batches are applied to
//! databases that load as little as they may and to one whose subjects all stay in memory, whole.

mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, Row as _};

use super::*;
use crate::store::fold::{Extent, Named};
use crate::store::sqlite::SqliteStore;
use world::{CLUSTER, Op, World, key, op};

type Entries = BTreeMap<SubjectKey, Entry>;

/// What a batch may change, with an order of the rows that is theirs. Counts that are zero are as good as none. When a
/// finding opened first depends on what was written together.
const TABLES: [(&str, &str); 9] = [
    ("subjects", ""),
    ("states", ""),
    ("findings", "first_valid_at_ms"),
    ("transitions", ""),
    ("rollup_policy", ""),
    ("rollup_namespace", ""),
    ("snapshots", ""),
    ("alarms", ""),
    ("not_evaluated", ""),
];

struct Database {
    _folder: tempfile::TempDir,
    store: SqliteStore,
}

impl Database {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("hub.db")).await.unwrap();
        let cluster = "INSERT INTO clusters (cluster_id, display_name, status, labels, identity_key, cluster_uid, \
                       server_version, version_hash, enrolled_at_ms) VALUES ($1, '', '', '', '', '', '', '', 0)";
        sqlx::query(cluster).bind(CLUSTER.to_string()).execute(&store.write).await.unwrap();
        Self { _folder: folder, store }
    }
}

/// Where a batch is applied, and what of each subject that it names is in memory beforehand.
#[derive(Clone, Copy, Debug)]
enum Loading {
    AsNamed,
    /// Each subject's own row.
    NoBindings,
    Nothing,
}

async fn apply_with(
    loading: Loading,
    tx: &mut SqliteConnection,
    batch: &Batch,
    now_ms: i64,
) -> bool {
    let acked = batch.first_seq - 1;
    let sets = policy_sets(tx, &fold::policy_sets_of(batch)).await.unwrap();
    let subjects = match loading {
        Loading::AsNamed => return apply(tx, batch, acked, now_ms).await.unwrap().1,
        Loading::Nothing => Entries::new(),
        Loading::NoBindings => {
            let keys = fold::named(batch, &sets).into_keys();
            let named = keys.map(|key| (key, Named::default())).collect();
            load::named(tx, CLUSTER, named).await.unwrap()
        }
    };
    apply_to(tx, batch, subjects, sets, acked, now_ms).await.unwrap().1
}

/// Loads no subject ever: `memory` is all that there are.
async fn apply_whole(
    memory: &mut Entries,
    tx: &mut SqliteConnection,
    batch: &Batch,
    now_ms: i64,
) -> bool {
    let sets = policy_sets(tx, &fold::policy_sets_of(batch)).await.unwrap();
    for key in fold::named(batch, &sets).into_keys() {
        memory.entry(key).or_default();
    }
    let snapshot = open_snapshot(tx, batch).await.unwrap();
    let auditing = is_auditing(tx, batch).await.unwrap();
    let acked = batch.first_seq - 1;
    let mut fold = Fold::new(std::mem::take(memory), snapshot, sets, auditing, acked, now_ms);
    for item in &batch.items {
        match fold.push(item) {
            Step::Next => {}
            Step::Load(subject) => panic!("{subject:?} is in memory whole"),
            Step::CloseUnseen { snapshot, seq, valid_at_ms } => {
                fold.close_unseen(fold.subjects.clone(), &snapshot, seq, valid_at_ms);
            }
        }
    }
    write::flush(tx, batch, &mut fold, now_ms).await.unwrap();
    finish(tx, batch, &mut fold, now_ms).await.unwrap();
    *memory = fold.subjects;
    memory.retain(|_, entry| entry.now.is_some());
    fold.resync
}

async fn rows(tx: &mut SqliteConnection) -> Vec<String> {
    let mut all = Vec::new();
    for (table, without) in TABLES {
        let found = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT * FROM {table}")))
            .fetch_all(&mut *tx)
            .await
            .unwrap();
        let mut lines: Vec<String> =
            found.iter().filter_map(|row| line(table, row, without)).collect();
        lines.sort();
        all.extend(lines);
    }
    all
}

fn line(table: &str, row: &SqliteRow, without: &str) -> Option<String> {
    let mut text = table.to_owned();
    for column in row.columns() {
        let value: Option<String> = row.get_unchecked(column.ordinal());
        if column.name() == "n" && value.as_deref() == Some("0") {
            return None;
        }
        if column.name() != without {
            text.push_str(&format!(" {}={}", column.name(), value.unwrap_or_default()));
        }
    }
    Some(text)
}

/// What is not committed is gone with the case.
async fn compare(
    loading: Loading,
    databases: &[Database; 2],
    batches: &[Vec<Op>],
) -> Result<(), TestCaseError> {
    let [ours, theirs] = databases;
    let mut ours = ours.store.begin().await.unwrap();
    let mut theirs = theirs.store.begin().await.unwrap();
    let (mut world, mut memory) = (World::default(), Entries::new());
    for (now_ms, ops) in (100..).zip(batches) {
        let batch = world.batch(ops);
        let is_resync = apply_with(loading, &mut ours, &batch, now_ms).await;
        let expected = apply_whole(&mut memory, &mut theirs, &batch, now_ms).await;
        prop_assert_eq!(is_resync, expected);
        let (rows, expected) = (rows(&mut ours).await, rows(&mut theirs).await);
        prop_assert!(rows == expected, "{}\nin place of\n{}", rows.join("\n"), expected.join("\n"));
    }
    Ok(())
}

fn random_batches_come_to_the_same(loading: Loading) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let databases = runtime.block_on(async { [Database::new().await, Database::new().await] });
    let batches = prop::collection::vec(prop::collection::vec(op(), 1..12), 1..10);
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let compared = TestRunner::new(config)
        .run(&batches, |batches| runtime.block_on(compare(loading, &databases, &batches)));
    compared.unwrap();
}

#[test]
fn what_a_batch_names_is_enough() {
    random_batches_come_to_the_same(Loading::AsNamed);
}

#[test]
fn bindings_that_are_not_loaded_are_asked_for() {
    random_batches_come_to_the_same(Loading::NoBindings);
}

#[test]
fn subjects_that_are_not_loaded_are_asked_for() {
    random_batches_come_to_the_same(Loading::Nothing);
}

fn say(verdicts: &[(u32, u8)]) -> Op {
    let verdicts = verdicts.to_vec();
    Op::Say { subject: 0, uid: "one", verdicts, withdrawn: Vec::new(), is_stated: false }
}

/// Bindings of the verdicts in memory once the batch is loaded, and of the open findings.
async fn loaded(tx: &mut SqliteConnection, batch: &Batch) -> (Extent, usize, usize) {
    let sets = policy_sets(tx, &fold::policy_sets_of(batch)).await.unwrap();
    let mut all = load::named(tx, CLUSTER, fold::named(batch, &sets)).await.unwrap();
    let entry = all.remove(&key(0)).unwrap();
    let now = entry.now.unwrap();
    (entry.extent, now.verdicts.len(), now.open.len())
}

#[tokio::test]
async fn a_change_loads_what_it_names_and_an_end_everything() {
    let database = Database::new().await;
    let mut tx = database.store.begin().await.unwrap();
    let mut world = World::default();
    let first = world.batch(&[say(&[(0, 2), (1, 2), (2, 0), (3, 1), (4, 0), (5, 0)])]);
    apply(&mut tx, &first, 0, 1).await.unwrap();
    let (extent, verdicts, open) = loaded(&mut tx, &world.batch(&[say(&[(1, 1), (2, 0)])])).await;
    assert!(matches!(extent, Extent::Bindings(bindings) if bindings.len() == 2));
    assert_eq!((verdicts, open), (2, 2));
    let removed = Op::Remove { subject: 0, uid: "one" };
    let replaced = Op::Say {
        subject: 0,
        uid: "two",
        verdicts: vec![(0, 1)],
        withdrawn: Vec::new(),
        is_stated: false,
    };
    for end in [removed, replaced] {
        let batch = world.batch(&[say(&[(1, 1)]), end]);
        assert_eq!(loaded(&mut tx, &batch).await, (Extent::Whole, 6, 5));
    }
}
