//! Regular expressions as Go reads them, which is what OPA does: `\d`, `\w`, `\s` and `\b` are
//! ASCII, `{` without a count is a brace, and sets of sets do not exist.
//!
//! A pattern is translated once and kept. One that Go refuses makes the answer undefined; one
//! that is too large for us fails the evaluation.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Regex, RegexBuilder};
use regorus::Value;

use super::Refused;

type Answer = Result<Value, Refused>;

/// Of a compiled pattern.
const SIZE_LIMIT_BYTES: usize = 1024 * 1024;
/// Patterns kept by a thread. A library has dozens.
const MAX_KEPT: usize = 256;
/// Go's own limit of a count.
const MAX_REPEAT: u32 = 1000;

thread_local! {
    static KEPT: RefCell<HashMap<String, Option<Regex>>> = RefCell::new(HashMap::new());
}

pub(super) fn is_match(operands: &[Value]) -> Answer {
    let [Value::String(pattern), Value::String(text)] = operands else {
        return Ok(Value::Undefined);
    };
    Ok(compile(pattern)?.map_or(Value::Undefined, |regex| Value::from(regex.is_match(text))))
}

pub(super) fn is_valid(operands: &[Value]) -> Answer {
    let [Value::String(pattern)] = operands else { return Ok(Value::from(false)) };
    Ok(Value::from(compile(pattern)?.is_some()))
}

/// The first matches, or all where the number is negative.
pub(super) fn find_n(operands: &[Value]) -> Answer {
    let [Value::String(pattern), Value::String(text), Value::Number(count)] = operands else {
        return Ok(Value::Undefined);
    };
    let (Some(count), Some(regex)) = (count.as_i64(), compile(pattern)?) else {
        return Ok(Value::Undefined);
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let found = regex.find_iter(text).take(count).map(|found| Value::from(found.as_str()));
    Ok(Value::from(found.collect::<Vec<_>>()))
}

pub(super) fn replace(operands: &[Value]) -> Answer {
    let [Value::String(text), Value::String(pattern), Value::String(by)] = operands else {
        return Ok(Value::Undefined);
    };
    let replaced = |regex: Regex| Value::from(regex.replace_all(text, by.as_ref()).into_owned());
    Ok(compile(pattern)?.map_or(Value::Undefined, replaced))
}

pub(super) fn split(operands: &[Value]) -> Answer {
    let [Value::String(pattern), Value::String(text)] = operands else {
        return Ok(Value::Undefined);
    };
    let Some(regex) = compile(pattern)? else { return Ok(Value::Undefined) };
    if text.is_empty() && !pattern.is_empty() {
        return Ok(Value::from(vec![Value::from("")]));
    }
    let mut parts = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for found in regex.find_iter(text) {
        end = found.start();
        // An empty match at the start splits nothing off.
        if found.end() != 0 {
            parts.push(Value::from(&text[begin..end]));
        }
        begin = found.end();
    }
    if end != text.len() {
        parts.push(Value::from(&text[begin..]));
    }
    Ok(Value::from(parts))
}

/// None where Go refuses the pattern.
fn compile(pattern: &str) -> Result<Option<Regex>, Refused> {
    if let Some(kept) = KEPT.with_borrow(|kept| kept.get(pattern).cloned()) {
        return Ok(kept);
    }
    let built = translate(pattern)
        .map(|translated| RegexBuilder::new(&translated).size_limit(SIZE_LIMIT_BYTES).build());
    let compiled = match built {
        Some(Ok(regex)) => Some(regex),
        // What is left to find is what neither can read, such as a missing bracket.
        None | Some(Err(regex::Error::Syntax(_))) => None,
        Some(Err(_)) => return Err(Refused("a regular expression that is too large")),
    };
    KEPT.with_borrow_mut(|kept| {
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), compiled.clone());
    });
    Ok(compiled)
}

