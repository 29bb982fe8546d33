//! `provost fleet status`: the roll-up, with who is stale.

mod by;

use serde_json::Value;

use super::decide::find_cluster;
use super::table::{count, left, percent, right, span, table, text};
use crate::exit::{Exit, UsageError};
use crate::hub::{Asked, Hub, plain};
use crate::output::{self, Format, Style, paint};
use by::By;

/// Show how the fleet, or one cluster, stands.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  provost fleet status
  provost fleet status --cluster prod-eu-03
  provost fleet status --by policy
  provost fleet status --by namespace --cluster prod-eu-03
  provost fleet status --by control -o json | jq '.items[] | select(.score < 1)'

Exits 0 when every cluster was heard and nothing is open, 1 when findings are open, and 3 when not
everything is known: a cluster is stale or has not reported whole yet, its agent cannot read,
evaluate or record everything, records are missing, or a policy failed to evaluate.")]
pub struct Args {
    /// One cluster, by name or id.
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// One row for each of these.
    #[arg(long, value_enum, default_value_t = By::Fleet)]
    by: By,
    #[command(flatten)]
    hub: Asked,
}

const STATES: [(&str, &str); 8] = [
    ("pass", "/states/pass"),
    ("fail", "/states/fail"),
    ("warn", "/states/warn"),
    ("error", "/states/error"),
    ("skip", "/states/skip"),
    ("exempt", "/states/exempt"),
    ("not evaluated", "/states/notEvaluated"),
    ("stale", "/states/stale"),
];

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.cluster.is_some() && !matches!(args.by, By::Fleet | By::Namespace) {
        let message =
            "--by cluster, policy and control are of the whole fleet: leave --cluster away";
        return Err(UsageError(message.to_owned()).into());
    }
    let hub = args.hub.open()?;
    let (whole, exit) = match &args.cluster {
        Some(name) => {
            let id = text(&find_cluster(&hub, name)?, "/id").to_owned();
            let detail: Value = hub.get(&format!("/api/v1/clusters/{id}"))?;
            let exit = judge_cluster(&detail);
            (detail, exit)
        }
        None => {
            let fleet: Value = hub.get("/api/v1/fleet")?;
            let exit = judge(&fleet);
            (fleet, exit)
        }
    };
    let document = match args.by {
        By::Fleet => whole,
        By::Cluster => by::clusters(&hub)?,
        By::Namespace => by::namespaces(&hub, &ids(&hub, &whole)?)?,
        By::Policy => hub.get("/api/v1/rollups/policies")?,
        By::Control => hub.get("/api/v1/rollups/controls")?,
    };
    match (args.hub.format(), args.by) {
        (Format::Json, _) => output::json(&document)?,
        (Format::Pretty, By::Fleet) if args.cluster.is_some() => print_cluster(&document),
        (Format::Pretty, By::Fleet) => print_fleet(&document),
        (Format::Pretty, by) => println!("{}", by::shown(by, &document)),
    }
    Ok(exit)
}

/// The cluster that `whole` is about, or every approved one.
fn ids(hub: &Hub, whole: &Value) -> anyhow::Result<Vec<String>> {
    let clusters = match whole.pointer("/cluster") {
        Some(cluster) => vec![cluster.clone()],
        None => hub.all("/api/v1/clusters?state=approved")?,
    };
    Ok(clusters.iter().map(|cluster| text(cluster, "/id").to_owned()).collect())
}

fn judge(fleet: &Value) -> Exit {
    let unknown = count(fleet, "/clusters/stale")
        + count(fleet, "/clusters/withoutSnapshot")
        + count(fleet, "/clusters/impaired")
        + count(fleet, "/undeclaredGaps")
        + count(fleet, "/states/error");
    if unknown > 0 {
        Exit::Incomplete
    } else if count(fleet, "/openFindings") > 0 {
        Exit::Violations
    } else {
        Exit::Clean
    }
}

fn judge_cluster(detail: &Value) -> Exit {
    let fresh = detail.pointer("/cluster/fresh").and_then(Value::as_bool).unwrap_or(false);
    let open: u64 = detail
        .pointer("/cluster/open")
        .and_then(Value::as_object)
        .map_or(0, |open| open.values().filter_map(Value::as_u64).sum());
    let is_whole = fresh
        && !text(detail, "/cluster/snapshot").is_empty()
        && list(detail, "/impaired").is_empty()
        && undeclared_gaps(detail) == 0
        && count(detail, "/cluster/states/error") == 0;
    if !is_whole {
        Exit::Incomplete
    } else if open > 0 {
        Exit::Violations
    } else {
        Exit::Clean
    }
}

/// Of a cluster; those that something resolved since are no matter.
fn undeclared_gaps(detail: &Value) -> usize {
    let is_open = |gap: &&Value| {
        gap.pointer("/declared").and_then(Value::as_bool) == Some(false)
            && gap.get("resolved").is_none()
    };
    list(detail, "/gaps").iter().filter(is_open).count()
}

