//! The rules of the tree that no lint knows: who owns which library, which crate may see which,
//! how large a file may grow, and how it begins.

use std::fs;
use std::path::{Path, PathBuf};

/// Library, and the places (prefixes of paths) that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("regorus", &["engine/"]),
    ("kube", &["agent/src/cluster", "agent/src/admission", "testkit/"]),
    ("k8s_openapi", &["agent/src/cluster", "agent/src/admission", "testkit/"]),
    (
        "tonic",
        &[
            "proto/",
            "agent/src/uplink",
            "aggregator/src/session",
            "runtime/src/telemetry",
            "agent/tests/",
            "aggregator/tests/",
            "testkit/",
        ],
    ),
    ("sled", &["agent/src/spool"]),
    ("sqlx", &["aggregator/src/store"]),
    (
        "axum",
        &[
            "aggregator/src/api",
            "aggregator/src/ui",
            "aggregator/src/web.rs",
            "agent/src/admission",
            "agent/src/status.rs",
            "runtime/src/admin.rs",
            "runtime/src/web.rs",
            "aggregator/tests/",
            "testkit/",
        ],
    ),
    ("opentelemetry", &["runtime/src/telemetry"]),
    ("opentelemetry_sdk", &["runtime/src/telemetry"]),
    ("opentelemetry_proto", &["runtime/src/telemetry", "testkit/"]),
    (
        "rustls",
        &[
            "runtime/src/tls",
            "agent/src/admission/tests.rs",
            "agent/tests/",
            "aggregator/tests/",
            "testkit/",
        ],
    ),
    ("rcgen", &["runtime/src/pki"]),
    ("x509_parser", &["runtime/src/pki"]),
    ("reqwest", &["cli/src/hub", "aggregator/tests/", "testkit/"]),
    ("serde_saphyr", &["manifests/", "bundle/", "runtime/src/config.rs", "runtime/src/config/"]),
    ("aws_lc_rs", &["trust/", "runtime/"]),
];

/// Crate, and the crates of ours that it may depend on. `testkit` may see all, as a dev-dependency.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("runtime", &[]),
    ("trust", &["model"]),
    ("proto", &["model", "trust"]),
    ("bundle", &["model", "trust"]),
    ("engine", &["model", "bundle"]),
    ("manifests", &["model"]),
    ("agent", &["model", "trust", "bundle", "engine", "manifests", "proto", "runtime"]),
    ("aggregator", &["model", "trust", "bundle", "engine", "proto", "runtime"]),
    ("cli", &["model", "trust", "bundle", "engine", "manifests", "proto", "runtime"]),
];

const MAX_FILE_LINES: usize = 500;
const FORBIDDEN_NAMES: &[&str] = &["mod.rs", "util", "utils", "common", "helpers", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testkit stands in the root").to_owned()
}

/// Every Rust source of the workspace, by its path from the root.
fn sources() -> Vec<(String, String)> {
    let crates = ARROWS.iter().map(|(name, _)| *name).chain(["testkit"]);
    let mut found = Vec::new();
    for name in crates {
        collect(&root().join(name), &mut found);
    }
    assert!(found.len() > 20, "found only {} sources: the walk is broken", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(|entry| entry.expect("a readable entry").path()) {
        if entry.is_dir() {
            // What a build left: the fuzz targets are a workspace of their own.
            if entry.ends_with("fuzz/target") {
                continue;
            }
            collect(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            let path = entry.strip_prefix(root()).expect("below the root").to_string_lossy();
            found.push((path.into_owned(), fs::read_to_string(&entry).expect("UTF-8")));
        }
    }
}

fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// `regorus::` or `use regorus;` in code, not in comments or strings that merely name it.
fn names_library(line: &str, library: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let Some(position) = code.find(library) else { return false };
    let before = code[..position].chars().next_back();
    let after = &code[position + library.len()..];
    let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"' && c != '-');
    starts
        && (after.starts_with("::")
            || (code.trim_start().starts_with("use ") && after.starts_with(';')))
}

#[test]
fn each_heavy_library_is_named_only_by_its_owner() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        for (library, places) in OWNERS {
            let allowed = places.iter().any(|place| path.starts_with(place));
            if allowed || path.ends_with("tests/it/tidy.rs") {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                if names_library(line, library) {
                    broken.push(format!(
                        "{path}:{}: {library} belongs to {}",
                        number + 1,
                        places.join(", ")
                    ));
                }
            }
        }
    }
    report("a library is used outside its owner", &broken);
}

