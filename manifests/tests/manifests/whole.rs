//! Whole directories, the corpus above all: every position is true, and file by file says the same as all
//! at once.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use provost_manifests::{Document, Node, Options, Position, Value, load, revisit, visit, walk};

use super::{scan_in, write};

/// At the position of every key and every text stands what it says. Block texts, escapes and
/// values of several lines are left out.
fn positions_are_true(text: &str, node: &Node) -> usize {
    let rest = |at: Position| -> String {
        let line = text.lines().nth(at.line as usize - 1).unwrap();
        line.chars().skip(at.column as usize - 1).collect()
    };
    let shows = |at: Position, expected: &str| {
        let found = rest(at);
        let bare = found.trim_start_matches(['"', '\'']);
        assert!(bare.starts_with(expected), "{at}: expected {expected:?}, found {found:?}");
    };
    match &node.value {
        Value::Mapping(entries) => entries
            .iter()
            .map(|entry| {
                shows(entry.key_at, &entry.key);
                1 + positions_are_true(text, &entry.value)
            })
            .sum(),
        Value::Sequence(elements) => {
            elements.iter().map(|element| positions_are_true(text, element)).sum()
        }
        Value::String(value)
            if !value.contains(['\n', '\\', '"', '\''])
                && !rest(node.at).starts_with(['|', '>']) =>
        {
            shows(node.at, value.split(' ').next().unwrap());
            1
        }
        Value::Int(value) if !rest(node.at).starts_with('0') => {
            shows(node.at, &value.to_string());
            1
        }
        _ => 0,
    }
}

fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    println!("left out: {} is not there", path.display());
    #[expect(clippy::disallowed_methods, reason = "CI is the machine's word, not a setting")]
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "the corpus is missing in CI");
    None
}

#[test]
fn every_position_of_the_corpus_is_true() {
    let Some(corpus) = corpus() else { return };
    let loaded = load(&Options { paths: vec![corpus], keep_texts: true, ..Options::default() });
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let checked: usize = loaded
        .documents
        .iter()
        .map(|document| positions_are_true(&loaded.texts[&document.file], &document.node))
        .sum();
    assert!(checked > 5_000, "{checked}");
}

/// Guarantee: a directory told file by file, or one file of it alone, is what it is when all is read at once, to
/// the last position.
#[test]
fn a_visit_tells_what_a_load_holds() {
    let folder = tempfile::tempdir().unwrap();
    let define = |escaped: bool| {
        let kind =
            if escaped { "\"\\x43ustomResourceDefinition\"" } else { "CustomResourceDefinition" };
        let (group, name) = if escaped { ("b.test", "Star") } else { ("a.test", "Moon") };
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: {kind}\nmetadata: {{name: x}}\n\
             spec: {{group: {group}, scope: Cluster, names: {{kind: {name}}}}}\n"
        )
    };
    write(folder.path(), "a/moon.yaml", "apiVersion: a.test/v1\nkind: Moon\nmetadata: {name: m}\n");
    write(folder.path(), "a/star.yaml", "apiVersion: b.test/v1\nkind: Star\nmetadata: {name: s}\n");
    write(folder.path(), "a/pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n");
    write(folder.path(), "a/broken.yaml", "kind: [");
    write(folder.path(), "z/defined.yaml", define(false));
    write(folder.path(), "z/escaped.yaml", define(true));
    write(
        folder.path(),
        "z/kustomization.yaml",
        "resources: [../a/pod.yaml]\npatches: [{path: patch.yaml}]\n",
    );
    write(folder.path(), "z/patch.yaml", "spec: {}\n");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures");
    for root in [Some(folder.path().to_owned()), Some(fixtures), corpus()].into_iter().flatten() {
        let mut documents = Vec::new();
        let visited =
            visit(&root, walk(std::slice::from_ref(&root), &[]), Some("shop"), |document| {
                documents.push(document);
                ControlFlow::Continue(())
            });
        let loaded = scan_in(&root, "shop");
        assert_eq!(visited.problems, loaded.problems);
        assert_eq!(documents.len(), loaded.documents.len());
        for (told, held) in documents.iter().zip(&loaded.documents) {
            assert_eq!(format!("{told:?}"), format!("{held:?}"));
        }
        let mut alone = 0;
        for input in walk(std::slice::from_ref(&root), &[]).inputs {
            let is = |document: &&Document| document.file == input.shown;
            let held: Vec<_> = loaded.documents.iter().filter(is).collect();
            let mut told = Vec::new();
            let changed = std::slice::from_ref(&input);
            let problems = revisit(&root, Some("shop"), &visited.ruling, changed, |document| {
                told.push(document);
                ControlFlow::Continue(())
            });
            assert_eq!(problems.is_none(), visited.ruling.contains(&input), "{}", input.shown);
            if problems.is_some() {
                assert_eq!(format!("{told:?}"), format!("{held:?}"));
                alone += 1;
            }
        }
        assert!(alone > 0);
    }
}
