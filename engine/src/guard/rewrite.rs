//! Rewrites what the engine reads differently from OPA into what both read alike. Rewriting keeps
//! every line where it was, so that errors still point to the author's line.
//!
//! | OPA | the engine | so it becomes |
//! |---|---|---|
//! | a call's parenthesis follows at once | a line that starts with `(` continues a call | `;` in front |
//! | `a + b` of anything but numbers is undefined | is an error | a call of our own operator |
//! | operands under `not` are evaluated outside of it | inside | they stand in front |
//! | `some x in null` is undefined | is an error | a look at the collection's type in front |
//! | `sprintf("%d", ["a"])` is text | is undefined or empty | `%v`, which prints everything |
//! | `alias.rule` evaluates that rule | every rule of the package | the path in full (`qualify`) |

use std::collections::BTreeSet;

use regorus::unstable::{
    ArithOp, AssignOp, BinOp, BoolOp, Expr, Literal, LiteralStmt, Module, Span, WithModifier,
};

use super::qualify;
use super::visit::{self, Node};
use crate::builtin;

/// Names that rewriting makes start with this; policies must not use it.
pub(super) const RESERVED: &str = "__provost_";

/// A piece of text to replace.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

/// Rewrites one step: everything that does not hold something else to be rewritten. None where
/// there is nothing to do. `names` counts the names that were made.
pub(super) fn step(module: &Module, text: &str, names: &mut usize) -> Option<String> {
    let mut edits = line_starts(module, text);
    if edits.is_empty() {
        edits = others(module, text, names);
    }
    if edits.is_empty() {
        edits = qualify::edits(module, text);
    }
    if edits.is_empty() { None } else { Some(apply(text, edits)) }
}

/// Innermost first: an edit that holds another one waits for the next step.
fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.end - edit.start, edit.start));
    let mut chosen: Vec<Edit> = Vec::new();
    for edit in edits {
        if chosen.iter().all(|other| edit.end <= other.start || other.end <= edit.start) {
            chosen.push(edit);
        }
    }
    chosen.sort_by_key(|edit| edit.start);
    let mut result = String::with_capacity(text.len() + 64);
    let mut done = 0;
    for edit in chosen {
        result.push_str(&text[done..edit.start]);
        result.push_str(&edit.text);
        done = edit.end;
    }
    result.push_str(&text[done..]);
    result
}

/// Where a call or an index continues on another line, it is no call or index.
fn line_starts(module: &Module, text: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    visit::module(module, &mut |node| {
        let (Node::Expr(Expr::Call { fcn: before, .. })
        | Node::Expr(Expr::RefBrack { refr: before, .. })) = node
        else {
            return;
        };
        let end = end_of(text, before.span());
        let gap: &str = text[end..].split(['(', '[']).next().unwrap_or_default();
        if gap.contains('\n') {
            edits.push(Edit { start: end, end, text: ";".to_owned() });
        }
    });
    edits
}

fn others(module: &Module, text: &str, names: &mut usize) -> Vec<Edit> {
    let globals = globals(module);
    let mut edits = Vec::new();
    visit::module(module, &mut |node| match node {
        Node::Expr(Expr::ArithExpr { span, op, lhs, rhs, .. }) => {
            let known = is_number(lhs) && is_number(rhs);
            let operator = match op {
                ArithOp::Add => (b'+', builtin::PLUS),
                ArithOp::Sub => (b'-', builtin::MINUS),
                ArithOp::Mul => (b'*', builtin::TIMES),
                ArithOp::Div => (b'/', builtin::DIVIDE),
                ArithOp::Mod => (b'%', builtin::REMAINDER),
            };
            if !known {
                edits.extend(operation(text, span, lhs, operator));
            }
        }
        Node::Expr(Expr::BinExpr { span, op, lhs, .. }) => {
            let operator = match op {
                BinOp::Union => (b'|', builtin::OR),
                BinOp::Intersection => (b'&', builtin::AND),
            };
            edits.extend(operation(text, span, lhs, operator));
        }
        Node::Expr(Expr::Call { fcn, params, .. }) => {
            if let (Some(name), Some(format)) = (visit::dotted(fcn), params.first()) {
                edits.extend((name == ["sprintf"]).then(|| format_verbs(text, format)).flatten());
            }
        }
        Node::Stmt(statement) => edits.extend(statement_edit(text, statement, &globals, names)),
        Node::Expr(_) => {}
    });
    edits
}

