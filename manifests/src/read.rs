//! One file to the documents it holds. Knows nothing of other files.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::classify::classify;
use crate::document::{Class, Document, Problem, ProblemKind, Why};
use crate::limits::{MAX_DOCUMENTS_PER_FILE, MAX_FILE_BYTES};
use crate::node::{Node, Position, Value};
use crate::walk::{Input, Source};
use crate::yaml::{self, Fault};
use crate::{json, template};

/// What one file gave.
#[derive(Debug, Default)]
pub struct Content {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
    /// Empty where the file could not be read as text.
    pub text: String,
}

/// One byte more than the limit at most.
pub fn bytes_of(input: &Input) -> std::io::Result<Vec<u8>> {
    match &input.source {
        Source::File { path } => std::fs::File::open(path).and_then(bounded),
        Source::Stdin => bounded(std::io::stdin().lock()),
    }
}

#[must_use]
pub fn read(input: &Input) -> Content {
    let path = match &input.source {
        Source::File { path } => Some(&**path),
        Source::Stdin => None,
    };
    match bytes_of(input) {
        Ok(bytes) => read_bytes(&input.shown, path, bytes),
        Err(error) => Content {
            problems: vec![Problem {
                file: Arc::clone(&input.shown),
                at: None,
                kind: ProblemKind::Unreadable,
                message: format!("cannot be read: {error}"),
            }],
            ..Content::default()
        },
    }
}

/// `path` is where the file lies, which tells charts and kustomizations; `shown` what it is called.
#[must_use]
pub fn read_bytes(shown: &Arc<str>, path: Option<&Path>, bytes: Vec<u8>) -> Content {
    let mut reader = Reader { file: shown, documents: Vec::new(), problems: Vec::new(), count: 0 };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("larger than {} MiB", MAX_FILE_BYTES / 1024 / 1024);
        reader.problem(None, ProblemKind::Limit, message);
        return reader.done(String::new());
    }
    let text = match decode(bytes) {
        Ok(text) => text,
        Err((at, message)) => {
            reader.problem(at, ProblemKind::NotUtf8, message);
            return reader.done(String::new());
        }
    };
    if path.is_some_and(|path| template::is_helm(path, &text)) {
        reader.not_evaluated(Position::START, Why::Template);
    } else {
        reader.text(&text, path);
    }
    reader.done(text)
}

struct Reader<'a> {
    file: &'a Arc<str>,
    documents: Vec<Document>,
    problems: Vec<Problem>,
    count: usize,
}

impl Reader<'_> {
    fn text(&mut self, text: &str, path: Option<&Path>) {
        let name = Path::new(&**self.file);
        let named_json =
            name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if named_json || text.trim_start().starts_with('{') {
            let (nodes, fault) = json::parse(text);
            if named_json || fault.is_none() {
                nodes.into_iter().for_each(|node| self.document(node, path));
                if let Some(fault) = fault {
                    self.fault(fault, Position::START, template::looks_like_one(text));
                }
                return;
            }
        }
        self.yaml(text, path);
    }

    fn yaml(&mut self, text: &str, path: Option<&Path>) {
        let chunks: Vec<_> =
            yaml::split(text).into_iter().map(|chunk| (chunk, yaml::parse(chunk))).collect();
        // One part that is a template makes templates of the others that hold actions.
        let in_template = chunks
            .iter()
            .any(|(chunk, parsed)| parsed.is_err() && template::looks_like_one(chunk.text));
        for (chunk, parsed) in chunks {
            let start = Position { line: chunk.line, column: 1 };
            let is_template = in_template && chunk.text.contains("{{");
            match parsed {
                Ok(nodes) if is_template && !nodes.is_empty() => {
                    self.not_evaluated(start, Why::Template);
                }
                Ok(nodes) => nodes.into_iter().for_each(|node| self.document(node, path)),
                Err(fault) => self.fault(fault, start, is_template),
            }
        }
    }

    fn document(&mut self, node: Node, path: Option<&Path>) {
        if node.is_null() {
            return;
        }
        let index = self.count;
        self.count += 1;
        let room = MAX_DOCUMENTS_PER_FILE.saturating_sub(self.documents.len());
        let mut classified = classify(self.file, path, index, node);
        if classified.documents.len() > room {
            let at = classified.documents[room].at;
            classified.documents.truncate(room);
            if self.problems.last().is_none_or(|problem| problem.kind != ProblemKind::Limit) {
                let message =
                    format!("more than {MAX_DOCUMENTS_PER_FILE} documents: the rest was not read");
                self.problem(Some(at), ProblemKind::Limit, message);
            }
        }
        self.documents.append(&mut classified.documents);
        self.problems.append(&mut classified.problems);
    }

    fn not_evaluated(&mut self, at: Position, why: Why) {
        let index = self.count;
        self.count += 1;
        self.documents.push(Document {
            file: Arc::clone(self.file),
            index,
            item: None,
            at,
            node: Node::new(Value::Null, at),
            class: Class::NotEvaluated { why },
            unrendered: None,
        });
    }

    fn fault(&mut self, fault: Fault, start: Position, is_template: bool) {
        if is_template && fault.kind != ProblemKind::Limit {
            self.not_evaluated(start, Why::Template);
        } else {
            self.problem(Some(fault.at), fault.kind, fault.message);
        }
    }

    fn problem(&mut self, at: Option<Position>, kind: ProblemKind, message: String) {
        self.problems.push(Problem { file: Arc::clone(self.file), at, kind, message });
    }

    fn done(self, text: String) -> Content {
        Content { documents: self.documents, problems: self.problems, text }
    }
}

/// One byte past the limit tells that it was passed.
fn bounded(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decode(mut bytes: Vec<u8>) -> Result<String, (Option<Position>, String)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err((None, "is UTF-16".to_owned()));
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let lines = valid.iter().filter(|byte| **byte == b'\n').count();
        let last = valid.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() + 1;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let at = Position { line: count(lines + 1), column: count(column) };
        (Some(at), "is not UTF-8".to_owned())
    })
}
