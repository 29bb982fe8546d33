//! Refuses what the engine answers differently from OPA and what no rewriting mends, with a
//! message that says what to write instead.

use std::collections::BTreeSet;

use provost_bundle::Diagnostic;
use provost_model::Code;
use regorus::unstable::{
    AssignOp, BoolOp, Expr, Literal, LiteralStmt, Module, Ref, Rule, RuleHead, Span,
};

use super::rewrite;
use super::visit::{self, Node};

/// Problems of one module as its author wrote it.
pub(super) fn module(module: &Module) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let globals = rewrite::globals(module);
    for rule in &module.policy {
        head(rule, &mut found);
        let bound = bound_names(rule, &globals);
        unbindable(rule, &globals, &mut found);
        visit::rule(rule, &mut |node| match node {
            Node::Expr(node) => expression(node, &mut found),
            Node::Stmt(statement) => self::statement(statement, &globals, &bound, &mut found),
        });
    }
    found
}

fn expression(node: &Expr, found: &mut Vec<Diagnostic>) {
    match node {
        Expr::UnaryExpr { span, expr, .. } if !matches!(expr.as_ref(), Expr::Number { .. }) => {
            found.push(refuse(
                span,
                "a minus sign in front of something that is no number",
                "write 0 - x",
            ));
        }
        Expr::AssignExpr { op, lhs, rhs, .. } => {
            pattern(lhs, found);
            // Of `:=` the right side is a value; `=` unifies both.
            if *op == AssignOp::Eq {
                pattern(rhs, found);
            }
        }
        Expr::Call { fcn, params, .. } => {
            adjacent(fcn.span(), node.span(), '(', found);
            if is_named(fcn, "sprintf") {
                sprintf(node.span(), params, found);
            }
        }
        Expr::RefBrack { refr, .. } => adjacent(refr.span(), node.span(), '[', found),
        _ => {}
    }
}

/// An object pattern with variables takes an object with more keys than it names; OPA's does not.
fn pattern(node: &Expr, found: &mut Vec<Diagnostic>) {
    match node {
        Expr::Array { .. } => visit::children(node).into_iter().for_each(|e| pattern(e, found)),
        Expr::Object { span, .. } => {
            let mut has_variable = false;
            visit::expr(node, &mut |inner| {
                has_variable |= matches!(inner, Node::Expr(Expr::Var { .. }));
            });
            if has_variable {
                let hint = "name the field: x := object.field, or compare with ==";
                found.push(refuse(span, "an object as a pattern", hint));
            }
        }
        _ => {}
    }
}

fn head(rule: &Rule, found: &mut Vec<Diagnostic>) {
    let Rule::Spec { head, .. } = rule else { return };
    match head {
        RuleHead::Func { args, .. } => args.iter().for_each(|each| pattern(each, found)),
        RuleHead::Compr { refr, span, .. } | RuleHead::Set { refr, span, .. } => {
            // `p[x] := 1` is fine; what follows a variable is where the two differ.
            let below = match refr.as_ref() {
                Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => refr.as_ref(),
                other => other,
            };
            if visit::dotted(below).is_none() {
                let hint = "write one rule with the variable last, such as p[x] := value";
                found.push(refuse(span, "a rule's name with a variable in the middle", hint));
            }
        }
    }
}

fn statement(
    statement: &LiteralStmt,
    globals: &BTreeSet<String>,
    bound: &BTreeSet<String>,
    found: &mut Vec<Diagnostic>,
) {
    match &statement.literal {
        Literal::SomeIn { key, value, .. } => {
            key.iter().chain([value]).for_each(|each| pattern(each, found));
        }
        Literal::NotExpr { expr, .. } => {
            // What stands in a call of its own is evaluated in front; the rest is not, and
            // cannot go over anything.
            let mut direct = match expr.as_ref() {
                Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. }
                | Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                    vec![lhs.as_ref(), rhs.as_ref()]
                }
                other => vec![other],
            };
            direct.extend(rewrite::operands(expr, globals));
            for node in direct.into_iter().filter(|node| is_reference(node)) {
                unsafe_indexes(node, globals, bound, found);
            }
        }
        _ => {}
    }
}

const fn is_reference(node: &Expr) -> bool {
    matches!(node, Expr::RefDot { .. } | Expr::RefBrack { .. })
}

/// `not xs[_]` says nothing that could be answered: OPA refuses it.
fn unsafe_indexes(
    node: &Expr,
    globals: &BTreeSet<String>,
    bound: &BTreeSet<String>,
    found: &mut Vec<Diagnostic>,
) {
    match node {
        Expr::RefDot { refr, .. } => unsafe_indexes(refr, globals, bound, found),
        Expr::RefBrack { refr, index, .. } => {
            unsafe_indexes(refr, globals, bound, found);
            if let Expr::Var { span, .. } = index.as_ref() {
                let name = span.text();
                if name == "_" || !(globals.contains(name) || bound.contains(name)) {
                    let message = format!("{name} is unsafe: `not` cannot go over a collection");
                    found.push(refuse(span, &message, "use `every`, or negate a rule of its own"));
                }
            }
        }
        _ => {}
    }
}

