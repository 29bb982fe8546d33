//! `provost doctor`: checks what an installation needs and says what to do.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use provost_runtime::clock::{Clock as _, System};
use serde::Serialize;
use serde_json::{Value, json};

use super::agent;
use crate::commands::root::chain;
use crate::exit::Exit;
use crate::hub::{Asked, Hub, HubArgs, plain};
use crate::lifetime;
use crate::output::{self, Format, Style, paint};

/// Clocks that differ by more than this make signed times look wrong.
const MAX_CLOCK_DIFFERENCE_S: i64 = 60;
/// A root that ends within this needs people with keys soon.
const ROOT_WARNING_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Check this installation.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost doctor
  provost doctor --server https://hub.example:8080 --token-file hub.token
  provost doctor --root root.json --key policy.key.json -o json
Exits 1 when a check fails; each says what to do.")]
pub struct Args {
    /// Root file to look at.
    #[arg(long, default_value = "root.json", value_name = "FILE")]
    root: PathBuf,
    /// Private keys whose permissions to check; may be repeated.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    hub: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
    /// Not asked for, or cannot be checked without another.
    Skip,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    help: String,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { name, verdict, detail: detail.into(), help: String::new() }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut checks = vec![configuration(&args.hub.server)];
    checks.extend(private_files(args));
    checks.push(root_file(&args.root));
    checks.push(program("agent", agent::PROGRAM));
    checks.push(program("hub program", "provost-aggregator"));
    checks.extend(hub(&args.hub.server));
    match args.hub.format() {
        Format::Json => output::json(&json!({"version": 1, "checks": checks}))?,
        Format::Pretty => checks.iter().for_each(print),
    }
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { Exit::Violations } else { Exit::Clean })
}

fn print(check: &Check) {
    let word = match check.verdict {
        Verdict::Ok => paint(Style::Green, "ok  "),
        Verdict::Warn => paint(Style::Yellow, "warn"),
        Verdict::Fail => paint(Style::Red, "FAIL"),
        Verdict::Skip => paint(Style::Dim, "skip"),
    };
    println!("{word} {:14} {}", check.name, plain(&check.detail));
    if !check.help.is_empty() {
        println!("     {:14} {}", "", check.help);
    }
}

fn configuration(args: &HubArgs) -> Check {
    let path = args.config_path();
    let shown = path.as_ref().map_or_else(|| "none".to_owned(), |p| p.display().to_string());
    match args.settle() {
        Ok(settings) => {
            Check::new("configuration", Verdict::Ok, format!("hub {}", settings.server))
        }
        Err(error) => Check::new("configuration", Verdict::Skip, format!("{error:#}"))
            .help(format!("the configuration file would be {shown}")),
    }
}

/// The token file and the keys: nobody else may read them.
fn private_files(args: &Args) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Ok(Some(path)) = args.hub.server.token_path() {
        checks.push(private("token file", &path));
    }
    checks.extend(args.keys.iter().map(|path| private("private key", path)));
    checks
}

fn private(name: &'static str, path: &Path) -> Check {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Check::new(name, Verdict::Fail, format!("{}: {error}", path.display()))
                .help("name a file that exists and that you may read");
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let detail = format!("{} has mode {mode:o}: others can read it", path.display());
        return Check::new(name, Verdict::Fail, detail)
            .help(format!("chmod 600 {}; then have the secret replaced", path.display()));
    }
    let detail = format!("{} mode {mode:o}, owner {}", path.display(), metadata.uid());
    Check::new(name, Verdict::Ok, detail)
}

fn root_file(path: &Path) -> Check {
    const NAME: &str = "root";
    if !path.exists() {
        return Check::new(NAME, Verdict::Skip, format!("{} is not here", path.display()))
            .help("give --root FILE, or make one with 'provost root init'");
    }
    let expires = match chain::read(path).map(|chain| chain.latest.expires) {
        Ok(expires) => expires,
        Err(error) => {
            return Check::new(NAME, Verdict::Fail, format!("{error:#}"))
                .help("see 'provost root show'");
        }
    };
    if let Err(error) = chain::trusted(path) {
        return Check::new(NAME, Verdict::Fail, format!("{error:#}"))
            .help("see 'provost root show'");
    }
    let now = lifetime::now();
    if now >= expires {
        return Check::new(NAME, Verdict::Fail, format!("it expired {expires}"))
            .help("nothing new is accepted under it: make the next version and sign it");
    }
    let detail = format!("{} until {expires}", path.display());
    if expires.unix_ms() - now.unix_ms() < ROOT_WARNING_MS {
        return Check::new(NAME, Verdict::Warn, detail).help("make and sign the next version soon");
    }
    Check::new(NAME, Verdict::Ok, detail)
}