fn print_fleet(fleet: &Value) {
    println!(
        "{} of {} clusters reporting, {} stale, {} not reported whole yet, {} waiting for approval",
        count(fleet, "/clusters/fresh"),
        count(fleet, "/clusters/approved"),
        count(fleet, "/clusters/stale"),
        count(fleet, "/clusters/withoutSnapshot"),
        count(fleet, "/clusters/pending"),
    );
    println!(
        "score {}  coverage {}  freshness {}  as of {}",
        percent(fleet, "/score"),
        percent(fleet, "/coverage"),
        percent(fleet, "/freshness"),
        text(fleet, "/asOf"),
    );
    println!(
        "{} open findings of {} causes, {} undeclared gaps\n",
        count(fleet, "/openFindings"),
        count(fleet, "/causes"),
        count(fleet, "/undeclaredGaps"),
    );
    print_states(fleet);
    let away = list(fleet, "/away");
    if !away.is_empty() {
        println!(
            "\n{}",
            paint(Style::Bold, "Not heard, or quarantined; their last verdicts count as stale")
        );
        for cluster in away {
            let age = cluster.pointer("/ageMs").and_then(Value::as_i64);
            let heard = age
                .map_or_else(|| "never heard".to_owned(), |ms| format!("heard {} ago", span(ms)));
            let quarantined = cluster.pointer("/quarantined").and_then(Value::as_bool);
            let why = if quarantined == Some(true) { ", quarantined" } else { "" };
            println!("  {}  {heard}{why}", plain(text(cluster, "/name")));
        }
    }
    let blind = list(fleet, "/impaired");
    if !blind.is_empty() {
        println!("\n{}", paint(Style::Bold, "Heard, and not telling everything"));
        for part in blind {
            println!("  {}  {}", plain(text(part, "/name")), unwell(part));
        }
    }
    let worst = list(fleet, "/worst");
    if !worst.is_empty() {
        println!("\n{}", paint(Style::Bold, "Worst causes"));
        let mut rows =
            table(&["severity", "policy", "cause", "template", "clusters", "findings", "stale"]);
        for cause in worst {
            rows.add_row(vec![
                left(text(cause, "/severity")),
                left(text(cause, "/code")),
                left(text(cause, "/title")),
                left(text(cause, "/template")),
                right(count(cause, "/clusters")),
                right(count(cause, "/findings")),
                right(count(cause, "/stale")),
            ]);
        }
        println!("{rows}");
    }
}

fn print_cluster(detail: &Value) {
    let cluster = detail.pointer("/cluster").unwrap_or(&Value::Null);
    println!(
        "{} {}  {}",
        paint(Style::Bold, plain(text(cluster, "/name"))),
        text(cluster, "/id"),
        super::clusters::state(cluster),
    );
    println!(
        "score {}  coverage {}  last heard {}",
        percent(cluster, "/score"),
        percent(cluster, "/coverage"),
        match text(cluster, "/lastHeard") {
            "" => "never",
            time => time,
        },
    );
    println!(
        "bundle {} version {}, agent {}\n",
        text(cluster, "/bundle").get(..12).unwrap_or("none"),
        count(cluster, "/bundleVersion"),
        plain(text(cluster, "/agentVersion")),
    );
    print_states(cluster);
    let unknown = |what: &str| println!("{} {what}", paint(Style::Red, "not everything is known"));
    for part in list(detail, "/impaired") {
        unknown(&unwell(part));
    }
    if text(cluster, "/snapshot").is_empty() {
        unknown("it has not reported whole yet");
    }
    match undeclared_gaps(detail) {
        0 => {}
        gaps => unknown(&format!("records are missing in {gaps} places, undeclared")),
    }
    for alarm in list(detail, "/alarms") {
        if alarm.get("resolved").is_none() {
            let label = paint(Style::Red, text(alarm, "/code"));
            println!("{label} {}", plain(text(alarm, "/detail")));
        }
    }
}

fn unwell(part: &Value) -> String {
    format!("{}: {}", plain(text(part, "/capability")), plain(text(part, "/detail")))
}

fn print_states(value: &Value) {
    let mut rows = table(&["state", "verdicts"]);
    for (name, pointer) in STATES {
        rows.add_row(vec![left(name), right(count(value, pointer))]);
    }
    println!("{rows}");
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_wins_over_what_is_open() {
        let fleet = |stale: u64, gaps: u64, open: u64, error: u64| json!({"clusters": {"stale": stale}, "undeclaredGaps": gaps, "openFindings": open, "states": {"error": error}});
        assert_eq!(judge(&fleet(0, 0, 0, 0)), Exit::Clean);
        assert_eq!(judge(&fleet(0, 0, 5, 0)), Exit::Violations);
        assert_eq!(judge(&fleet(1, 0, 5, 0)), Exit::Incomplete);
        assert_eq!(judge(&fleet(0, 1, 0, 0)), Exit::Incomplete);
        assert_eq!(judge(&fleet(0, 0, 0, 1)), Exit::Incomplete);
        let mut blind = fleet(0, 0, 0, 0);
        blind["clusters"]["impaired"] = 1.into();
        assert_eq!(judge(&blind), Exit::Incomplete);
    }

    #[test]
    fn a_stale_cluster_is_never_clean() {
        let snapshot = "2026-11-22T05:00:00Z";
        let cluster = |fresh: bool, high: u64| json!({"cluster": {"fresh": fresh, "snapshot": snapshot, "open": {"high": high}}});
        assert_eq!(judge_cluster(&cluster(true, 0)), Exit::Clean);
        assert_eq!(judge_cluster(&cluster(true, 1)), Exit::Violations);
        assert_eq!(judge_cluster(&cluster(false, 0)), Exit::Incomplete);
        let mut blind = cluster(true, 0);
        blind["impaired"] = json!([{"capability": "spool", "healthy": false, "detail": "full"}]);
        assert_eq!(judge_cluster(&blind), Exit::Incomplete);
        let mut partial = cluster(true, 0);
        partial["cluster"].as_object_mut().unwrap().remove("snapshot");
        assert_eq!(judge_cluster(&partial), Exit::Incomplete, "the fleet's status says so, too");
        for (gap, expected) in [
            (json!({"declared": false}), Exit::Incomplete),
            (json!({"declared": false, "resolved": snapshot}), Exit::Clean),
            (json!({"declared": true}), Exit::Clean),
        ] {
            let mut gapped = cluster(true, 0);
            gapped["gaps"] = json!([gap]);
            assert_eq!(judge_cluster(&gapped), expected, "{gap}");
        }
    }
}
