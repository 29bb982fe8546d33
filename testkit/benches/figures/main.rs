//! `cargo bench -p provost-testkit [-- evaluation|scan|batch|spool]`: the small figures of docs/performance.md.
//!
//! Prints what it measured and judges nothing: compare figures of one machine and one run. For the evaluation
//! beside OPA, `PROVOST_ORACLE` is the program of `testkit/build-go.sh oracle`; `testkit/peers.sh` has
//! those that scans are compared with.

mod batch;
mod evaluation;
mod records;
mod scan;
mod spool;
mod timing;

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    if is_wanted("evaluation") {
        evaluation::run()?;
    }
    if is_wanted("scan") {
        scan::run()?;
    }
    if is_wanted("batch") {
        batch::run()?;
    }
    if is_wanted("spool") {
        spool::run()?;
    }
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    Ok(())
}
