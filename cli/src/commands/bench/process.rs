//! What a process has used, as Linux counts it in `/proc`.

use std::fs;

use anyhow::{Context as _, bail};

/// `/proc` counts CPU time in ticks of 1/100 s on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub resident_bytes: u64,
    pub peak_resident_bytes: u64,
    /// User and system.
    pub cpu_s: f64,
}

pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let status = read("status").context("cannot read /proc: figures of processes need Linux")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse::<u64>().ok()).map(|kib| kib * 1024)
    };
    let stat = read("stat")?;
    // The name of the program may hold anything; the fields after it are counted from its end.
    let Some((_, fields)) = stat.rsplit_once(')') else { bail!("/proc/{pid}/stat is odd") };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = (ticks(11), ticks(12));
    Ok(Usage {
        resident_bytes: field("VmRSS:").context("no VmRSS")?,
        peak_resident_bytes: field("VmHWM:").context("no VmHWM")?,
        cpu_s: (user.context("no utime")? + system.context("no stime")?) / TICKS_PER_SECOND,
    })
}

/// Load of the machine over the last minute: what else ran beside the measurement.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(usage.peak_resident_bytes >= usage.resident_bytes / 2, "{usage:?}");
        assert!(usage.cpu_s >= 0.0);
        assert!(load() >= 0.0);
    }
}
