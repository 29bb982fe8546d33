//! The rules that hold between the files of a bundle.
//!
//! A rule that comes later must go to those for people alone: a built bundle that loaded once is in
//! force somewhere, and an upgrade must not take it out of force.

use std::collections::{BTreeMap, BTreeSet};

use provost_model::{BindingId, Code, Match, PolicyId};

use crate::assemble::WrittenBinding;
use crate::bundle::{Module, Policy};
use crate::diagnostic::Diagnostic;
use crate::{imports, metadata, parameters};

/// `lib/pods.rego` is package `provost.lib.pods`.
pub(crate) fn libraries(libraries: &[Module], name: &dyn Fn(&str) -> String) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for library in libraries {
        let stem = library.path.trim_start_matches("lib/").trim_end_matches(".rego");
        problems.extend(package(library, &format!("provost.lib.{}", underscored(stem)), name));
        problems.extend(references(library, libraries, name));
    }
    problems
}

pub(crate) fn policies(
    policies: &[Policy],
    libraries: &[Module],
    name: &dyn Fn(&str) -> String,
) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut folders: BTreeMap<&PolicyId, &str> = BTreeMap::new();
    for policy in policies {
        let file = name(&policy.module.path);
        let (line, column) = metadata::position(&policy.module.text, "id");
        let at_id = |message: String| {
            Diagnostic::new(&file, Code::MetadataInvalid, message).at(line, column)
        };
        let (area, slug) = policy.folder.split_once('/').unwrap_or(("", &policy.folder));
        if policy.meta.id.as_str() != slug {
            let message = format!("the id is {}, but the folder is {slug}", policy.meta.id);
            problems.push(at_id(message).hint("give both the same name"));
        }
        if let Some(other) = folders.insert(&policy.meta.id, &policy.folder) {
            problems.push(at_id(format!("{other} has the same id, {}", policy.meta.id)));
        }
        let expected = format!("provost.{}.{}", underscored(area), underscored(slug));
        problems.extend(package(&policy.module, &expected, name));
        problems.extend(references(&policy.module, libraries, name));
    }
    problems
}

/// `unknown_ok`: some policy could not be read, so that a binding may well name one of those.
pub(crate) fn bindings(
    written: &[WrittenBinding],
    policies: &[Policy],
    unknown_ok: bool,
) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut seen: BTreeSet<(&PolicyId, &BindingId)> = BTreeSet::new();
    for WrittenBinding { binding, file, line } in written {
        let problem =
            |code: Code, message: String| Diagnostic::new(file, code, message).at(*line, 0);
        if binding.id.is_default() {
            let message = "the binding id default is taken by the policy's own metadata".to_owned();
            problems.push(problem(Code::Conflict, message).hint("choose another id"));
        }
        if !seen.insert((&binding.policy, &binding.id)) {
            let message =
                format!("policy {} has another binding named {}", binding.policy, binding.id);
            problems.push(problem(Code::Conflict, message).hint("choose another id"));
        }
        match policies.iter().find(|policy| policy.meta.id == binding.policy) {
            Some(policy) => {
                let wrong = parameters::check(&policy.meta, &binding.parameters);
                let invalid = |text| problem(Code::ParameterInvalid, text);
                problems.extend(wrong.into_iter().map(invalid));
            }
            None if !unknown_ok => {
                let message = format!("there is no policy {}", binding.policy);
                problems.push(problem(Code::NotFound, message));
            }
            None => {}
        }
    }
    problems
}

/// What a bundle may do but a person would not mean; asked of policy trees only.
pub(crate) fn bindings_of_people(
    written: &[WrittenBinding],
    policies: &[Policy],
) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for WrittenBinding { binding, file, line } in written {
        if let Some(policy) = policies.iter().find(|policy| policy.meta.id == binding.policy) {
            let wrong = unmatchable(&binding.matches, policy);
            let invalid = |text| Diagnostic::new(file, Code::Invalid, text).at(*line, 0);
            problems.extend(wrong.into_iter().map(invalid));
        }
    }
    problems
}

/// A part of a match that could never hold is a mistake: the binding would be silent.
fn unmatchable(matches: &Match, policy: &Policy) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(matches.clusters.problem());
    problems.extend(matches.labels.problem());
    let is = |a: &str, b: &str| a == b || a == "*" || b == "*";
    for selector in &matches.kinds {
        for kind in &selector.kinds {
            let known = policy.meta.kinds.iter().any(|of_policy| {
                is(&of_policy.group, &selector.group)
                    && of_policy.kinds.iter().any(|known| is(known, kind))
            });
            if !known {
                problems.push(format!(
                    "policy {} does not match kind {kind} of group {:?}",
                    policy.meta.id, selector.group
                ));
            }
        }
    }
    problems
}

fn package(module: &Module, expected: &str, name: &dyn Fn(&str) -> String) -> Option<Diagnostic> {
    if module.package == expected {
        return None;
    }
    let line = imports::outline(&module.text).package.map_or(1, |(_, line)| line);
    let message = format!("the package is {:?}, but its place asks for {expected}", module.package);
    Some(
        Diagnostic::new(&name(&module.path), Code::MetadataInvalid, message)
            .at(line, 1)
            .hint(format!("write: package {expected}")),
    )
}

/// A policy is compiled alone with the libraries it names: whatever else it names is not there, and
/// Rego would not complain but find nothing.
fn references(
    module: &Module,
    libraries: &[Module],
    name: &dyn Fn(&str) -> String,
) -> Vec<Diagnostic> {
    let mut known: Vec<&str> = libraries.iter().map(|library| library.package.as_str()).collect();
    known.push(&module.package);
    imports::outline(&module.text)
        .references
        .iter()
        .filter(|reference| imports::packages_of(&reference.path, &known).is_empty())
        .map(|reference| {
            let message = format!("there is no library for data.{}", reference.path);
            Diagnostic::new(&name(&module.path), Code::CompileFailed, message)
                .at(reference.line, 1)
                .hint("a policy is compiled with lib/*.rego alone; what policies share goes there")
        })
        .collect()
}

fn underscored(text: &str) -> String {
    text.replace('-', "_")
}