#[test]
fn crates_depend_one_way() {
    let mut broken = Vec::new();
    for (name, allowed) in ARROWS {
        let manifest =
            fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for line in normal.lines() {
            let Some(rest) = line.strip_prefix("provost-") else { continue };
            let dependency = rest.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(&dependency) {
                broken.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    report("an arrow points the wrong way", &broken);
}

#[test]
fn files_say_what_they_are() {
    let broken: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    report("a file does not open with `//!`", &broken);
}

/// Files that are compiled for tests alone, by the module that declares them.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let folder =
        path.trim_end_matches("/lib.rs").trim_end_matches("/main.rs").trim_end_matches(".rs");
    let declared =
        text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split_once([';', ' ']));
    declared.map(|(name, _)| format!("{folder}/{name}.rs")).collect()
}

#[test]
fn files_stay_small() {
    let mut broken = Vec::new();
    let sources = sources();
    let tests: Vec<_> = sources.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    for (path, text) in &sources {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().count();
        let is_test = path.contains("/tests/") || tests.contains(path);
        if lines > MAX_FILE_LINES && !is_test {
            broken
                .push(format!("{path}: {lines} lines without its tests, at most {MAX_FILE_LINES}"));
        }
    }
    report("a file has grown too long", &broken);
}

/// Folders of the root besides crates. Another one is a decision, and a line of ARCHITECTURE.md.
const FOLDERS: &[&str] = &[".cargo", ".ci", "deploy", "docs", "policies"];

#[test]
fn the_root_holds_what_is_known() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let crates = ARROWS.iter().map(|(name, _)| *name).chain(["testkit"]);
    let known: Vec<_> = crates.chain(FOLDERS.iter().copied()).collect();
    let mut broken = Vec::new();
    for entry in fs::read_dir(root()).expect("the root").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let built = [".git", "target"].contains(&name.as_str());
        if entry.path().is_dir() && !built && !known.contains(&name.as_str()) {
            broken.push(format!("{name}/ is not known"));
        }
    }
    for name in known {
        let files = fs::read_dir(root().join(name)).map(Iterator::count).unwrap_or_default();
        if files == 0 {
            broken.push(format!("{name}/ is missing or empty"));
        }
    }
    for described in ["`deploy/`", "`testkit/fuzz/`", "`policies/`"] {
        if !page.contains(described) {
            broken.push(format!("ARCHITECTURE.md does not say what {described} is"));
        }
    }
    report("the tree and its description differ", &broken);
}

/// Where the finder sends its reader, there is something.
#[test]
fn the_finder_finds() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let (_, finder) = page.split_once("## One-minute finder").expect("the finder");
    let (finder, _) = finder.split_once("\n## ").expect("what follows it");
    let rows = finder.lines().filter(|line| line.starts_with("| "));
    let named: Vec<String> = rows
        .filter_map(|row| row.split('|').nth(2))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| name.contains('/') || name.ends_with(".md"))
        .flat_map(alternatives)
        .collect();
    assert!(named.len() > 100, "found only {} paths: the reading is broken", named.len());
    let placeholder = |path: &String| path.contains('<');
    let broken: Vec<_> = named
        .into_iter()
        .filter(|path| !placeholder(path) && !root().join(path).exists())
        .collect();
    report("ARCHITECTURE.md sends to what is not there", &broken);
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((names, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    names.split(',').map(|name| format!("{before}{name}{after}")).collect()
}

#[test]
fn no_name_says_nothing() {
    let broken: Vec<_> = sources()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            path.split('/').any(|part| {
                FORBIDDEN_NAMES.contains(&part.trim_end_matches(".rs")) || part == "mod.rs"
            })
        })
        .collect();
    report("a folder or file name says nothing", &broken);
}

/// Each code has a row in docs/protocol.md with the status that `proto` gives it.
#[test]
fn every_code_is_documented_as_it_is() {
    let page = fs::read_to_string(root().join("docs/protocol.md")).expect("the page");
    let broken: Vec<_> = provost_model::Code::ALL
        .iter()
        .map(|code| (code, format!("| `{code}` | {} |", status_name(*code))))
        .filter(|(_, row)| !page.contains(row.as_str()))
        .map(|(code, row)| format!("{code}: no row that begins with {row}"))
        .collect();
    report("docs/protocol.md and the codes differ", &broken);
}

/// As gRPC writes it: `INVALID_ARGUMENT`.
fn status_name(code: provost_model::Code) -> String {
    let name = format!("{:?}", provost_proto::status::grpc(code));
    let mut text = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(character.to_ascii_uppercase());
    }
    text
}

#[test]
fn the_checks_themselves_see_what_they_should() {
    assert!(names_library("use regorus::Value;", "regorus"));
    assert!(names_library("    let x = sqlx::query(\"\");", "sqlx"));
    assert!(!names_library("// regorus::Value is not used here", "regorus"));
    assert!(!names_library("tokio_rustls::TlsAcceptor", "rustls"));
    assert_eq!(alternatives("a/{b,c}.rs"), ["a/b.rs", "a/c.rs"]);
}
