//! `provost bundle verify`: the checks of an agent, one after the other, as far as they can be made
//! without one.

use std::path::PathBuf;

use provost_bundle::{VerifiedBundle, layout};
use provost_model::{Code, Labels};
use provost_trust::manifest::{self, EngineVersion};
use provost_trust::{Error, Timestamp};
use serde_json::{Value, json};

use crate::commands::bundle::{advice, open};
use crate::commands::root::chain;
use crate::exit::Exit;
use crate::lifetime;
use crate::output::{self, Format, Output, Style, counted, paint};

/// Check a bundle as an agent would: signatures, dates, scope, every byte of every file.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost bundle verify bundle --root root.json
  provost bundle verify bundle --root root.json --label tier=edge --label ring=canary
      also asks whether it is meant for a cluster with these labels, and now
Exits 1 when the bundle is refused.")]
pub struct Args {
    /// A folder that 'provost bundle build' wrote.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The root that says who may sign.
    #[arg(long, default_value = "root.json", value_name = "FILE")]
    root: PathBuf,
    /// A label of the cluster to ask for; may be repeated.
    #[arg(long = "label", value_parser = open::label, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
    /// The time to ask for, instead of now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    output: Output,
}

/// What was found, in the order it was asked.
#[derive(Default)]
struct Report {
    passed: Vec<(&'static str, String)>,
    refusal: Option<(Code, String)>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut report = Report::default();
    if let Err((code, message)) = check(args, &mut report)? {
        report.refusal = Some((code, message));
    }
    match args.output.format {
        Format::Json => output::json(&report.json())?,
        Format::Pretty => report.print(),
    }
    Ok(if report.refusal.is_none() { Exit::Clean } else { Exit::Violations })
}

type Checked = Result<(), (Code, String)>;

fn check(args: &Args, report: &mut Report) -> anyhow::Result<Checked> {
    let root = chain::trusted(&args.root)?;
    // A folder that cannot even be read as a bundle is refused like any other.
    let dir = match open::built(&args.bundle) {
        Ok(dir) => dir,
        Err(error) => match refusal_in(&error) {
            Some(refusal) => return Ok(Err(refusal)),
            None => return Err(error),
        },
    };
    let strays = layout::strays(&args.bundle, &dir)?;
    let now = args.at.unwrap_or_else(lifetime::now);
    let labels = (!args.labels.is_empty()).then(|| open::labels(&args.labels));
    let checked = || -> Result<(), Error> {
        let manifest = manifest::verify(&root, &dir.envelope)?;
        let signers: Vec<String> = manifest.signers().iter().map(|key| key.short()).collect();
        report.pass("signatures", format!("policy keys {}", signers.join(", ")));
        report.pass("manifest", format!("{} version {}", manifest.channel, manifest.version));
        root.check_expiry(now)?;
        manifest.check_expiry(now)?;
        report.pass(
            "dates",
            format!("root until {}, bundle until {}", root.root().expires, manifest.expires),
        );
        if let Some(labels) = &labels {
            let ring = check_place(&manifest, labels, now)?;
            report.pass("scope", ring);
        }
        manifest.check_engine(EngineVersion::running())?;
        if let Some(stray) = strays.into_iter().next() {
            return Err(Error::FileUnexpected { path: stray });
        }
        let bundle = VerifiedBundle::new(manifest, dir.contents)?;
        report.pass("files", format!("{}, each with its digest", bundle.contents().files.len()));
        report.loaded(&bundle);
        Ok(())
    };
    Ok(checked().map_err(|error| (error.code(), error.to_string())))
}

fn check_place(
    manifest: &provost_trust::PolicyManifest,
    labels: &Labels,
    now: Timestamp,
) -> Result<String, Error> {
    manifest.check_scope(labels)?;
    manifest.check_ring(labels, now)?;
    Ok(manifest.ring(labels).map_or_else(
        || "it is meant for the cluster".to_owned(),
        |ring| format!("it is meant for the cluster, in ring {}", ring.name),
    ))
}

/// The refusal of a security object that stands behind an error, if one does.
fn refusal_in(error: &anyhow::Error) -> Option<(Code, String)> {
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Error>())?;
    Some((refusal.code(), refusal.to_string()))
}

impl Report {
    fn pass(&mut self, check: &'static str, text: String) {
        self.passed.push((check, text));
    }

    fn loaded(&mut self, bundle: &VerifiedBundle) {
        match bundle.load() {
            Ok(loaded) => {
                let (policies, bindings) = (loaded.policies.len(), loaded.bindings.len());
                let policies = counted(policies, "policy", "policies");
                let bindings = counted(bindings, "binding", "bindings");
                self.pass("contents", format!("{policies}, {bindings}"));
            }
            Err(mistakes) => {
                if let Some(mistake) = mistakes.first() {
                    self.refusal = Some((mistake.code, mistake.to_string()));
                }
            }
        }
    }

    fn json(&self) -> Value {
        let passed: Vec<Value> = self
            .passed
            .iter()
            .map(|(check, text)| json!({"check": check, "detail": text}))
            .collect();
        let refusal = self.refusal.as_ref();
        json!({
            "version": 1,
            "valid": refusal.is_none(),
            "passed": passed,
            "refusal": refusal.map(|(code, text)| json!({"code": code, "message": text, "help": advice::on(*code)})),
        })
    }

    fn print(&self) {
        for (check, text) in &self.passed {
            println!("{} {check:10} {text}", paint(Style::Green, "ok"));
        }
        match &self.refusal {
            None => println!("{}", paint(Style::Green, "the bundle is valid")),
            Some((code, text)) => {
                println!("{} {code}: {text}", paint(Style::Red, "refused"));
                if let Some(advice) = advice::on(*code) {
                    println!("        {advice}");
                }
            }
        }
    }
}
