//! Events of the parser to trees: scalars by their style and tag, aliases under a budget, merge keys
//! in the order written, each key once.

use std::collections::{BTreeSet, HashMap};

use serde_saphyr::granit_parser::{self, Event, ScalarStyle, Span};

use super::{Fault, PADDING};
use crate::document::ProblemKind;
use crate::limits::{MAX_ALIASED_BYTES, MAX_ALIASED_NODES, MAX_DEPTH, MAX_NODES};
use crate::node::{Entry, Node, Position, Value};
use crate::scalar::{self, Tag};

pub struct Builder<'a> {
    first_line: u32,
    padded: &'a BTreeSet<u32>,
    keeps_anchors: bool,
    pub documents: Vec<Node>,
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
    pub fn new(first_line: u32, padded: &'a BTreeSet<u32>, keeps_anchors: bool) -> Self {
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

    pub fn position_of(&self, marker: &granit_parser::Marker) -> Position {
        let line = u32::try_from(marker.line()).unwrap_or(u32::MAX);
        let column = u32::try_from(marker.col()).unwrap_or(u32::MAX);
        let padding = if self.padded.contains(&line) { PADDING } else { 0 };
        Position {
            line: line.saturating_add(self.first_line).saturating_sub(1).max(1),
            column: column.saturating_sub(padding).saturating_add(1),
        }
    }

    pub fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
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

pub fn fault_of(error: &granit_parser::ScanError, at: Position) -> Fault {
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
