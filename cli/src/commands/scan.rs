//! `provost scan`: checks manifests in files, offline.
//!
//! settings (flags, then `.provost.yaml`) -> policies -> documents -> verdicts -> report. What
//! could not be read or evaluated is told on stderr in every output format and wins the exit code.

mod evaluate;
mod json;
mod policies;
mod pretty;
mod progress;
mod report;
mod settings;
mod written;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::ValueEnum;
use provost_manifests::load;
use provost_model::Severity;

use crate::commands::root::chain;
use crate::exit::{Exit, UsageError};
use crate::output::{Style, error_label, paint_error, printable};
use policies::Set;
use report::Report;
use settings::Settings;

/// Check YAML and JSON manifests against policies, offline.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Files and folders; `-` is standard input.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Policy folder or built bundle to use in place of the built-in library; may be repeated.
    #[arg(long = "policy", value_name = "FOLDER")]
    policies: Vec<PathBuf>,
    /// Check the signatures of bundles against this root; without it only their files are checked.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Only these policies, by id or code; may be repeated.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    policy_id: Vec<String>,
    /// Leave out paths that fit the pattern, such as `vendor` or `charts/**`; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Namespace of objects that name none; never replaces a written one.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Exit with 1 from this severity on: info, low, medium, high or critical [default: low].
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t = Format::Pretty)]
    output: Format,
    /// Settings file in place of the `.provost.yaml` that is found upwards from the first path.
    #[arg(long, value_name = "FILE", conflicts_with = "no_config")]
    config: Option<PathBuf>,
    /// Read no settings file.
    #[arg(long)]
    no_config: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Pretty,
    /// One document with findings, verdicts, problems, what was not evaluated, and counts.
    Json,
    /// One finding a line.
    Jsonl,
}

const EXAMPLES: &str = "\
Examples:
  provost scan deploy/
  provost scan --fail-on high --exclude '**/testdata' .
  helm template my-chart | provost scan --namespace shop -
  provost scan --policy ./policies --policy-id privileged-container app.yaml
  provost scan --policy ./bundle --root root.json deploy/
  provost scan -o jsonl . | jq -r 'select(.severity == \"critical\") | .file'

Read in folders: .yaml, .yml and .json files. Skipped there without a word: every other file, what is
hidden (its name begins with a dot), pipes and devices. What is named as a PATH is read whatever it is.

Settings file (.provost.yaml, found upwards from the first path; flags win):
  policies: [./policies]        # folders or bundles, from the file's own folder
  root: root.json               # signatures of bundles are checked against it
  policyIds: [privileged-container]
  exclude: [vendor, 'charts/**']
  namespace: shop
  failOn: medium

Exit codes:
  0  nothing to complain about
  1  violations at or over --fail-on
  2  wrong call or settings
  3  something could not be read or evaluated; wins over 1";

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let settings = settings::resolve(args)?;
    let sets = policies(&settings)?;
    if settings.paths.iter().any(|path| path.as_os_str() == "-") && io::stdin().is_terminal() {
        eprintln!(
            "{}",
            paint_error(Style::Dim, "reading manifests from the terminal; end with Ctrl-D")
        );
    }
    let progress = progress::Progress::new();
    progress.reading();
    let loaded = load(&provost_manifests::Options {
        paths: settings.paths.clone(),
        exclude: settings.exclude.clone(),
        namespace: settings.namespace.clone(),
        keep_texts: settings.output == Format::Pretty,
    });
    let evaluated = evaluate::evaluate(&sets, &loaded.documents, &progress);
    progress.done();
    let report = Report::new(&settings, &sets, loaded, evaluated);
    print(&report, settings.output)?;
    Ok(report.exit())
}

/// Reads the policies, and says once what was not checked of them.
fn policies(settings: &Settings) -> anyhow::Result<Vec<Set>> {
    let root = settings.root.as_deref().map(chain::trusted).transpose()?;
    let loaded = policies::load(&settings.policies, &settings.policy_ids, root.as_ref())?;
    if settings.is_root_asked_for && loaded.signed == 0 {
        let message = "a root was given, and no bundle to check against it: name one with --policy";
        return Err(UsageError(message.to_owned()).into());
    }
    if !loaded.unsigned.is_empty() {
        eprintln!(
            "{} the signatures of {} were not checked: give --root root.json",
            paint_error(Style::Yellow, "warning:"),
            printable(&loaded.unsigned.join(", "))
        );
    }
    Ok(loaded.sets)
}

fn print(report: &Report, format: Format) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match format {
        Format::Pretty => pretty::write(&mut out, report),
        Format::Json => json::write_document(&mut out, report),
        Format::Jsonl => json::write_lines(&mut out, report),
    };
    match written.and_then(|()| out.flush()) {
        // Who reads has seen enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    for problem in &report.problems {
        eprintln!("{} {}", error_label(), printable(&problem.text()));
        eprintln!("  {} {}", paint_error(Style::Dim, "help:"), problem.hint);
    }
    for warning in &report.warnings {
        eprintln!("{} {warning}", paint_error(Style::Yellow, "warning:"));
    }
    Ok(())
}
