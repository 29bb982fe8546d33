//! `provost fleet findings`.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::table::{left, table, text};
use crate::exit::{Exit, UsageError};
use crate::hub::{Hub, HubArgs, encode};
use crate::output;

/// Rows that a terminal gets unless --limit or --all says otherwise.
const PRETTY_LIMIT: usize = 50;

/// List findings, worst first.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet findings
  provost fleet findings --min-severity high --cluster 'prod-*'
  provost fleet findings --policy privileged-container -o jsonl | wc -l
  provost fleet findings --state closed --namespace shop --all

Exits 0 whatever is found; 'provost fleet status' has an opinion.")]
pub struct Args {
    /// open (default), fail, warn, exempt, stale or closed; several, separated by commas.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// critical, high, medium, low, info; several, separated by commas.
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<String>,
    /// This severity or worse.
    #[arg(long, value_name = "SEVERITY")]
    min_severity: Option<String>,
    /// Name or id; `*` stands for any run of characters.
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Policy id.
    #[arg(long, value_name = "ID")]
    policy: Option<String>,
    /// `-` means cluster-scoped objects.
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    namespace: Option<String>,
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Owning template of a cause, such as 'Deployment shop'.
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Part of name, message or path.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// At most so many rows. Default: 50 for people, all for json and jsonl.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<usize>,
    /// All rows.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    server: HubArgs,
    /// How to print the result.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Pretty, value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Pretty,
    Json,
    /// One finding a line.
    Jsonl,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let hub = Hub::open(&args.server)?;
    if let Some(clusters) = &args.cluster {
        must_exist(&hub, clusters)?;
    }
    let query = args.query();
    let path = format!("/api/v1/findings?{query}");
    let path = path.trim_end_matches('?');
    let limit = match (args.output, args.all, args.limit) {
        (_, _, Some(limit)) => Some(limit),
        (Format::Pretty, false, None) => Some(PRETTY_LIMIT),
        _ => None,
    };
    let mut rows = Vec::new();
    hub.pages(path, limit, |finding| {
        if args.output == Format::Jsonl {
            println!("{finding}");
        } else {
            rows.push(finding);
        }
        Ok(())
    })?;
    match args.output {
        Format::Jsonl => {}
        Format::Json => output::json(&json!({"version": 1, "findings": rows}))?,
        Format::Pretty => {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page: Value = hub.get(&format!("{path}{joint}limit=1"))?;
            print(&rows, super::table::count(&page, "/total"));
        }
    }
    Ok(Exit::Clean)
}

/// No finding in a cluster that does not exist would say nothing of any cluster. A pattern may fit none.
fn must_exist(hub: &Hub, clusters: &str) -> anyhow::Result<()> {
    let names = clusters.split(',').map(str::trim).filter(|name| !name.is_empty());
    for wanted in names.filter(|name| !name.contains('*')) {
        let is_id = wanted.parse::<provost_model::ClusterId>().is_ok();
        let (path, key) = match is_id {
            true => ("/api/v1/clusters".to_owned(), "/id"),
            false => (format!("/api/v1/clusters?name={}", encode(wanted)), "/name"),
        };
        if !hub.all(&path)?.iter().any(|cluster| text(cluster, key) == wanted) {
            let message =
                format!("the hub knows no cluster {wanted}: see 'provost fleet clusters'");
            return Err(UsageError(message).into());
        }
    }
    Ok(())
}

impl Args {
    fn query(&self) -> String {
        let fields = [
            ("state", &self.state),
            ("severity", &self.severity),
            ("minSeverity", &self.min_severity),
            ("cluster", &self.cluster),
            ("policy", &self.policy),
            ("namespace", &self.namespace),
            ("kind", &self.kind),
            ("template", &self.template),
            ("fingerprint", &self.fingerprint),
            ("q", &self.text),
        ];
        fields
            .iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", encode(value.as_deref()?))))
            .collect::<Vec<_>>()
            .join("&")
    }
}

fn print(findings: &[Value], total: u64) {
    if findings.is_empty() {
        println!("no finding matches");
        return;
    }
    let mut rows = table(&["state", "severity", "policy", "cluster", "object", "what is wrong"]);
    for finding in findings {
        let policy = match text(finding, "/code") {
            "" => text(finding, "/policy"),
            code => code,
        };
        rows.add_row(vec![
            left(text(finding, "/state")),
            left(text(finding, "/severity")),
            left(policy),
            left(text(finding, "/clusterName")),
            left(&object(finding)),
            left(text(finding, "/message")),
        ]);
    }
    println!("{rows}");
    let shown = u64::try_from(findings.len()).unwrap_or(u64::MAX);
    if shown < total {
        println!("{shown} of {total}; --all shows every row");
    } else {
        println!("{total} in all");
    }
}

fn object(finding: &Value) -> String {
    let (kind, namespace, name) = (
        text(finding, "/subject/kind"),
        text(finding, "/subject/namespace"),
        text(finding, "/subject/name"),
    );
    match namespace {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}
