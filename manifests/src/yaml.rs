//! YAML text to trees: split at document markers, each document parsed alone, so that a bad one
//! costs only itself.
//!
//! The tree is built from the parser's events: the style and tag of a scalar decide its type (see
//! `scalar`), and aliases are copied under a budget. Merge keys apply in the order written, later
//! entries over earlier ones, as the API server's library applies them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span};

use crate::document::ProblemKind;
use crate::limits::{MAX_ALIASED_BYTES, MAX_ALIASED_NODES, MAX_DEPTH, MAX_NODES};
use crate::node::{Entry, Node, Position, Value};
use crate::scalar::{self, Tag};

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

struct Builder<'a> {
    first_line: u32,
    padded: &'a BTreeSet<u32>,
    keeps_anchors: bool,
    documents: Vec<Node>,
    stack: Vec<Frame>,
    /// Finished values by anchor, of the document at hand.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    aliased: Weight,
}

enum Frame {
    Sequence { at: Position, anchor: usize, elements: Vec<Node> },
    Mapping(MappingFrame),
}

struct MappingFrame {
    at: Position,
    anchor: usize,
    entries: Vec<Entry>,
    /// Place in `entries` by key.
    places: HashMap<String, usize>,
    /// By place: whether the key stands in this mapping itself, against those that a merge brought.
    written: Vec<bool>,
    pending: Option<Key>,
}

enum Key {
    Name(String, Position),
    Merge,
}

/// What a tree costs to copy.
#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl<'a> Builder<'a> {
    fn new(first_line: u32, padded: &'a BTreeSet<u32>, keeps_anchors: bool) -> Self {
        Self {
            first_line,
            padded,
            keeps_anchors,
            documents: Vec::new(),
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            aliased: Weight::default(),
        }
    }

    fn position_of(&self, marker: &granit_parser::Marker) -> Position {
        let line = u32::try_from(marker.line()).unwrap_or(u32::MAX);
        let column = u32::try_from(marker.col()).unwrap_or(u32::MAX);
        let padding = if self.padded.contains(&line) { PADDING } else { 0 };
        Position {
            line: line.saturating_add(self.first_line).saturating_sub(1).max(1),
            column: column.saturating_sub(padding).saturating_add(1),
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = self.position_of(&span.start);
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(tag_name);
                return self.scalar(&text, as_tag(style, tag.as_deref()), at, anchor);
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(at)?;
                self.stack.push(Frame::Sequence { at, anchor, elements: Vec::new() });
            }
            Event::MappingStart(_, anchor, _) => {
                self.open(at)?;
                self.stack.push(Frame::Mapping(MappingFrame::new(at, anchor)));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (node, anchor) = match self.stack.pop() {
                    Some(Frame::Sequence { at, anchor, elements }) => {
                        (Node::new(Value::Sequence(elements), at), anchor)
                    }
                    Some(Frame::Mapping(frame)) => {
                        (Node::new(Value::Mapping(frame.entries), frame.at), frame.anchor)
                    }
                    None => return Ok(()),
                };
                return self.finish(node, anchor);
            }
            Event::Alias(anchor) => return self.alias(anchor, at),
            _ => {}
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        tag: Tag<'_>,
        at: Position,
        anchor: usize,
    ) -> Result<(), Fault> {
        let unresolved = |error: scalar::Error| Fault {
            at,
            kind: ProblemKind::Syntax,
            message: error.to_string(),
        };
        let Some(frame) = self.expects_key() else {
            let value = scalar::resolve(tag, text).map_err(unresolved)?;
            return self.finish(Node::new(value, at), anchor);
        };
        let merges = text == "<<" && matches!(tag, Tag::Plain | Tag::Core("merge"));
        let key = if merges {
            Key::Merge
        } else {
            Key::Name(scalar::resolve_key(tag, text).map_err(unresolved)?, at)
        };
        frame.begin(key)?;
        if anchor != 0 && self.keeps_anchors {
            let value = scalar::resolve(tag, text).map_err(unresolved)?;
            self.remember(anchor, Node::new(value, at))?;
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Fault> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(Fault {
                at,
                kind: ProblemKind::Syntax,
                message: "the alias stands within the value it names".to_owned(),
            });
        };
        let weight = target.weigh();
        let node = Node::new(target.value.clone(), at);
        self.charge(weight, at)?;
        if self.stack.len() + weight.depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        if let Some(frame) = self.expects_key() {
            let name = match node.value {
                Value::String(name) => name,
                Value::Bool(value) => value.to_string(),
                Value::Int(value) => value.to_string(),
                _ => return Err(bad_key(at)),
            };
            return frame.begin(Key::Name(name, at));
        }
        self.finish(node, 0)
    }

    fn open(&mut self, at: Position) -> Result<(), Fault> {
        if self.expects_key().is_some() {
            return Err(bad_key(at));
        }
        if self.stack.len() >= MAX_DEPTH { Err(too_deep(at)) } else { Ok(()) }
    }

    /// The mapping at hand, where its next event is a key.
    fn expects_key(&mut self) -> Option<&mut MappingFrame> {
        match self.stack.last_mut() {
            Some(Frame::Mapping(frame)) if frame.pending.is_none() => Some(frame),
            _ => None,
        }
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("the document holds more than {MAX_NODES} values");
            return Err(Fault { at: node.at, kind: ProblemKind::Limit, message });
        }
        if anchor != 0 && self.keeps_anchors {
            self.remember(anchor, node.clone())?;
        }
        match self.stack.last_mut() {
            None => self.documents.push(node),
            Some(Frame::Sequence { elements, .. }) => elements.push(node),
            Some(Frame::Mapping(frame)) => frame.complete(node)?,
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: Node) -> Result<(), Fault> {
        self.charge(node.weigh(), node.at)?;
        self.anchors.insert(anchor, node);
        Ok(())
    }

    /// Copies for anchors and aliases come out of one budget: it bounds memory and time however
    /// they are nested.
    fn charge(&mut self, weight: Weight, at: Position) -> Result<(), Fault> {
        self.aliased.nodes += weight.nodes;
        self.aliased.bytes += weight.bytes;
        if self.aliased.nodes > MAX_ALIASED_NODES || self.aliased.bytes > MAX_ALIASED_BYTES {
            let message = format!(
                "anchors and aliases of the document expand to more than {MAX_ALIASED_NODES} values or {} MiB",
                MAX_ALIASED_BYTES / 1024 / 1024
            );
            return Err(Fault { at, kind: ProblemKind::Limit, message });
        }
        Ok(())
    }
}