/// Names that nothing in the rule can give a value.
fn unbindable(rule: &Rule, globals: &BTreeSet<String>, found: &mut Vec<Diagnostic>) {
    let mut bindable = BTreeSet::from(["_".to_owned()]);
    let mut add = |node: &Expr| {
        visit::expr(node, &mut |inner| {
            if let Node::Expr(Expr::Var { span, .. }) = inner {
                bindable.insert(span.text().to_owned());
            }
        });
    };
    if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } | Rule::Default { args, .. } = rule
    {
        args.iter().for_each(|arg| add(arg));
    }
    visit::rule(rule, &mut |node| match node {
        Node::Expr(Expr::AssignExpr { lhs, rhs, .. }) => {
            [lhs, rhs].into_iter().for_each(|e| add(e));
        }
        Node::Expr(Expr::RefBrack { index, .. }) => add(index),
        Node::Expr(Expr::Call { fcn, params, .. }) if is_named(fcn, "walk") => {
            params.iter().skip(1).for_each(|each| add(each));
        }
        Node::Stmt(statement) => {
            if let Literal::SomeIn { key, value, .. } = &statement.literal {
                key.iter().chain([value]).for_each(|each| add(each));
            }
        }
        Node::Expr(_) => {}
    });
    bindable.extend(declared_plainly(rule));
    let mut called = BTreeSet::new();
    let mut told = BTreeSet::new();
    visit::rule(rule, &mut |node| {
        if let Node::Expr(Expr::Call { fcn, .. }) = node {
            called.insert(visit::base(fcn).span().start);
        }
        let Node::Expr(Expr::Var { span, .. }) = node else { return };
        let name = span.text();
        let known =
            bindable.contains(name) || globals.contains(name) || called.contains(&span.start);
        if !known && told.insert(name.to_owned()) {
            let message = format!("{name} is unsafe: nothing gives it a value");
            found.push(refuse(span, &message, "check its spelling, or bind it first"));
        }
    });
}

/// Names of `some x` and of `every`.
fn declared_plainly(rule: &Rule) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    visit::rule(rule, &mut |node| {
        let Node::Stmt(statement) = node else { return };
        match &statement.literal {
            Literal::SomeVars { vars, .. } => {
                names.extend(vars.iter().map(|var| var.text().to_owned()));
            }
            Literal::Every { key, value, .. } => {
                names.extend(key.iter().chain([value]).map(|var| var.text().to_owned()));
            }
            _ => {}
        }
    });
    names
}

/// Names that a rule binds somewhere outside of `not`.
fn bound_names(rule: &Rule, globals: &BTreeSet<String>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut negated: Vec<(u32, u32)> = Vec::new();
    visit::rule(rule, &mut |node| match node {
        Node::Stmt(statement) => {
            if let Literal::NotExpr { span, expr, .. } = &statement.literal {
                negated.push((span.start.min(expr.span().start), statement.span.end));
            }
        }
        Node::Expr(Expr::Var { span, .. }) => {
            let inside = negated.iter().any(|(start, end)| (*start..*end).contains(&span.start));
            if !inside && !globals.contains(span.text()) {
                names.insert(span.text().to_owned());
            }
        }
        Node::Expr(_) => {}
    });
    names.extend(declared_plainly(rule));
    names
}

/// OPA reads `f (x)` and `a [i]` as two expressions.
fn adjacent(before: &Span, whole: &Span, bracket: char, found: &mut Vec<Diagnostic>) {
    let text = whole.source.contents();
    let end = usize::try_from(before.end).unwrap_or(usize::MAX);
    let Some(rest) = text.get(end..) else { return };
    let gap = rest.trim_start_matches(['"', '`', ')']);
    if gap.starts_with(char::is_whitespace) && gap.trim_start().starts_with(bracket) {
        let gap_lines = gap.split(bracket).next().unwrap_or_default();
        // On a line of its own it is another statement, and is rewritten to be one.
        if !gap_lines.contains('\n') {
            let message = format!("a space in front of `{bracket}`");
            found.push(refuse(before, &message, "remove the space"));
        }
    }
}

/// A format and its arguments must be there to be read: one verb for each argument.
fn sprintf(span: &Span, params: &[Ref<Expr>], found: &mut Vec<Diagnostic>) {
    let (
        Some(Expr::String { value, .. } | Expr::RawString { value, .. }),
        Some(Expr::Array { items, .. }),
    ) = (params.first().map(AsRef::as_ref), params.get(1).map(AsRef::as_ref))
    else {
        let hint = "write the format and the list of arguments in place, or use concat";
        return found.push(refuse(span, "sprintf of a format that is not written out", hint));
    };
    let Ok(format) = value.as_string() else { return };
    let mut verbs = 0;
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, (c == '%').then(|| chars.next())) {
            ('%', Some(Some('%'))) => {}
            ('%', Some(Some('v' | 's' | 'd'))) => verbs += 1,
            ('%', _) => {
                let hint = "use %v, %s, %d or %%, without width";
                return found.push(refuse(
                    span,
                    "a sprintf verb that prints differently here",
                    hint,
                ));
            }
            _ => {}
        }
    }
    if verbs != items.len() {
        let message = format!("sprintf has {verbs} verbs for {} arguments", items.len());
        found.push(refuse(span, &message, "give each verb its argument"));
    }
}

fn is_named(function: &Expr, name: &str) -> bool {
    visit::dotted(function).is_some_and(|written| written == [name])
}

fn refuse(span: &Span, what: &str, hint: &str) -> Diagnostic {
    let (line, column) = super::place(span);
    Diagnostic::new(span.source.file(), Code::CompileFailed, what).at(line, column).hint(hint)
}
