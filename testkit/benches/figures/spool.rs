//! The spool on disk: durable appends, bytes of a record, and opening it with a million of them.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use provost_agent::spool::thread::{self, Handle};
use provost_agent::spool::{Limits, Room};
use provost_runtime::clock::System;

use crate::records;
use crate::timing::now;

const MIB: u64 = 1024 * 1024;
const MILLION: u64 = 1_000_000;
const PER_APPEND: u64 = 512;

pub fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        println!("\nspool: durable appends");
        for per_append in [1, 16, 64, 512] {
            appends(per_append).await?;
        }
        million().await
    })
}

async fn appends(per_append: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spool = open(folder.path())?;
    let world = records::world(1000)?;
    let appends = if per_append == 1 { 200 } else { 100 };
    let prepared: Vec<_> =
        (0..appends).map(|n| records::records(&world, n * per_append, per_append)).collect();
    let began = now();
    for records in prepared {
        append(&spool, records).await?;
    }
    let took = began.elapsed().as_secs_f64();
    let total = u32::try_from(appends * per_append).unwrap_or(u32::MAX);
    println!(
        "  {per_append:4} records each: {:7.0} appends/s, {:8.0} records/s",
        f64::from(u32::try_from(appends).unwrap_or(u32::MAX)) / took,
        f64::from(total) / took
    );
    Ok(())
}

async fn million() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let world = records::world(10_000)?;
    let spool = open(folder.path())?;
    for first in (0..MILLION).step_by(usize::try_from(PER_APPEND)?) {
        let count = PER_APPEND.min(MILLION - first);
        append(&spool, records::records(&world, first, count)).await?;
    }
    let extent = spool.announced().borrow().extent;
    anyhow::ensure!(extent.last.seq == MILLION && extent.unacked == MILLION, "{extent:?}");
    println!(
        "  a million records: {} bytes each on disk, {} MiB in all",
        extent.bytes / MILLION,
        extent.bytes / MIB
    );
    drop(spool);
    // The thread of the old one lets go of the stores in its own time.
    let mut took = None;
    for _ in 0..100 {
        let began = now();
        if let Ok(opened) = open(folder.path()) {
            took = Some((began.elapsed(), opened.announced().borrow().extent.last.seq));
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (took, seq) = took.context("the spool can be opened again")?;
    anyhow::ensure!(seq == MILLION, "the last seq is {seq}");
    println!("  opening it: {:.0} ms", took.as_secs_f64() * 1e3);
    Ok(())
}

fn open(folder: &Path) -> anyhow::Result<Handle> {
    let (spool, head) = (folder.join("spool"), folder.join("head"));
    let limits = Limits::for_budget(1024 * MIB);
    Ok(thread::open(&spool, &head, limits, System::shared(), Box::new(|_| {}))?.0)
}

async fn append(spool: &Handle, records: Vec<provost_model::Record>) -> anyhow::Result<()> {
    let done = spool.append(records, Room::Keep).await;
    done.map(drop).map_err(|refused| anyhow!("{}", refused.error))
}
