//! JSON text to trees. Strict, one value after another as `kubectl` reads them, each key once.
//!
//! Not read as YAML, which resolves some numbers differently and lets more through.

use std::collections::HashMap;

use crate::document::ProblemKind;
use crate::limits::{MAX_DEPTH, MAX_NODES};
use crate::node::{Entry, Node, Position, Value};
use crate::scalar;
use crate::yaml::Fault;

/// The values of a text. An error loses only what follows it: the values before it are given.
pub fn parse(text: &str) -> (Vec<Node>, Option<Fault>) {
    let mut reader = Reader { rest: text, at: Position::START, nodes: 0 };
    let mut documents = Vec::new();
    loop {
        reader.skip_space();
        if reader.rest.is_empty() {
            return (documents, None);
        }
        match reader.value(0) {
            Ok(node) => documents.push(node),
            Err(fault) => return (documents, Some(fault)),
        }
        reader.nodes = 0;
    }
}

struct Reader<'a> {
    rest: &'a str,
    at: Position,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.limit(format!("the document holds more than {MAX_NODES} values")));
        }
        let at = self.at;
        let value = match self.rest.as_bytes().first() {
            Some(b'{') => self.mapping(depth)?,
            Some(b'[') => self.sequence(depth)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node::new(value, at))
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Fault> {
        self.enter(depth)?;
        let (mut entries, mut places) = (Vec::<Entry>::new(), HashMap::new());
        if self.closes('}') {
            return Ok(Value::Mapping(entries));
        }
        loop {
            self.skip_space();
            let key_at = self.at;
            if !self.rest.starts_with('"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = self.string()?;
            if let Some(first) = places.insert(key.clone(), key_at) {
                let shown: String = key.chars().take(80).collect();
                let message =
                    format!("the key `{shown}` stands twice in one object, first at {first}");
                return Err(Fault { at: key_at, kind: ProblemKind::DuplicateKey, message });
            }
            self.skip_space();
            self.require(':')?;
            self.skip_space();
            let value = self.value(depth + 1)?;
            entries.push(Entry { key, key_at, value });
            if self.separated('}')? {
                return Ok(Value::Mapping(entries));
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Fault> {
        self.enter(depth)?;
        let mut elements = Vec::new();
        if self.closes(']') {
            return Ok(Value::Sequence(elements));
        }
        loop {
            self.skip_space();
            elements.push(self.value(depth + 1)?);
            if self.separated(']')? {
                return Ok(Value::Sequence(elements));
            }
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(
                self.limit(format!("objects and lists are nested deeper than {MAX_DEPTH} levels"))
            );
        }
        self.advance(1);
        Ok(())
    }

    fn closes(&mut self, end: char) -> bool {
        self.skip_space();
        let closes = self.rest.starts_with(end);
        if closes {
            self.advance(1);
        }
        closes
    }

    /// Takes a comma, or the end; true where it was the end.
    fn separated(&mut self, end: char) -> Result<bool, Fault> {
        if self.closes(end) {
            return Ok(true);
        }
        if !self.rest.starts_with(',') {
            return Err(self.expected(&format!("`,` or `{end}`")));
        }
        self.advance(1);
        Ok(false)
    }

    /// The text of a string ends at the first quote that no backslash precedes; what it says is
    /// decoded by `serde_json`.
    fn string(&mut self) -> Result<String, Fault> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(b'\n') | None => return Err(self.fault("a string has no end".to_owned())),
                Some(_) => end += 1,
            }
        }
        let Some(quoted) = self.rest.get(..=end) else {
            return Err(self.fault("a string has no end".to_owned()));
        };
        let text = serde_json::from_str(quoted)
            .map_err(|error| self.fault(format!("a string is not valid: {}", reason(&error))))?;
        self.advance(end + 1);
        Ok(text)
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let end = self.rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let text = &self.rest[..end.unwrap_or(self.rest.len())];
        let number: serde_json::Number = serde_json::from_str(text)
            .map_err(|_| self.fault(format!("`{}` is no number", shorten(text))))?;
        let value = match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Value::Int(value),
            (None, Some(value), _) => Value::Uint(value),
            (None, None, Some(value)) => scalar::number(value),
            _ => return Err(self.fault(format!("`{}` is out of range", shorten(text)))),
        };
        self.advance(text.len());
        Ok(value)
    }

    fn word(&mut self) -> Result<Value, Fault> {
        for (word, value) in
            [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
        {
            let follows = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if self.rest.strip_prefix(word).is_some_and(|rest| !follows(rest)) {
                self.advance(word.len());
                return Ok(value);
            }
        }
        Err(self.expected("a value"))
    }

    fn require(&mut self, expected: char) -> Result<(), Fault> {
        if !self.rest.starts_with(expected) {
            return Err(self.expected(&format!("`{expected}`")));
        }
        self.advance(1);
        Ok(())
    }

    fn skip_space(&mut self) {
        let end =
            self.rest.find(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).unwrap_or(self.rest.len());
        self.advance(end);
    }

    /// Moves on by bytes, counting lines and characters.
    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match passed.rfind('\n') {
            None => self.at.column = self.at.column.saturating_add(count(passed.chars().count())),
            Some(last) => {
                self.at.line = self.at.line.saturating_add(count(passed.matches('\n').count()));
                self.at.column = count(passed[last + 1..].chars().count() + 1);
            }
        }
        self.rest = rest;
    }

    fn expected(&self, what: &str) -> Fault {
        let found = match self.rest.chars().next() {
            Some(c) => format!("`{}`", c.escape_default()),
            None => "the end of the text".to_owned(),
        };
        self.fault(format!("expected {what}, found {found}"))
    }

    fn fault(&self, message: String) -> Fault {
        Fault { at: self.at, kind: ProblemKind::Syntax, message }
    }

    fn limit(&self, message: String) -> Fault {
        Fault { at: self.at, kind: ProblemKind::Limit, message }
    }
}

