//! What a policy must be to load, so that what loads gives OPA's answer.

use provost_bundle::{Diagnostic, Module};
use provost_model::Code;
use regorus::Engine;

/// What a module is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Decides about objects: a policy or a library.
    Policy,
    /// Only tests one: may also print and replace functions.
    Test,
}

/// Adds the modules to the engine.
pub(crate) fn load(
    engine: &mut Engine,
    modules: &[(&Module, Role)],
) -> Result<(), Vec<Diagnostic>> {
    for (module, _) in modules {
        engine
            .add_policy(module.path.clone(), module.text.to_string())
            .map_err(|error| vec![diagnostic_of(&error.to_string(), &module.path)])?;
    }
    Ok(())
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

/// File, line and column of the first `--> file:line:column` in the engine's error.
pub(crate) fn position(text: &str) -> Option<(String, u32, u32)> {
    let (_, rest) = text.split_once("--> ")?;
    let mut parts = rest.lines().next()?.rsplitn(3, ':');
    let column = parts.next()?.trim().parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), line, column))
}
