//! What a Rego file says of itself without being compiled: its package and what it refers to.
//!
//! Comments and strings do not count. The engine compiles the file; this only finds which
//! libraries must stand beside it.

use std::collections::BTreeSet;

/// A dotted path below `data`, such as `provost.lib.pods.containers`, and its line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub path: String,
    /// 1-based.
    pub line: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// As written, with its 1-based line.
    pub package: Option<(String, u32)>,
    /// References below `data.provost`, each path once.
    pub references: Vec<Reference>,
}

pub(crate) fn outline(text: &str) -> Outline {
    let mut outline = Outline::default();
    let mut seen = BTreeSet::new();
    let code = without_comments_and_strings(text);
    for (line, number) in code.lines().zip(1..) {
        if outline.package.is_none()
            && let Some(rest) = line.trim_start().strip_prefix("package ")
        {
            outline.package = Some((rest.trim().to_owned(), number));
        }
        for path in references(line) {
            if seen.insert(path.clone()) {
                outline.references.push(Reference { path, line: number });
            }
        }
    }
    outline
}

/// The packages among `known` that `path` points into, or that lie below it.
pub(crate) fn packages_of<'a>(path: &str, known: &[&'a str]) -> Vec<&'a str> {
    let below = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    known.iter().copied().filter(|package| below(path, package) || below(package, path)).collect()
}

fn references(line: &str) -> Vec<String> {
    const START: &str = "data.provost.";
    let mut found = Vec::new();
    for (at, _) in line.match_indices(START) {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| is_name(c) || c == '.') {
            continue;
        }
        let rest = &line[at + "data.".len()..];
        let end = rest.find(|c| !is_name(c) && c != '.').unwrap_or(rest.len());
        found.push(rest[..end].trim_end_matches('.').to_owned());
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Comments and the insides of strings become spaces; lines stay where they are.
fn without_comments_and_strings(text: &str) -> String {
    #[derive(PartialEq)]
    enum Within {
        Code,
        Comment,
        Quotes,
        Backticks,
    }
    let mut within = Within::Code;
    let mut escaped = false;
    let blank = |c: char| {
        let within_before = &mut within;
        let keep = *within_before == Within::Code;
        match (&*within_before, c) {
            (Within::Code, '#') => *within_before = Within::Comment,
            (Within::Code, '"') => *within_before = Within::Quotes,
            (Within::Code, '`') => *within_before = Within::Backticks,
            (Within::Comment | Within::Quotes, '\n') | (Within::Backticks, '`') => {
                *within_before = Within::Code;
            }
            (Within::Quotes, '"') if !escaped => *within_before = Within::Code,
            _ => {}
        }
        escaped = *within_before == Within::Quotes && c == '\\' && !escaped;
        if c == '\n' || (keep && *within_before == Within::Code) { c } else { ' ' }
    };
    text.chars().map(blank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_do_not_count() {
        let text = r##"# METADATA
# title: data.provost.lib.not_this
package provost.pods.x

import data.provost.lib.pods
import data.provost.lib.text as t # data.provost.lib.nor_this

violation contains v if {
	v := sprintf("data.provost.lib.nor \" # that", [`data.provost.lib.raw
data.provost.lib.raw2`])
	data.provost.lib.images.tag(input) == metadata.provost.lib.no
	mydata.provost.lib.no
}
"##;
        let outline = outline(text);
        assert_eq!(outline.package, Some(("provost.pods.x".to_owned(), 3)));
        let found: Vec<(&str, u32)> =
            outline.references.iter().map(|r| (r.path.as_str(), r.line)).collect();
        assert_eq!(
            found,
            [("provost.lib.pods", 5), ("provost.lib.text", 6), ("provost.lib.images.tag", 11),]
        );
    }

    #[test]
    fn a_reference_finds_its_package_from_above_and_below() {
        let known = ["provost.lib.pods", "provost.lib.podsecurity", "provost.lib.text"];
        assert_eq!(packages_of("provost.lib.pods.containers", &known), ["provost.lib.pods"]);
        assert_eq!(packages_of("provost.lib.pods", &known), ["provost.lib.pods"]);
        assert_eq!(packages_of("provost.lib", &known), known);
        assert!(packages_of("provost.lib.pod", &known).is_empty());
    }
}