/// Without the position, which counts within the string alone.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use provost_model::Path;

    use super::*;

    fn at(line: u32, column: u32) -> Position {
        Position { line, column }
    }

    #[test]
    fn values_follow_each_other_and_know_their_place() {
        let (nodes, fault) = parse(
            "{\n  \"a\": [1, 2.0, 1e3, {\"\\u00e9\": null}]\n}\n{\"b\": \"\u{e9}\", \"c\": true}",
        );
        assert_eq!(fault, None);
        let text: Vec<_> = nodes.iter().map(|node| serde_json::to_string(node).unwrap()).collect();
        assert_eq!(text, ["{\"a\":[1,2,1000,{\"\u{e9}\":null}]}", "{\"b\":\"\u{e9}\",\"c\":true}"]);
        let locate = |node: &Node, pointer| node.locate(&Path::from_pointer(pointer).unwrap());
        assert_eq!(locate(&nodes[0], "/a/1"), at(2, 12));
        assert_eq!(locate(&nodes[1], ""), at(4, 1));
        assert_eq!(locate(&nodes[1], "/c"), at(4, 17));
    }

    #[test]
    fn what_is_no_json_says_where() {
        for (text, position, kind) in [
            ("{\"a\": 1,\n \"a\": 2}", at(2, 2), ProblemKind::DuplicateKey),
            ("{\"a\": }", at(1, 7), ProblemKind::Syntax),
            ("{\"a\": 1,}", at(1, 9), ProblemKind::Syntax),
            ("{a: 1}", at(1, 2), ProblemKind::Syntax),
            ("[1 2]", at(1, 4), ProblemKind::Syntax),
            ("{\"a\": \"x\ny\"}", at(1, 7), ProblemKind::Syntax),
            ("{\"a\": \"\\", at(1, 7), ProblemKind::Syntax),
            ("[01]", at(1, 2), ProblemKind::Syntax),
            ("[1e999]", at(1, 2), ProblemKind::Syntax),
            ("nullx", at(1, 1), ProblemKind::Syntax),
            ("// c\n{}", at(1, 1), ProblemKind::Syntax),
        ] {
            let (_, fault) = parse(text);
            let fault = fault.unwrap();
            assert_eq!((fault.at, fault.kind), (position, kind), "{text}: {}", fault.message);
        }
        let (_, fault) = parse(&"[".repeat(100_000));
        assert_eq!(fault.map(|fault| fault.kind), Some(ProblemKind::Limit));
    }

    #[test]
    fn what_stands_before_an_error_is_not_lost() {
        let (nodes, fault) = parse("{\"a\": 1}{\"b\": }");
        assert_eq!(nodes.len(), 1);
        assert!(fault.is_some());
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"a0-9e.+\\- \n\\\\]{0,24}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let (nodes, fault) = parse(&text);
            if let (Ok(theirs), None) = (&theirs, &fault) {
                prop_assert_eq!(nodes.len(), 1);
                let ours = serde_json::to_value(&nodes[0]).unwrap();
                prop_assert!(ours == *theirs || text.contains(['.', 'e', '-']), "{} {}", ours, theirs);
            } else if theirs.is_ok() {
                prop_assert_eq!(fault.map(|fault| fault.kind), Some(ProblemKind::DuplicateKey));
            }
        }
    }
}