/// Go's syntax in Rust's. None where it is not Go's syntax; what is left to find is found by
/// the compiler.
fn translate(pattern: &str) -> Option<String> {
    let mut reader = Reader { rest: pattern, out: String::with_capacity(pattern.len() + 16) };
    // What a repetition would repeat: nothing at the start, and not another repetition.
    let mut repeatable = false;
    while let Some(c) = reader.next() {
        repeatable = match c {
            '\\' => reader.escape()?,
            '[' => reader.class()?,
            '(' => {
                reader.group()?;
                false
            }
            '|' => {
                reader.out.push('|');
                false
            }
            '{' => match reader.count()? {
                Some(count) if repeatable => {
                    reader.out.push_str(&count);
                    reader.lazy();
                    false
                }
                Some(_) => return None,
                None => {
                    reader.out.push_str("\\{");
                    true
                }
            },
            '*' | '+' | '?' if !repeatable => return None,
            '*' | '+' | '?' => {
                reader.out.push(c);
                reader.lazy();
                false
            }
            '}' | ']' => {
                reader.literal(c);
                true
            }
            c => {
                reader.out.push(c);
                true
            }
        };
    }
    Some(reader.out)
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn literal(&mut self, c: char) {
        self.out.push_str(&regex::escape(&c.to_string()));
    }

    fn lazy(&mut self) {
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
            self.out.push('?');
        }
    }

    /// After a backslash outside of a class. Whether it can be repeated.
    fn escape(&mut self) -> Option<bool> {
        match self.next()? {
            'b' => self.out.push_str(r"(?-u:\b)"),
            'B' => self.out.push_str(r"(?-u:\B)"),
            c @ ('A' | 'z') => self.out.extend(['\\', c]),
            'Q' => {
                let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.out.push_str(&regex::escape(quoted));
                self.rest = rest;
                return Some(!quoted.is_empty());
            }
            c => match perl_class(c) {
                Some((negated, class)) => {
                    let not = if negated { "^" } else { "" };
                    self.out.push_str(&format!("[{not}{class}]"));
                }
                None => self.plain_escape(c)?,
            },
        }
        Some(true)
    }

    /// An escape that stands for one character or one class, in a class or outside.
    fn plain_escape(&mut self, c: char) -> Option<()> {
        match c {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' => self.out.extend(['\\', c]),
            'p' | 'P' => self.unicode_class(c == 'P')?,
            '0'..='7' => {
                let more =
                    self.rest.bytes().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
                if c != '0' && more == 0 {
                    return None;
                }
                let digits = format!("{c}{}", &self.rest[..more]);
                self.rest = &self.rest[more..];
                let code = u32::from_str_radix(&digits, 8).ok()?;
                self.out.push_str(&format!("\\x{{{code:X}}}"));
            }
            c if c.is_ascii_punctuation() || !c.is_ascii() => self.literal(c),
            _ => return None,
        }
        Some(())
    }

    /// After `\p` or `\P`: one letter, or a name in braces that may start with `^`.
    fn unicode_class(&mut self, negated: bool) -> Option<()> {
        let braced = self.rest.starts_with('{');
        let end =
            if braced { self.rest.find('}')? + 1 } else { self.rest.chars().next()?.len_utf8() };
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let name = name.trim_matches(['{', '}']);
        let (negated, name) = match name.strip_prefix('^') {
            Some(name) => (!negated, name),
            None => (negated, name),
        };
        let letter = if negated { 'P' } else { 'p' };
        self.out.push_str(&format!("\\{letter}{{{name}}}"));
        Some(())
    }

    /// After `(`: flags and names, as far as Go knows them.
    fn group(&mut self) -> Option<()> {
        self.out.push('(');
        let Some(rest) = self.rest.strip_prefix('?') else { return Some(()) };
        let named = rest.strip_prefix("P<").or_else(|| rest.strip_prefix('<'));
        if let Some(named) = named {
            self.out.push_str("?P<");
            self.rest = named;
            return Some(());
        }
        let flags = &rest[..rest.find([':', ')'])?];
        if !flags.chars().all(|c| matches!(c, 'i' | 'm' | 's' | 'U' | '-')) {
            return None;
        }
        let ends = rest[flags.len()..].starts_with(')');
        self.out.push('?');
        self.out.push_str(flags);
        self.out.push(if ends { ')' } else { ':' });
        self.rest = &rest[flags.len() + 1..];
        Some(())
    }

    /// After `{`: `n}`, `n,}` or `n,m}`, taken with its brace. None inside where it is no count.
    fn count(&mut self) -> Option<Option<String>> {
        let Some(end) = self.rest.find('}') else { return Some(None) };
        let inside = &self.rest[..end];
        let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(least) || !(digits(most) || (most.is_empty() && inside.contains(','))) {
            return Some(None);
        }
        let least: u32 = least.parse().ok()?;
        let most: u32 = if most.is_empty() { least } else { most.parse().ok()? };
        if least > MAX_REPEAT || most > MAX_REPEAT || least > most {
            return None;
        }
        let count = format!("{{{inside}}}");
        self.rest = &self.rest[end + 1..];
        Some(Some(count))
    }

    /// After `[`, to its `]`.
    fn class(&mut self) -> Option<bool> {
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
        let mut first = true;
        loop {
            match self.next()? {
                ']' if !first => break,
                '[' if self.rest.starts_with(':') => {
                    let name = &self.rest[..self.rest.find(":]")? + 2];
                    self.out.push('[');
                    self.out.push_str(name);
                    self.rest = &self.rest[name.len()..];
                }
                '\\' => {
                    let c = self.next()?;
                    match perl_class(c) {
                        Some((false, class)) => self.out.push_str(class),
                        Some((true, class)) => self.out.push_str(&format!("[^{class}]")),
                        None => self.plain_escape(c)?,
                    }
                }
                '-' => self.out.push('-'),
                // Rust's own operators between sets are made of these.
                c => self.literal(c),
            }
            first = false;
        }
        self.out.push(']');
        Some(true)
    }
}