/// Names that are not local: rules, imports, `input` and `data`.
pub(super) fn globals(module: &Module) -> BTreeSet<String> {
    let mut names = BTreeSet::from(["input".to_owned(), "data".to_owned()]);
    for import in &module.imports {
        let alias = import.r#as.as_ref().map(|alias| alias.text().to_owned());
        names.extend(alias.or_else(|| visit::dotted(&import.refr)?.pop()));
    }
    names.extend(rules(module).map(str::to_owned));
    names
}

/// Names that rules of the module begin with.
pub(super) fn rules(module: &Module) -> impl Iterator<Item = &str> {
    use regorus::unstable::{Rule, RuleHead};
    module.policy.iter().filter_map(|rule| {
        let (Rule::Default { refr, .. }
        | Rule::Spec {
            head:
                RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        }) = rule.as_ref();
        match visit::base(refr) {
            Expr::Var { span, .. } => Some(span.text()),
            _ => None,
        }
    })
}

/// `a + b` as `operator(a, b)`.
fn operation(text: &str, span: &Span, lhs: &Expr, (sign, operator): (u8, &str)) -> Option<Edit> {
    let (start, end) = (start_of(text, span), end_of(text, span));
    let left_end = end_of(text, lhs.span());
    let at = left_end + after_blank(text.get(left_end..end)?)?;
    let (left, right) = (text.get(start..at)?, text.get(at + 1..end)?);
    let balanced =
        |part: &str| part.matches(['(', '[', '{']).count() == part.matches([')', ']', '}']).count();
    // Brackets in strings can be uneven without harm; then the author must say it differently.
    let sound = text.as_bytes().get(at) == Some(&sign) && balanced(left) && balanced(right);
    sound.then(|| Edit { start, end, text: format!("{operator}({left}, {right})") })
}

/// The first byte that is neither blank, comment nor a closing parenthesis.
fn after_blank(text: &str) -> Option<usize> {
    let mut comment = false;
    text.bytes().position(|byte| match byte {
        b'\n' => {
            comment = false;
            false
        }
        _ if comment => false,
        b'#' => {
            comment = true;
            false
        }
        b')' => false,
        byte => !byte.is_ascii_whitespace(),
    })
}

/// `%s` and `%d` as `%v`.
fn format_verbs(text: &str, format: &Expr) -> Option<Edit> {
    if !matches!(format, Expr::String { .. } | Expr::RawString { .. }) {
        return None;
    }
    let (start, end) = (start_of(text, format.span()), end_of(text, format.span()));
    let old = text.get(start..end)?;
    let mut new = String::with_capacity(old.len());
    let mut chars = old.chars();
    while let Some(c) = chars.next() {
        new.push(c);
        if c == '%' {
            new.extend(chars.next().map(|verb| if matches!(verb, 's' | 'd') { 'v' } else { verb }));
        }
    }
    (new != old).then_some(Edit { start, end, text: new })
}

fn statement_edit(
    text: &str,
    statement: &LiteralStmt,
    globals: &BTreeSet<String>,
    names: &mut usize,
) -> Option<Edit> {
    let (front, rest) = match &statement.literal {
        Literal::NotExpr { expr, .. } => outside_of_not(text, statement, expr, globals, names)?,
        Literal::SomeIn { collection, .. } => look_at_type(text, statement, collection, names)?,
        _ => return None,
    };
    let (start, end) = (start_of(text, &statement.span), end_of(text, &statement.span));
    let before = text.get(..start)?.trim_end();
    // `if not f(x)` without braces has room for one statement only.
    let alone = before.strip_suffix("if").is_some_and(|before| {
        !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    });
    let replaced = format!("{front}; {rest}");
    let replaced = if alone { format!("{{ {replaced} }}") } else { replaced };
    Some(Edit { start, end, text: replaced })
}

/// The operands of a negated expression, and the expression over their names.
fn outside_of_not(
    text: &str,
    statement: &LiteralStmt,
    negated: &Expr,
    globals: &BTreeSet<String>,
    names: &mut usize,
) -> Option<(String, String)> {
    let operands = operands(negated, globals);
    if operands.is_empty() {
        return None;
    }
    let with = with_text(text, &statement.with_mods)?;
    let mut front = Vec::new();
    let mut rest = String::new();
    let mut done = start_of(text, &statement.span);
    for operand in operands {
        let (start, end) = (start_of(text, operand.span()), end_of(text, operand.span()));
        let name = fresh(names);
        front.push(format!("{name} := {}{with}", text.get(start..end)?));
        rest.push_str(text.get(done..start)?);
        rest.push_str(&name);
        done = end;
    }
    rest.push_str(text.get(done..end_of(text, &statement.span))?);
    Some((front.join("; "), rest))
}

