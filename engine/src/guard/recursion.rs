//! Refuses rules that need themselves: the engine would recurse until its stack ends.

use std::collections::{BTreeMap, BTreeSet};

use provost_bundle::Diagnostic;
use provost_model::Code;
use regorus::unstable::{AssignOp, Expr, Literal, Module, Ref, Rule, RuleHead};

use super::visit::{self, Node};

type Path = Vec<String>;

/// Rules that reach themselves.
pub(super) fn check<'a>(modules: impl Iterator<Item = &'a Ref<Module>> + Clone) -> Vec<Diagnostic> {
    // A rule's full path, and the paths that its definitions name.
    let mut graph: BTreeMap<Path, BTreeSet<Path>> = BTreeMap::new();
    let mut places: BTreeMap<Path, Diagnostic> = BTreeMap::new();
    for module in modules {
        let package = visit::dotted(&module.package.refr).unwrap_or_default();
        let names = Names::of(module, &package);
        for rule in &module.policy {
            let Some(path) = path_of(rule, &package) else { continue };
            let span = rule.span();
            let (line, column) = super::place(span);
            let message = format!("{} needs itself", path.join("."));
            places.entry(path.clone()).or_insert_with(|| {
                Diagnostic::new(span.source.file(), Code::CompileFailed, message)
                    .at(line, column)
                    .hint("a rule cannot be recursive")
            });
            graph.entry(path).or_default().extend(names.needs_of(rule));
        }
    }
    let edges = edges(&graph);
    edges
        .keys()
        .filter(|rule| reaches_itself(rule, &edges))
        .filter_map(|rule| places.remove(*rule))
        .collect()
}

/// From each rule to the rules whose path one of its references names, or is below of.
fn edges(graph: &BTreeMap<Path, BTreeSet<Path>>) -> BTreeMap<&Path, BTreeSet<&Path>> {
    let related = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
    graph
        .iter()
        .map(|(rule, needs)| {
            let reached =
                graph.keys().filter(|other| needs.iter().any(|need| related(need, other)));
            (rule, reached.collect())
        })
        .collect()
}

fn reaches_itself(start: &Path, edges: &BTreeMap<&Path, BTreeSet<&Path>>) -> bool {
    let mut seen: BTreeSet<&Path> = BTreeSet::new();
    let mut open: Vec<&Path> = edges.get(start).into_iter().flatten().copied().collect();
    while let Some(rule) = open.pop() {
        if rule == start {
            return true;
        }
        if seen.insert(rule) {
            open.extend(edges.get(rule).into_iter().flatten());
        }
    }
    false
}

/// The constant part of a rule's path.
fn path_of(rule: &Rule, package: &[String]) -> Option<Path> {
    let (Rule::Default { refr, .. }
    | Rule::Spec {
        head:
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
        ..
    }) = rule;
    let mut node = refr.as_ref();
    loop {
        if let Some(name) = visit::dotted(node) {
            return Some(package.iter().cloned().chain(name).collect());
        }
        node = match node {
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => refr,
            _ => return None,
        };
    }
}

/// What the names of a module stand for.
struct Names {
    package: Path,
    rules: BTreeSet<String>,
    imports: BTreeMap<String, Path>,
}

impl Names {
    fn of(module: &Module, package: &[String]) -> Self {
        let rules = module.policy.iter().filter_map(|rule| path_of(rule, &[])?.into_iter().next());
        let import = |import: &regorus::unstable::Import| {
            let path = visit::dotted(&import.refr)?;
            let (first, path) = path.split_first()?;
            let alias = import.r#as.as_ref().map(|alias| alias.text().to_owned());
            let alias = alias.or_else(|| path.last().cloned())?;
            (first == "data").then(|| (alias, path.to_vec()))
        };
        Self {
            package: package.to_vec(),
            rules: rules.collect(),
            imports: module.imports.iter().filter_map(import).collect(),
        }
    }

    /// What the rule's references name; of `a.b.c` the whole, not its beginnings.
    fn needs_of(&self, rule: &Rule) -> Vec<Path> {
        let local = declared(rule);
        let mut whole: BTreeMap<u32, (u32, Path)> = BTreeMap::new();
        visit::rule(rule, &mut |node| {
            let Node::Expr(node) = node else { return };
            let (start, end) = (node.span().start, node.span().end);
            let longer = whole.get(&start).is_none_or(|(known, _)| *known < end);
            if let Some(path) = self.target(node, &local).filter(|_| longer) {
                whole.insert(start, (end, path));
            }
        });
        whole.into_values().map(|(_, path)| path).collect()
    }

    /// The path that a reference or name may reach: as far as it is constant.
    fn target(&self, node: &Expr, local: &BTreeSet<String>) -> Option<Path> {
        if !matches!(node, Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }) {
            return None;
        }
        let written = constant_prefix(node)?;
        let (first, rest) = written.split_first()?;
        if local.contains(first) {
            None
        } else if self.rules.contains(first) {
            Some(self.package.iter().chain(&written).cloned().collect())
        } else if let Some(path) = self.imports.get(first) {
            Some(path.iter().chain(rest).cloned().collect())
        } else {
            (first == "data").then(|| rest.to_vec())
        }
    }
}

fn constant_prefix(node: &Expr) -> Option<Path> {
    visit::dotted(node).or_else(|| match node {
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => constant_prefix(refr),
        _ => None,
    })
}

/// Names that the rule declares: inside of it they are no rules.
fn declared(rule: &Rule) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut declare = |node: &Expr| {
        visit::expr(node, &mut |inner| {
            if let Node::Expr(Expr::Var { span, .. }) = inner {
                names.insert(span.text().to_owned());
            }
        });
    };
    if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } = rule {
        args.iter().for_each(|arg| declare(arg));
    }
    visit::rule(rule, &mut |node| match node {
        Node::Expr(Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. }) => declare(lhs),
        Node::Stmt(statement) => {
            if let Literal::SomeIn { key, value, .. } = &statement.literal {
                key.iter().chain([value]).for_each(|each| declare(each));
            }
        }
        Node::Expr(_) => {}
    });
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
