//! YAML text to trees: split at document markers, each document parsed alone, so that a bad one
//! costs only itself.
//!
//! The tree is built from the parser's events: the style and tag of a scalar decide its type (see
//! `scalar`), and aliases are copied under a budget. Merge keys apply in the order written, later
//! entries over earlier ones, as the API server's library applies them.

mod build;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_saphyr::granit_parser::{self, Parser};

use crate::document::ProblemKind;
use crate::limits::MAX_DEPTH;
use crate::node::{Node, Position};
use build::{Builder, fault_of};

/// Why a document could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Position,
    pub kind: ProblemKind,
    pub message: String,
}

/// A part of a file between document markers.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    pub text: &'a str,
    /// Line of the file on which it begins, from 1.
    pub line: u32,
}

/// Splits at lines that begin with `---` or `...`, which YAML allows nowhere else. Directives
/// stay with the document that follows them.
pub fn split(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut offset, mut line) = (0, 1);
    for text_line in text.split_inclusive('\n') {
        let end = offset + text_line.len();
        if is_marker(text_line, "---") && !only_directives(&text[start..offset]) {
            chunks.push(Chunk { text: &text[start..offset], line: start_line });
            (start, start_line) = (offset, line);
        } else if is_marker(text_line, "...") {
            chunks.push(Chunk { text: &text[start..end], line: start_line });
            (start, start_line) = (end, line + 1);
        }
        (offset, line) = (end, line + 1);
    }
    chunks.push(Chunk { text: &text[start..], line: start_line });
    chunks.retain(|chunk| !chunk.text.is_empty());
    chunks
}

/// The documents of a chunk: none where it holds only comments, more than one only where lines
/// end in a lone carriage return.
///
/// The API server's library lets lines of a quoted text begin further left than the parser does.
/// Such a line is read again with spaces before it, which say nothing within quotes.
pub fn parse(chunk: Chunk<'_>) -> Result<Vec<Node>, Fault> {
    refuse_control_characters(chunk)?;
    let mut text = Cow::Borrowed(chunk.text);
    let mut padded = BTreeSet::new();
    let mut first = None;
    loop {
        match parse_once(&text, chunk.line, &padded) {
            Ok(documents) => return Ok(documents),
            Err((fault, Some(line)))
                if padded.len() < MAX_PADDED_LINES
                    && text.len() < MAX_PADDED_BYTES
                    && padded.insert(line) =>
            {
                first.get_or_insert(fault);
                text = Cow::Owned(pad(&text, line));
            }
            Err((fault, _)) => return Err(first.unwrap_or(fault)),
        }
    }
}

/// Lines that are padded in one document, and the largest document in which: each costs a parse.
const MAX_PADDED_LINES: usize = 64;
const MAX_PADDED_BYTES: usize = 1024 * 1024;
/// Further right than any mapping begins within [`MAX_DEPTH`] levels, as people indent.
const PADDING: u32 = 512;

fn pad(text: &str, line: u32) -> String {
    let place = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    let pad = |(index, line): (usize, &str)| {
        let spaces = if index == place { PADDING as usize } else { 0 };
        format!("{}{line}", " ".repeat(spaces))
    };
    text.split_inclusive('\n').enumerate().map(pad).collect()
}

/// With a fault comes the line to pad, where that may help. Lines count from the text's start.
fn parse_once(
    text: &str,
    first_line: u32,
    padded: &BTreeSet<u32>,
) -> Result<Vec<Node>, (Fault, Option<u32>)> {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH + 1;
    options.block_nesting_limit = MAX_DEPTH + 1;
    let mut builder = Builder::new(first_line, padded, text.contains('*'));
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| {
            let is_indent = *error.kind() == granit_parser::ErrorKind::InvalidQuotedScalarIndent;
            let line = u32::try_from(error.marker().line()).ok().filter(|_| is_indent);
            (fault_of(&error, builder.position_of(error.marker())), line)
        })?;
        builder.take(event, span).map_err(|fault| (fault, None))?;
    }
    Ok(builder.documents)
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn only_directives(text: &str) -> bool {
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut some = false;
    lines.all(|line| {
        some = true;
        line.starts_with('%')
    }) && some
}

