//! What a policy must be to load, so that what loads gives OPA's answer.
//!
//! In this order: the text parses; `check` refuses what cannot be mended, as the author wrote it;
//! `rewrite` mends, step by step; then all modules together: every call reaches a function that
//! may be called, and no rule needs itself.

mod calls;
mod check;
mod nesting;
mod qualify;
mod recursion;
mod rewrite;
mod visit;

use provost_bundle::{Diagnostic, Module};
use provost_model::Code;
use regorus::Engine;
use regorus::unstable::{self, Ref};

use crate::unit;

/// Steps of rewriting: one more than the deepest nesting of things that are rewritten. The
/// parser's own limit of 32 levels keeps real text far below it.
const MAX_STEPS: usize = 100;

/// As the parser counts them.
const TAB_COLUMNS: u32 = 4;

/// What a module is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Decides about objects: a policy or a library.
    Policy,
    /// Only tests one: may also print and replace functions.
    Test,
}

/// Adds the modules to the engine, checked and rewritten.
pub(crate) fn load(
    engine: &mut Engine,
    modules: &[(&Module, Role)],
) -> Result<(), Vec<Diagnostic>> {
    let mut problems = Vec::new();
    for (module, _) in modules {
        match prepare(module) {
            Ok(text) => {
                let added = engine.add_policy(module.path.clone(), text);
                problems.extend(added.err().map(|e| diagnostic_of(&e.to_string(), &module.path)));
            }
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let role_of = |parsed: &Ref<unstable::Module>| {
        let path = parsed.package.span.source.file();
        let module = modules.iter().find(|(module, _)| module.path == *path);
        module.map_or(Role::Policy, |(_, role)| *role)
    };
    let parsed: Vec<(Ref<unstable::Module>, Role)> =
        engine.get_modules().iter().map(|parsed| (parsed.clone(), role_of(parsed))).collect();
    problems.extend(calls::check(&parsed));
    problems.extend(recursion::check(parsed.iter().map(|(module, _)| module)));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The module's text as the engine must read it.
fn prepare(module: &Module) -> Result<String, Vec<Diagnostic>> {
    let mut text = module.text.to_string();
    if let Some(at) = text.find(rewrite::RESERVED) {
        let line = u32::try_from(text[..at].lines().count()).unwrap_or(u32::MAX);
        let message = format!("names that start with {} are reserved", rewrite::RESERVED);
        return Err(vec![
            Diagnostic::new(&module.path, Code::CompileFailed, message).at(line.max(1), 0),
        ]);
    }
    nesting::check(module)?;
    let mut names = 0;
    for step in 0..MAX_STEPS {
        let mut engine = unit::bare_engine();
        engine.add_policy(module.path.clone(), text.clone()).map_err(|error| {
            vec![in_characters(diagnostic_of(&error.to_string(), &module.path), &text)]
        })?;
        let Some(parsed) = engine.get_modules().first().cloned() else { break };
        if step == 0 {
            let problems = check::module(&parsed);
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        match rewrite::step(&parsed, &text, &mut names) {
            Some(rewritten) => text = rewritten,
            None => return Ok(text),
        }
    }
    let message = "the policy nests too deeply";
    Err(vec![Diagnostic::new(&module.path, Code::CompileFailed, message)])
}

/// Refuses a policy without the rule that everything is about.
pub(crate) fn defines_violation(
    engine: &mut Engine,
    module: &Module,
) -> Result<(), Vec<Diagnostic>> {
    use regorus::unstable::{Expr, Rule, RuleHead};
    let defined = engine.get_modules().iter().any(|parsed| {
        parsed.package.span.source.get_path() == &module.path
            && parsed.policy.iter().any(|rule| match rule.as_ref() {
                Rule::Spec { head: RuleHead::Set { refr, .. }, .. } => {
                    matches!(refr.as_ref(), Expr::Var { span, .. } if span.text() == "violation")
                }
                _ => false,
            })
    });
    if defined {
        return Ok(());
    }
    let message = "the policy has no rule `violation contains ...`";
    Err(vec![
        Diagnostic::new(&module.path, Code::CompileFailed, message)
            .hint("write `violation contains {\"msg\": ..., \"path\": [...]} if { ... }`"),
    ])
}

/// Line and column of a piece of text, both from 1 and in characters. The parser's own columns
/// count a tab as four.
fn place(span: &unstable::Span) -> (u32, u32) {
    let text = span.source.contents();
    let start = usize::try_from(span.start).unwrap_or(usize::MAX).min(text.len());
    let before = text.get(..start).unwrap_or_default();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (span.line, u32::try_from(column).unwrap_or(0))
}

/// The engine's error in one line, for a test's author.
pub(crate) fn summary(text: &str) -> String {
    diagnostic_of(text, "").message
}

/// The engine's error as a diagnostic: `--> file:line:column` in front of excerpt and message.
pub(crate) fn diagnostic_of(text: &str, path: &str) -> Diagnostic {
    let message = text.rsplit_once("error: ").map_or(text, |(_, message)| message);
    let message = message.lines().next().unwrap_or_default().trim().to_owned();
    match position(text) {
        Some((file, line, column)) => {
            Diagnostic::new(&file, Code::CompileFailed, message).at(line, column)
        }
        None => Diagnostic::new(path, Code::CompileFailed, message),
    }
}

/// The diagnostic with its column in characters.
fn in_characters(diagnostic: Diagnostic, text: &str) -> Diagnostic {
    let line = usize::try_from(diagnostic.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let (mut wide, mut column) = (1, 1);
    for c in text.lines().nth(line).unwrap_or_default().chars() {
        if wide >= diagnostic.column {
            break;
        }
        wide += if c == '\t' { TAB_COLUMNS } else { 1 };
        column += 1;
    }
    let line = diagnostic.line;
    diagnostic.at(line, if line > 0 { column } else { 0 })
}

/// File, line and column of the first `--> file:line:column` in the engine's error.
pub(crate) fn position(text: &str) -> Option<(String, u32, u32)> {
    let (_, rest) = text.split_once("--> ")?;
    let mut parts = rest.lines().next()?.rsplitn(3, ':');
    let column = parts.next()?.trim().parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), line, column))
}