impl MappingFrame {
    fn new(at: Position, anchor: usize) -> Self {
        Self {
            at,
            anchor,
            entries: Vec::new(),
            places: HashMap::new(),
            written: Vec::new(),
            pending: None,
        }
    }

    fn begin(&mut self, key: Key) -> Result<(), Fault> {
        if let Key::Name(name, at) = &key
            && let Some(place) = self.places.get(name).copied()
            && self.written[place]
        {
            return Err(duplicate(name, *at, self.entries[place].key_at));
        }
        self.pending = Some(key);
        Ok(())
    }

    fn complete(&mut self, value: Node) -> Result<(), Fault> {
        match self.pending.take() {
            Some(Key::Name(key, key_at)) => self.put(Entry { key, key_at, value }, true),
            Some(Key::Merge) => self.merge(value)?,
            None => {}
        }
        Ok(())
    }

    fn merge(&mut self, value: Node) -> Result<(), Fault> {
        let at = value.at;
        let sources = match value.value {
            Value::Mapping(entries) => vec![entries],
            // Of a list the first source wins: it is applied last.
            Value::Sequence(elements) => elements
                .into_iter()
                .rev()
                .map(into_entries)
                .collect::<Option<_>>()
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        if sources.is_empty() {
            return Err(Fault {
                at,
                kind: ProblemKind::Syntax,
                message: "a merge key `<<` takes a mapping or a list of mappings".to_owned(),
            });
        }
        sources.into_iter().flatten().for_each(|entry| self.put(entry, false));
        Ok(())
    }

    fn put(&mut self, entry: Entry, written: bool) {
        match self.places.get(&entry.key).copied() {
            Some(place) => {
                self.entries[place] = entry;
                self.written[place] |= written;
            }
            None => {
                self.places.insert(entry.key.clone(), self.entries.len());
                self.entries.push(entry);
                self.written.push(written);
            }
        }
    }
}

impl Node {
    fn weigh(&self) -> Weight {
        let mut weight = Weight { nodes: 1, bytes: 0, depth: 0 };
        let mut add = |part: Weight| {
            weight.nodes += part.nodes;
            weight.bytes += part.bytes;
            weight.depth = weight.depth.max(part.depth + 1);
        };
        match &self.value {
            Value::String(text) => weight.bytes += text.len(),
            Value::Sequence(elements) => elements.iter().for_each(|element| add(element.weigh())),
            Value::Mapping(entries) => {
                for entry in entries {
                    add(entry.value.weigh());
                    add(Weight { nodes: 0, bytes: entry.key.len(), depth: 0 });
                }
            }
            _ => {}
        }
        weight
    }

    /// Bytes of keys and texts in the tree.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.weigh().bytes
    }
}

fn into_entries(node: Node) -> Option<Vec<Entry>> {
    match node.value {
        Value::Mapping(entries) => Some(entries),
        _ => None,
    }
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

fn tag_name(tag: &granit_parser::Tag) -> String {
    let full = format!("{}{}", tag.handle(), tag.suffix());
    full.strip_prefix("tag:yaml.org,2002:").map_or_else(|| "!".to_owned(), str::to_owned)
}

/// `!` stands for every tag that is not YAML's own: the value is text.
fn as_tag(style: ScalarStyle, tag: Option<&str>) -> Tag<'_> {
    match tag {
        None if style == ScalarStyle::Plain => Tag::Plain,
        None | Some("str" | "!") => Tag::Text,
        Some(name) => Tag::Core(name),
    }
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

fn fault_of(error: &granit_parser::ScanError, at: Position) -> Fault {
    use granit_parser::ErrorKind;
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(at),
        ErrorKind::ExpectedDocumentStart => Fault {
            at,
            kind: ProblemKind::Syntax,
            message: "this does not belong to what stands before it: check the indentation"
                .to_owned(),
        },
        ErrorKind::AnchorCountOverflow => {
            Fault { at, kind: ProblemKind::Limit, message: error.info() }
        }
        _ => Fault { at, kind: ProblemKind::Syntax, message: error.info() },
    }
}

fn duplicate(key: &str, at: Position, first: Position) -> Fault {
    let shown: String = key.chars().take(80).collect();
    Fault {
        at,
        kind: ProblemKind::DuplicateKey,
        message: format!("the key `{shown}` stands twice in one mapping, first at {first}"),
    }
}

fn bad_key(at: Position) -> Fault {
    Fault {
        at,
        kind: ProblemKind::Syntax,
        message: "a mapping or a list stands where a key should".to_owned(),
    }
}

fn too_deep(at: Position) -> Fault {
    Fault {
        at,
        kind: ProblemKind::Limit,
        message: format!("mappings and lists are nested deeper than {MAX_DEPTH} levels"),
    }
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
