//! `--help` of every command there is, found from the program's own help.

use std::path::Path;

use crate::program::provost;

/// They hand their arguments on, run until they are ended, or have no result.
const WITHOUT_OUTPUT: [&[&str]; 1] = [&["agent"]];

#[test]
fn every_command_shows_examples_and_takes_an_output() {
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    visit(folder.path(), &mut Vec::new(), &mut checked);
    assert!(checked > 35, "only {checked} commands were found");
}

/// What is skipped in silence stands where people look.
#[test]
fn scan_says_what_it_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let said = provost(folder.path(), &["scan", "--help"], "").out;
    assert!(["hidden", "pipes", ".yaml, .yml and .json"].iter().all(|word| said.contains(word)));
}

fn visit(folder: &Path, command: &mut Vec<String>, checked: &mut usize) {
    // `agent --help` is the agent's own, where it is installed; `help agent` is ours.
    let mut line = vec!["help"];
    line.extend(command.iter().map(String::as_str));
    let said = provost(folder, &line, "");
    assert_eq!(said.code, 0, "{command:?}: {}", said.err);
    assert!(said.out.contains("Example"), "provost {command:?} shows no example:\n{}", said.out);
    let below = subcommands(&said.out);
    let known: Vec<&str> = command.iter().map(String::as_str).collect();
    if below.is_empty() && !WITHOUT_OUTPUT.contains(&known.as_slice()) {
        assert!(said.out.contains("--output"), "provost {command:?} has no -o");
    }
    *checked += 1;
    for name in below {
        command.push(name);
        visit(folder, command, checked);
        command.pop();
    }
}

/// The names under `Commands:`.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}