/// What OPA's compiler evaluates in front of a negated expression, in the order of the text.
pub(super) fn operands<'a>(negated: &'a Expr, globals: &BTreeSet<String>) -> Vec<&'a Expr> {
    let mut found = Vec::new();
    match negated {
        // A reference itself may be undefined under `not`; what it is indexed with may not.
        Expr::RefDot { .. } | Expr::RefBrack { .. } => {
            inside_reference(negated, globals, &mut found);
        }
        Expr::Call { params, .. } => {
            params.iter().for_each(|param| operand(param, globals, &mut found));
        }
        // Of both equalities OPA makes unification, which leaves references where they are.
        Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. }
        | Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } => {
            for side in [lhs, rhs] {
                match side.as_ref() {
                    Expr::Var { .. } => {}
                    Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                        inside_reference(side, globals, &mut found);
                    }
                    other => operand(other, globals, &mut found),
                }
            }
        }
        Expr::Var { .. } | Expr::ArrayCompr { .. } | Expr::SetCompr { .. } => {}
        Expr::ObjectCompr { .. } => {}
        other => visit::children(other).into_iter().for_each(|e| operand(e, globals, &mut found)),
    }
    found.sort_by_key(|operand| operand.span().start);
    found
}

fn inside_reference<'a>(node: &'a Expr, globals: &BTreeSet<String>, found: &mut Vec<&'a Expr>) {
    match node {
        Expr::RefDot { refr, .. } => inside_reference(refr, globals, found),
        Expr::RefBrack { refr, index, .. } => {
            inside_reference(refr, globals, found);
            operand(index, globals, found);
        }
        Expr::Var { .. } => {}
        other => operand(other, globals, found),
    }
}

fn operand<'a>(node: &'a Expr, globals: &BTreeSet<String>, found: &mut Vec<&'a Expr>) {
    match node {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => {}
        Expr::Var { span, .. } if !globals.contains(span.text()) => {}
        Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. } => {
            visit::children(node).into_iter().for_each(|each| operand(each, globals, found));
        }
        _ => found.push(node),
    }
}

/// A look at the type of what `some ... in` goes over.
fn look_at_type(
    text: &str,
    statement: &LiteralStmt,
    collection: &Expr,
    names: &mut usize,
) -> Option<(String, String)> {
    match collection {
        Expr::Array { .. }
        | Expr::Set { .. }
        | Expr::Object { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => return None,
        Expr::Var { span, .. } if span.text().starts_with(RESERVED) => return None,
        _ => {}
    }
    let with = with_text(text, &statement.with_mods)?;
    let (start, end) = (start_of(text, collection.span()), end_of(text, collection.span()));
    let name = fresh(names);
    let front = format!(
        "{name} := {}{with}; type_name({name}) in {{\"array\", \"object\", \"set\"}}",
        text.get(start..end)?
    );
    let before = text.get(start_of(text, &statement.span)..start)?;
    let after = text.get(end..end_of(text, &statement.span))?;
    Some((front, format!("{before}{name}{after}")))
}

/// ` with a as b with c as d`, or nothing.
fn with_text(text: &str, modifiers: &[WithModifier]) -> Option<String> {
    let part = |modifier: &WithModifier| {
        let (target, value) = (modifier.refr.span(), modifier.r#as.span());
        let target = text.get(start_of(text, target)..end_of(text, target))?;
        Some(format!(" with {target} as {}", text.get(start_of(text, value)..end_of(text, value))?))
    };
    modifiers.iter().map(part).collect()
}

fn fresh(names: &mut usize) -> String {
    *names += 1;
    format!("{RESERVED}{names}")
}

const fn is_number(node: &Expr) -> bool {
    matches!(node, Expr::Number { .. })
}

/// The parser's spans leave out the quotes of strings at either end.
pub(super) fn start_of(text: &str, span: &Span) -> usize {
    let start = usize::try_from(span.start).unwrap_or(usize::MAX);
    let quoted = start > 0 && is_quote(text.as_bytes().get(start - 1));
    start - usize::from(quoted)
}

pub(super) fn end_of(text: &str, span: &Span) -> usize {
    let end = usize::try_from(span.end).unwrap_or(usize::MAX);
    end + usize::from(is_quote(text.as_bytes().get(end)))
}

const fn is_quote(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'"' | b'`'))
}
