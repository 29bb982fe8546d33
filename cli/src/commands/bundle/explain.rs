//! `provost bundle explain`.

use std::path::PathBuf;

use provost_bundle::explain::{BindingExplanation, PolicyExplanation, Standing, explain};
use provost_model::{Match, PolicyId};
use serde_json::json;

use crate::commands::bundle::open;
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format, Output, Style, paint};

/// Show which bindings a cluster would put in force, and why.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost bundle explain policies --label tier=edge
  provost bundle explain bundle --label tier=edge --policy-id privileged-container -o json")]
pub struct Args {
    /// A policy tree, or a bundle that was built from one.
    #[arg(value_name = "POLICIES|BUNDLE")]
    path: PathBuf,
    /// A granted label of the cluster; may be repeated.
    #[arg(long = "label", value_parser = open::label, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
    /// Only this policy; may be repeated.
    #[arg(long = "policy-id", value_name = "ID")]
    policy_ids: Vec<PolicyId>,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let bundle = open::either(&args.path)?;
    if let Some(id) = args.policy_ids.iter().find(|id| bundle.policy(id).is_none()) {
        return Err(UsageError(format!("there is no policy {id}")).into());
    }
    let mut explanations = explain(&bundle, &open::labels(&args.labels));
    if !args.policy_ids.is_empty() {
        explanations.retain(|explanation| args.policy_ids.contains(&explanation.policy));
    }
    match args.output.format {
        Format::Json => output::json(&json!({"version": 1, "policies": explanations}))?,
        Format::Pretty => explanations.iter().for_each(pretty),
    }
    Ok(Exit::Clean)
}

fn pretty(explanation: &PolicyExplanation) {
    println!(
        "{} {} {}",
        paint(Style::Bold, &explanation.policy),
        explanation.severity,
        paint(Style::Dim, &explanation.title)
    );
    for binding in &explanation.bindings {
        let (mark, style) = match binding.standing {
            Standing::Active | Standing::Fallback => ("+", Style::Green),
            Standing::Inactive | Standing::Off => ("!", Style::Yellow),
            Standing::NotSelected | Standing::Superseded => ("-", Style::Dim),
        };
        println!(
            "  {} {:20} {:6} {}",
            paint(style, mark),
            binding.binding.as_str(),
            binding.action,
            binding.reason
        );
        for detail in details(binding) {
            println!("      {}", paint(Style::Dim, detail));
        }
    }
}

fn details(binding: &BindingExplanation) -> Vec<String> {
    let mut details = Vec::new();
    let Match { clusters: _, namespaces, excluded_namespaces, kinds, labels } = &binding.matches;
    if !namespaces.is_empty() {
        details.push(format!("namespaces {}", namespaces.join(", ")));
    }
    if !excluded_namespaces.is_empty() {
        details.push(format!("without namespaces {}", excluded_namespaces.join(", ")));
    }
    for selector in kinds {
        details.push(format!("kinds {} of group {:?}", selector.kinds.join(", "), selector.group));
    }
    if !labels.is_empty() {
        details.push(format!("objects with {}", json!(labels)));
    }
    if !binding.parameters.is_empty() {
        details.push(format!("parameters {}", json!(binding.parameters)));
    }
    details
}
