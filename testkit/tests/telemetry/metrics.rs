//! What the daemons expose on their admin ports, against the documentation and against what is watched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::fleet::{Fleet, get, pod};
use super::receiver::Receiver;

/// Objects that are watched at the end.
const MANY: usize = 10_000;

/// Who ask for something that is not there.
const STRANGERS: usize = 50;

/// Name to type and labels.
type Table = BTreeMap<String, (String, BTreeSet<String>)>;

fn log(receiver: &Receiver) -> Value {
    let endpoint = format!("http://{}", receiver.address);
    json!({"format": "json", "otlp_endpoint": endpoint, "otlp_trace_ratio": 0.01})
}

/// Guarantee: the table in docs/operations.md names every metric of both daemons with its type and labels,
/// and none that they do not have; names follow the conventions.
#[test]
fn the_table_of_metrics_is_what_the_daemons_expose() {
    let receiver = Receiver::start();
    let fleet = Fleet::start(&log(&receiver), &["host-network"]);
    fleet.write("web.yaml", &pod("web", true));
    let agent = fleet.agent("edge", &log(&receiver), &json!({"token_file": fleet.token()}));
    let agent = fleet.settled("edge", &agent, 1);
    get(fleet.hub_address("api"), "/login", "").unwrap();
    let documented = documented();
    let mut exposed = exposed(&agent);
    exposed.extend(self::exposed(&fleet.hub_metrics()));
    let names = |table: &Table| table.keys().cloned().collect::<BTreeSet<_>>();
    let undocumented: Vec<_> = names(&exposed).difference(&names(&documented)).cloned().collect();
    assert!(undocumented.is_empty(), "not in docs/operations.md: {undocumented:?}");
    let invented: Vec<_> = names(&documented).difference(&names(&exposed)).cloned().collect();
    assert!(invented.is_empty(), "no daemon has {invented:?}");
    for (name, found) in &exposed {
        assert_eq!(&documented[name], found, "{name}");
        assert!(name.starts_with("provost_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), found.0 == "counter", "{name} is a {}", found.0);
        if found.0 == "histogram" {
            assert!(name.ends_with("_seconds") || name.ends_with("_bytes"), "{name} has no unit");
        }
    }
}

/// Scenario: 10 objects are watched, then 10,000 more, in a file each, a tenth of them with findings; and strangers ask
/// both for many things that are not there. Guarantee: agent and hub have exactly the series that they had.
#[test]
fn series_do_not_grow_with_objects() {
    let receiver = Receiver::start();
    let fleet = Fleet::start(&log(&receiver), &["host-network"]);
    for number in 0..10 {
        let name = format!("few-{number}");
        fleet.write(&format!("{name}.yaml"), &pod(&name, number % 2 == 0));
    }
    let agent = fleet.agent("edge", &log(&receiver), &json!({"token_file": fleet.token()}));
    fleet.settled("edge", &agent, 10);
    ask(&fleet, 0..1);
    let few = series(&fleet.settled("edge", &agent, 10));
    let few_hub = series(&fleet.hub_metrics());
    for number in 0..MANY {
        let name = format!("many-{number}");
        let namespace = format!("namespace: n{}", number % 100);
        let text = pod(&name, number % 10 == 0).replace("namespace: shop", &namespace);
        std::fs::write(fleet.manifests().join(format!("{name}.yaml")), text).unwrap();
    }
    fleet.settled("edge", &agent, MANY + 10);
    ask(&fleet, 1..STRANGERS);
    let many = series(&fleet.settled("edge", &agent, MANY + 10));
    let many_hub = series(&fleet.hub_metrics());
    assert!(few.len() > 50 && few_hub.len() > 50);
    assert_eq!(many.difference(&few).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(many_hub.difference(&few_hub).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Each asks for something else, and all of them in the same ways.
fn ask(fleet: &Fleet, strangers: std::ops::Range<usize>) {
    let agent = std::fs::read_to_string(fleet.path("edge/admin.addr")).unwrap();
    let agent = agent.trim().parse().unwrap();
    for number in strangers {
        for path in ["/page-", "/api/v1/clusters/", "/api/v1/findings?q="] {
            get(fleet.hub_address("api"), &format!("{path}{number}"), "").unwrap();
        }
        get(fleet.hub_address("admin"), &format!("/page-{number}"), "").unwrap();
        get(agent, &format!("/page-{number}"), "").unwrap();
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("asked-{number}"), "namespace": format!("ask-{number}")},
            "spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "a:1"}]},
        });
        assert_eq!(fleet.review("edge", &object, "")["uid"], "1");
    }
}

/// Names with labels, without values.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

fn exposed(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            table.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((series, labels)) = line.split_once('{') {
            let stem = |suffix: &str| series.strip_suffix(suffix).map(str::to_owned);
            let family = [stem("_bucket"), stem("_sum"), stem("_count"), Some(series.to_owned())];
            let name = family.into_iter().flatten().find(|name| table.contains_key(name)).unwrap();
            let (labels, _) = labels.rsplit_once('}').unwrap();
            let names = labels.split("\",").filter_map(|pair| pair.split_once("=\""));
            let names = names.map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            table.get_mut(&name).unwrap().1.extend(names);
        }
    }
    table
}

fn documented() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut table = Table::new();
    for line in text.lines().filter(|line| line.starts_with("| `pro")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[name, kind, unit, labels, _meaning] = &cells[..] else { continue };
        let stem = name.trim_matches('`').trim_end_matches("_total");
        let named = ["seconds", "bytes"].into_iter().find(|unit| stem.ends_with(unit));
        assert_eq!(unit, named.unwrap_or_default(), "the unit of {name}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let before = table.insert(name.trim_matches('`').to_owned(), (kind.to_owned(), labels));
        assert!(before.is_none(), "{name} stands there twice");
    }
    table
}