/// Whether it is negated, and what is in it.
const fn perl_class(c: char) -> Option<(bool, &'static str)> {
    match c {
        'd' => Some((false, "0-9")),
        'D' => Some((true, "0-9")),
        'w' => Some((false, "0-9A-Za-z_")),
        'W' => Some((true, "0-9A-Za-z_")),
        's' => Some((false, r"\t\n\f\r ")),
        'S' => Some((true, r"\t\n\f\r ")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_syntax_is_read_as_go_reads_it() {
        for (pattern, text, expected) in [
            (r"^\d+$", "\u{661}", Some(false)),
            (r"^\w+$", "\u{e9}", Some(false)),
            (r"^[\w.-]+$", "a.b-c_1", Some(true)),
            (r"\bfoo\b", "\u{e9}foo", Some(true)),
            (r"a{2,", "a{2,", Some(true)),
            (r"a{1,2}?", "a", Some(true)),
            (r"a{1001}", "a", None),
            (r"a**", "a", None),
            (r"*a", "a", None),
            (r"\Qa.b\E+", "a.bb", Some(true)),
            (r"[a-z&&b]", "&", Some(true)),
            (r"[[a]", "[", Some(true)),
            (r"[]a]", "]", Some(true)),
            (r"[^]a]", "b", Some(true)),
            (r"[[:alpha:]]", "b", Some(true)),
            (r"\<a", "<a", Some(true)),
            (r"(?i)ABC", "abc", Some(true)),
            (r"(?x)a b", "ab", None),
            (r"(?P<n>a)", "a", Some(true)),
            (r"(a", "a", None),
            (r"\y", "y", None),
            (r"\1", "1", None),
            (r"\101", "A", Some(true)),
            (r"x}]", "x}]", Some(true)),
            (r"^\p{^Greek}$", "a", Some(true)),
            (r"^\pL$", "a", Some(true)),
            (r"^\p{Greek}+$", "\u{3b1}", Some(true)),
            (r"^[\p{Greek}a]+$", "\u{3b1}a", Some(true)),
        ] {
            let operands = [Value::from(pattern), Value::from(text)];
            let answer = match is_match(&operands) {
                Ok(Value::Bool(answer)) => Some(answer),
                Ok(_) | Err(_) => None,
            };
            assert_eq!(answer, expected, "{pattern}");
        }
    }
}