/// A daemon of ours beside this program: it should be of the same version.
fn program(name: &'static str, file: &str) -> Check {
    let Some(path) = agent::beside(file) else {
        return Check::new(name, Verdict::Skip, format!("{file} is not beside this program"));
    };
    let own = env!("CARGO_PKG_VERSION");
    match Command::new(&path).arg("--version").output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if text.split_whitespace().last() == Some(own) {
                return Check::new(name, Verdict::Ok, text);
            }
            Check::new(name, Verdict::Warn, format!("{text}, and this is {own}"))
                .help("install the same version of both")
        }
        Ok(_) => Check::new(name, Verdict::Fail, format!("{} does not start", path.display()))
            .help("install it again"),
        Err(error) => Check::new(name, Verdict::Fail, format!("{}: {error}", path.display()))
            .help("install it again"),
    }
}

fn hub(args: &HubArgs) -> Vec<Check> {
    if args.settle().is_err() {
        return vec![Check::new("hub", Verdict::Skip, "no hub to ask")];
    }
    let hub = match Hub::open(args) {
        Ok(hub) => hub,
        Err(error) => return vec![Check::new("hub", Verdict::Fail, format!("{error:#}"))],
    };
    let date = match hub.health() {
        Ok(date) => date,
        Err(error) => {
            let error = anyhow::Error::new(error);
            return vec![Check::new("hub", Verdict::Fail, format!("{error:#}"))];
        }
    };
    let mut checks = vec![Check::new("hub", Verdict::Ok, format!("{} answers", hub.base()))];
    checks.push(clock(date.as_deref()));
    match hub.get::<Value>("/api/v1/hub") {
        Ok(facts) => checks.extend(versions(&facts)),
        Err(error) => {
            let error = anyhow::Error::new(error);
            checks.push(Check::new("token", Verdict::Fail, format!("{error:#}")));
        }
    }
    checks
}

/// By the `Date` of the hub's answer, which says whole seconds.
fn clock(date: Option<&str>) -> Check {
    const NAME: &str = "clock";
    let parsed = date.and_then(|date| {
        time::OffsetDateTime::parse(
            &date.replace("GMT", "+0000"),
            &time::format_description::well_known::Rfc2822,
        )
        .ok()
    });
    let Some(hub) = parsed else {
        return Check::new(NAME, Verdict::Skip, "the hub says no time");
    };
    let difference_s = System::new().wall_ms() / 1000 - hub.unix_timestamp();
    let detail = format!("{difference_s} s from the hub's");
    if difference_s.abs() > MAX_CLOCK_DIFFERENCE_S {
        return Check::new(NAME, Verdict::Fail, detail).help(
            "set the clock of this machine or of the hub; objects signed here carry its time",
        );
    }
    Check::new(NAME, Verdict::Ok, detail)
}

fn versions(facts: &Value) -> Vec<Check> {
    let text = |pointer: &str| facts.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let own = env!("CARGO_PKG_VERSION");
    let mut checks = vec![Check::new("token", Verdict::Ok, "the hub knows it")];
    checks.push(if text("/version") == own {
        Check::new("version", Verdict::Ok, format!("hub and this command are {own}"))
    } else {
        let detail = format!("the hub is {}, this command {own}", text("/version"));
        Check::new("version", Verdict::Warn, detail).help("upgrade the hub first, then the rest")
    });
    checks.push(match facts.pointer("/rootVersion").and_then(Value::as_u64) {
        Some(version) => Check::new("hub's root", Verdict::Ok, format!("version {version}")),
        None => Check::new("hub's root", Verdict::Warn, "none yet")
            .help("publish a bundle: 'provost bundle publish BUNDLE --root root.json'"),
    });
    checks
}
