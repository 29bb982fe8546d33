//! How deep the text nests, before anything parses it. The parser tries an opening bracket in
//! several ways, so that its time doubles with each level; and what it makes of a long chain of
//! operators is a tree as deep as the chain, which ends the stack of whoever walks it.

use provost_bundle::{Diagnostic, Module};
use provost_model::Code;

/// Of brackets and braces. The library nests 7, with the inputs of its tests.
const MAX_LEVELS: usize = 16;
/// Of parentheses.
const MAX_PARENTHESES: usize = 64;
/// Characters of operators, and words `in`, without anything that ends an expression between.
const MAX_CHAIN: usize = 500;

/// A diagnostic at the first line that is too deep.
pub(super) fn check(module: &Module) -> Result<(), Vec<Diagnostic>> {
    let (mut levels, mut parentheses, mut chain) = (0_usize, 0_usize, 0_usize);
    let code = code_only(&module.text);
    let (mut open_end, mut too_deep) = (false, false);
    for (number, line) in code.lines().enumerate() {
        let trimmed = line.trim();
        let goes_on = open_end || trimmed.starts_with(is_operator) || trimmed.starts_with("in ");
        if !trimmed.is_empty() && !goes_on {
            chain = 0;
        }
        for c in line.chars() {
            match c {
                '[' | '{' => levels += 1,
                ']' | '}' => levels = levels.saturating_sub(1),
                '(' => parentheses += 1,
                ')' => parentheses = parentheses.saturating_sub(1),
                _ => {}
            }
            match c {
                ';' | ',' | '[' | ']' | '{' | '}' => chain = 0,
                c if is_operator(c) => chain += 1,
                _ => {}
            }
            too_deep |= levels > MAX_LEVELS || parentheses > MAX_PARENTHESES || chain > MAX_CHAIN;
        }
        chain += line.split_whitespace().filter(|word| *word == "in").count();
        if too_deep || chain > MAX_CHAIN {
            let line = u32::try_from(number + 1).unwrap_or(u32::MAX);
            let what = "an expression that nests too deep or is too long";
            let diagnostic = Diagnostic::new(&module.path, Code::CompileFailed, what);
            return Err(vec![diagnostic.at(line, 0).hint("give a part of it a name")]);
        }
        if !trimmed.is_empty() {
            open_end =
                trimmed.ends_with(is_operator) || trimmed.ends_with(" in") || trimmed == "in";
        }
    }
    Ok(())
}

const fn is_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '/' | '%' | '|' | '&' | '=' | '<' | '>' | '!' | ':')
}

/// The text without comments and without what stands in strings. Lines stay where they are.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut within = Within::Code;
    let mut escaped = false;
    for c in text.chars() {
        let (next, keep) = match (within, c) {
            (Within::Code, '"') => (Within::Text, true),
            (Within::Code, '`') => (Within::RawText, true),
            (Within::Code, '#') => (Within::Comment, false),
            (Within::Code, _) => (Within::Code, true),
            (Within::Text, '"') if !escaped => (Within::Code, true),
            (Within::Text | Within::Comment, '\n') => (Within::Code, true),
            (Within::RawText, '`') => (Within::Code, true),
            (within, c) => (within, c == '\n'),
        };
        escaped = next == Within::Text && c == '\\' && !escaped;
        within = next;
        if keep {
            code.push(c);
        }
    }
    code
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Code,
    Text,
    RawText,
    Comment,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(text: &str) -> bool {
        let module = Module {
            path: "p.rego".to_owned(),
            package: "p".to_owned(),
            text: text.into(),
            imports: Vec::new(),
        };
        check(&module).is_err()
    }

    #[test]
    fn only_what_is_code_counts() {
        let deep = "[{".repeat(MAX_LEVELS);
        assert!(nested(&deep));
        assert!(nested(&format!("\"\\\"\" {deep}")));
        for fine in [
            format!("\"{deep}\""),
            format!("`{deep}`"),
            format!("# {deep}\n"),
            "[{}]".repeat(100),
            format!("\"\\\" {deep}\""),
        ] {
            assert!(!nested(&fine), "{fine}");
        }
    }

    #[test]
    fn chains_end_with_their_statement() {
        assert!(nested(&"1 + ".repeat(1000)));
        assert!(nested(&"1 +\n".repeat(1000)));
        assert!(nested(&"1\n + ".repeat(1000)));
        assert!(nested(&"1 in ".repeat(1000)));
        assert!(nested(&"1 in\n".repeat(1000)));
        assert!(nested(&"-".repeat(1000)));
        assert!(!nested(&"p := 1 + 2\n".repeat(1000)));
    }
}