/// Tabs and line ends are the only control characters that YAML 1.1 lets stand.
fn refuse_control_characters(chunk: Chunk<'_>) -> Result<(), Fault> {
    let is_refused = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
    let Some((offset, found)) = chunk.text.char_indices().find(|(_, c)| is_refused(*c)) else {
        return Ok(());
    };
    let before = &chunk.text[..offset];
    let lines = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let at = Position {
        line: chunk.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX)),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    };
    let message = format!("control character U+{:04X}", u32::from(found));
    Err(Fault { at, kind: ProblemKind::Syntax, message })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use provost_model::Path;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Node, Fault> {
        parse(Chunk { text, line: 1 }).map(|mut nodes| nodes.remove(0))
    }

    fn value(text: &str) -> serde_json::Value {
        serde_json::to_value(read(text).unwrap()).unwrap()
    }

    fn at(line: u32, column: u32) -> Position {
        Position { line, column }
    }

    #[test]
    fn documents_are_split_at_markers_alone() {
        let text =
            "# head\n---\na: 1\n--- # two\nb: |\n  ---\n  x\n...\nc: 3\n%YAML 1.1\n---x: 1\n";
        let chunks: Vec<_> =
            split(text).into_iter().map(|chunk| (chunk.line, chunk.text)).collect();
        assert_eq!(
            chunks,
            [
                (1, "# head\n"),
                (2, "---\na: 1\n"),
                (4, "--- # two\nb: |\n  ---\n  x\n...\n"),
                (9, "c: 3\n%YAML 1.1\n---x: 1\n"),
            ]
        );
        let directive = split("# c\n%YAML 1.1\n---\na: 1\n");
        assert_eq!(directive.len(), 1, "a directive belongs to the document after it");
        assert!(split("").is_empty());
    }

    #[test]
    fn positions_are_those_of_the_file() {
        let text = "---\r\nspec:\r\n  containers:\r\n  - name: web\r\n    image: \"\u{e9}\" # c\r\n    tty:\r\n";
        let node = parse(Chunk { text, line: 11 }).unwrap().remove(0);
        let locate = |pointer: &str| node.locate(&Path::from_pointer(pointer).unwrap());
        assert_eq!(locate(""), at(12, 1));
        assert_eq!(locate("/spec"), at(12, 1));
        assert_eq!(locate("/spec/containers"), at(13, 3));
        assert_eq!(locate("/spec/containers/0"), at(14, 5));
        assert_eq!(locate("/spec/containers/0/name"), at(14, 11));
        assert_eq!(locate("/spec/containers/0/image"), at(15, 12));
        assert_eq!(locate("/spec/containers/0/tty"), at(16, 5), "a null stands at its key");
        assert_eq!(locate("/spec/containers/0/securityContext/privileged"), at(14, 5));
        assert_eq!(locate("/spec/containers/7"), at(13, 3), "nearest ancestor");
        assert_eq!(locate("/nothing"), at(12, 1));
    }

    #[test]
    fn merge_keys_apply_in_the_order_written() {
        let base = "a: &x {p: 1, q: 2}\nc: &y {p: 3, r: 4}\n";
        for (text, expected) in [
            ("b: {<<: *x, p: 9}", json!({"p": 9, "q": 2})),
            ("b: {p: 9, <<: *x}", json!({"p": 1, "q": 2})),
            ("b: {<<: [*x, *y]}", json!({"p": 1, "q": 2, "r": 4})),
            ("b: {<<: {z: 1}}", json!({"z": 1})),
            ("b: {'<<': {z: 1}}", json!({"<<": {"z": 1}})),
        ] {
            assert_eq!(value(&format!("{base}{text}\n"))["b"], expected, "{text}");
        }
        for text in ["b: {<<: 1}", "b: {<<: [1]}", "b: {<<: }"] {
            assert_eq!(read(text).unwrap_err().kind, ProblemKind::Syntax, "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_where_it_stands() {
        let fault = read("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n").unwrap_err();
        assert_eq!((fault.kind, fault.at), (ProblemKind::DuplicateKey, at(5, 3)));
        assert!(
            fault.message.contains("`c`") && fault.message.contains("3:3"),
            "{}",
            fault.message
        );
        assert_eq!(read("1: a\n'1': b\n").unwrap_err().kind, ProblemKind::DuplicateKey);
        assert_eq!(read("on: a\n'true': b\n").unwrap_err().kind, ProblemKind::DuplicateKey);
    }

    #[test]
    fn alias_bombs_and_deep_nesting_meet_a_limit() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in "bcdefghi".chars().zip("abcdefgh".chars()) {
            let list = vec![format!("*{of}"); 10].join(", ");
            bomb.push_str(&format!("{name}: &{name} [{list}]\n"));
        }
        let deep = format!("a: {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
        let block = (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        let doubled = format!(
            "a: &a {}x{}\nb: {}*a{}\n",
            "[".repeat(100),
            "]".repeat(100),
            "[".repeat(100),
            "]".repeat(100)
        );
        for text in [bomb, deep, block, doubled] {
            assert_eq!(read(&text).unwrap_err().kind, ProblemKind::Limit, "{}", &text[..20]);
        }
        assert_eq!(read("a: &a [*a]\n").unwrap_err().kind, ProblemKind::Syntax);
        assert_eq!(value("a: &a 5\nb: *a\n*a : z\n"), json!({"a": 5, "b": 5, "5": "z"}));
    }

    #[test]
    fn long_lines_are_read() {
        let long = "x".repeat(5_000_000);
        assert_eq!(
            value(&format!("a: \"{long}\"\nb: {long}\n"))["b"].as_str().map(str::len),
            Some(5_000_000)
        );
    }

    #[test]
    fn quoted_texts_may_go_on_at_the_margin() {
        let text = "a:\n  b: \"x\ny\"\n  c: ['p\n\nq', r]\nd: \"1\\\n2\"\n";
        assert_eq!(value(text), json!({"a": {"b": "x y", "c": ["p\nq", "r"]}, "d": "12"}));
        let node = read(text).unwrap();
        assert_eq!(node.locate(&Path::from_pointer("/a/c/1").unwrap()), at(6, 5));
        assert_eq!(node.locate(&Path::from_pointer("/d").unwrap()), at(7, 4));
        assert_eq!(read(&format!("a: \"\n{}", "x\n".repeat(100))).unwrap_err().at, at(2, 1));
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        for (text, position) in [
            ("a: [1, 2\nb: 3\n", None),
            ("a: \tb\nc:\n\td: 1\n", Some(at(3, 2))),
            ("a: \u{1}\n", Some(at(1, 4))),
            ("a: .inf\n", Some(at(1, 4))),
            ("? [a]\n: b\n", Some(at(1, 3))),
            ("~: 1\n", Some(at(1, 1))),
        ] {
            let fault = read(text).unwrap_err();
            assert_eq!(fault.kind, ProblemKind::Syntax, "{text}");
            assert!(!fault.message.is_empty());
            if let Some(position) = position {
                assert_eq!(fault.at, position, "{text}: {}", fault.message);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s)[ -~\n\t\u{e9}]{0,200}") {
            for chunk in split(&text) {
                let _ = parse(chunk);
            }
        }

        /// The chunks are the text, and each begins on the line it says.
        #[test]
        fn splitting_loses_nothing(text in "(---\n|\\.\\.\\.\n|a: 1\n|%Y\n|#\n|\n| ---\n){0,20}") {
            let chunks = split(&text);
            prop_assert_eq!(chunks.iter().map(|chunk| chunk.text).collect::<String>(), text.clone());
            let mut line = 1;
            for chunk in chunks {
                prop_assert_eq!(chunk.line as usize, line);
                line += chunk.text.matches('\n').count();
            }
        }
    }
}
