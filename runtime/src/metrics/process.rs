//! What the process takes, from `/proc`. Elsewhere than on Linux there is nothing to say.

use std::fs;

use super::Registry;

/// Registers `process_*`, which are looked at whenever somebody asks.
pub(super) fn watch(registry: &Registry) {
    let Some(started_ms) = started_ms() else { return };
    let gauge = |name, help| registry.gauge(name, help, &[]);
    let resident = gauge("process_resident_memory_bytes", "Resident memory.");
    let virtual_ = gauge("process_virtual_memory_bytes", "Virtual memory.");
    let open_fds = gauge("process_open_fds", "Open file descriptors.");
    let max_fds = gauge("process_max_fds", "File descriptors that may be open.");
    let threads = gauge("process_threads", "Threads.");
    let cpu = registry.seconds_counter(
        "process_cpu_seconds_total",
        "Processor time, in user and in system mode.",
        &[],
    );
    let help = "Unix time of the start.";
    registry.seconds_gauge("process_start_time_seconds", help, &[]).set_ms(started_ms);
    registry.before_reading(move || {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |key| field(&status, key).map_or(0, |kib| kib.saturating_mul(1024));
        resident.set_size(kib("VmRSS:"));
        virtual_.set_size(kib("VmSize:"));
        threads.set_size(field(&status, "Threads:").unwrap_or(0));
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // Unlimited is no number, and then there is nothing to compare with.
        max_fds.set_size(field(&limits, "Max open files").unwrap_or(0));
        // One of them is the reading itself.
        let fds = fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1));
        open_fds.set_size(fds as u64);
        cpu.raise_to(cpu_ms().unwrap_or(0));
    });
}

/// The first number behind `key`.
fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn cpu_ms() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Fields 14 and 15 of proc(5).
    let (user, system) = (stat_field(&stat, 14)?, stat_field(&stat, 15)?);
    Some(ticks_to_ms(user + system))
}

fn started_ms() -> Option<i64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let boot_s = field(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    let since_boot_ms = ticks_to_ms(stat_field(&stat, 22)?);
    i64::try_from(boot_s * 1000 + since_boot_ms).ok()
}

/// Counted from 1. The second is the program's name, which may hold spaces and parentheses.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn ticks_to_ms(ticks: u64) -> u64 {
    ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1)
}
