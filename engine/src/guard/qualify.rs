//! References through an import, written in full: `pods.volumes` as `data.provost.lib.pods.volumes`.
//!
//! Both mean the same. For the first the engine evaluates every rule of the package behind the alias and then takes
//! one, for the second that one alone. An alias that also stands by itself somewhere may be the name of something
//! local there, and is left as it was.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, Module};

use super::rewrite::{self, Edit};
use super::visit::{self, Node};

/// One edit for each reference that can be written in full.
pub(super) fn edits(module: &Module, text: &str) -> Vec<Edit> {
    let mut paths = imports(module, text);
    let local = local(module);
    paths.retain(|alias, _| !local.contains(*alias));
    let mut edits = Vec::new();
    visit::module(module, &mut |node| {
        if let Node::Expr(holder) = node
            && let Some(Expr::Var { span, .. }) = held(holder)
            && let Some(path) = paths.get(span.text())
        {
            let (start, end) = (rewrite::start_of(text, span), rewrite::end_of(text, span));
            edits.push(Edit { start, end, text: (*path).to_owned() });
        }
    });
    edits
}

/// By alias, what is imported from `data`, as written.
fn imports<'a>(module: &'a Module, text: &'a str) -> BTreeMap<&'a str, &'a str> {
    let mut imports = BTreeMap::new();
    for import in &module.imports {
        let span = import.refr.span();
        let written = text.get(rewrite::start_of(text, span)..rewrite::end_of(text, span));
        let alias = import.r#as.as_ref().map(|alias| alias.text());
        let alias = alias.or_else(|| last(&import.refr));
        if let (Some(alias), Some(written)) = (alias, written)
            && written.starts_with("data.")
            && !written.contains(char::is_whitespace)
        {
            imports.insert(alias, written);
        }
    }
    imports
}

fn last(node: &Expr) -> Option<&str> {
    match node {
        Expr::RefDot { field, .. } => Some(field.0.text()),
        _ => None,
    }
}

/// What a dot, or a constant in brackets, is behind.
fn held(node: &Expr) -> Option<&Expr> {
    match node {
        Expr::RefDot { refr, .. } => Some(refr),
        Expr::RefBrack { refr, index, .. } => {
            matches!(index.as_ref(), Expr::String { .. }).then_some(refr)
        }
        _ => None,
    }
}

/// Every name that stands by itself: rules, arguments, local names, and what is only looked into by a variable.
fn local(module: &Module) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = rewrite::rules(module).map(str::to_owned).collect();
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    let mut bases: BTreeMap<&str, usize> = BTreeMap::new();
    visit::module(module, &mut |node| match node {
        Node::Expr(Expr::Var { span, .. }) => *all.entry(span.text()).or_default() += 1,
        Node::Expr(holder) => {
            if let Some(Expr::Var { span, .. }) = held(holder) {
                *bases.entry(span.text()).or_default() += 1;
            }
        }
        Node::Stmt(statement) => match &statement.literal {
            Literal::SomeVars { vars, .. } => {
                names.extend(vars.iter().map(|span| span.text().to_owned()));
            }
            Literal::Every { key, value, .. } => {
                names.extend(key.iter().chain([value]).map(|span| span.text().to_owned()));
            }
            _ => {}
        },
    });
    let alone = all.into_iter().filter(|(name, times)| bases.get(name) != Some(times));
    names.extend(alone.map(|(name, _)| name.to_owned()));
    names
}
