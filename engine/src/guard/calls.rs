//! Every call must reach a function: one of the modules, or a built-in of the list. The list is
//! short on purpose: what is on it answers as OPA does, is bounded in time, and depends on
//! nothing but its arguments.

use std::collections::BTreeMap;

use provost_bundle::Diagnostic;
use provost_model::Code;
use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead, Span};

use super::Role;
use super::visit::{self, Node};
use crate::builtin;

/// Built-ins of the engine that can be called, with their number of arguments. Those that
/// `builtin` brings come on top.
const ALLOWED: &[(&str, usize)] = &[
    ("abs", 1),
    ("array.concat", 2),
    ("array.reverse", 1),
    ("array.slice", 3),
    ("base64.encode", 1),
    ("base64.is_valid", 1),
    ("base64url.encode", 1),
    ("base64url.encode_no_pad", 1),
    ("concat", 2),
    ("contains", 2),
    ("count", 1),
    ("endswith", 2),
    ("format_int", 2),
    ("graph.reachable", 2),
    ("hex.encode", 1),
    ("intersection", 1),
    ("is_array", 1),
    ("is_boolean", 1),
    ("is_null", 1),
    ("is_number", 1),
    ("is_object", 1),
    ("is_set", 1),
    ("is_string", 1),
    ("json.filter", 2),
    ("json.is_valid", 1),
    ("json.patch", 2),
    ("json.remove", 2),
    ("json.unmarshal", 1),
    ("max", 1),
    ("min", 1),
    ("object.filter", 2),
    ("object.get", 3),
    ("object.keys", 1),
    ("object.remove", 2),
    ("object.union", 2),
    ("object.union_n", 1),
    ("product", 1),
    ("replace", 3),
    ("round", 1),
    ("sort", 1),
    ("split", 2),
    ("sprintf", 2),
    ("startswith", 2),
    ("strings.any_prefix_match", 2),
    ("strings.any_suffix_match", 2),
    ("strings.reverse", 1),
    ("substring", 3),
    ("sum", 1),
    ("trim", 2),
    ("trim_left", 2),
    ("trim_prefix", 2),
    ("trim_right", 2),
    ("trim_space", 1),
    ("trim_suffix", 2),
    ("type_name", 1),
    ("union", 1),
    ("walk", 1),
];

/// Why a built-in that OPA has cannot be called, by the start of its name.
const FORBIDDEN: &[(&str, &str)] = &[
    ("http.", "a policy cannot use the network"),
    ("net.lookup_ip_addr", "a policy cannot use the network"),
    ("net.cidr_expand", "it can make millions of addresses of one"),
    ("opa.", "a policy sees its input and nothing else"),
    ("time.now_ns", "a policy cannot see the clock: it would answer differently each time"),
    ("rand.", "a policy must answer the same each time"),
    ("uuid.", "a policy must answer the same each time"),
    ("print", "remove it: a policy prints nothing; tests may"),
    ("trace", "remove it: a policy prints nothing"),
];

/// Calls that no function answers, or with a wrong number of arguments.
pub(super) fn check(modules: &[(Ref<Module>, Role)]) -> Vec<Diagnostic> {
    let functions = functions(modules);
    let mut found = Vec::new();
    for (module, role) in modules {
        let package = visit::dotted(&module.package.refr).unwrap_or_default();
        let imports = imports(module);
        visit::module(module, &mut |node| {
            let Node::Expr(Expr::Call { fcn, params, .. }) = node else { return };
            let span = visit::base(fcn).span();
            let Some(written) = visit::dotted(fcn) else {
                let message = "a call of something that is no name";
                let (line, column) = super::place(span);
                let diagnostic = Diagnostic::new(span.source.file(), Code::CompileFailed, message);
                return found.push(diagnostic.at(line, column));
            };
            let arity = resolve(&written, &package, &imports, &functions, *role);
            found.extend(problem(span, &written.join("."), arity, params.len()));
        });
    }
    found
}

fn problem(span: &Span, name: &str, arity: Option<usize>, given: usize) -> Option<Diagnostic> {
    let (line, column) = super::place(span);
    let diagnostic =
        |code, message: String| Diagnostic::new(span.source.file(), code, message).at(line, column);
    match arity {
        Some(arity) if arity == given => None,
        // `walk` has no other form.
        Some(_) if name == "walk" && given == 2 => None,
        Some(arity) => {
            let message = format!("{name} takes {arity} arguments, not {given}");
            Some(diagnostic(Code::CompileFailed, message).hint("write x := f(...) for its result"))
        }
        None => {
            let why = FORBIDDEN.iter().find(|(prefix, _)| name.starts_with(prefix));
            Some(match why {
                Some((_, why)) => {
                    diagnostic(Code::BuiltinForbidden, format!("{name} is not allowed")).hint(*why)
                }
                None => diagnostic(Code::BuiltinForbidden, format!("{name} is no function that can be called"))
                    .hint("check its name and import; of the built-in functions of OPA only some can be called"),
            })
        }
    }
}

/// Full path of each function, with the number of its arguments.
fn functions(modules: &[(Ref<Module>, Role)]) -> BTreeMap<Vec<String>, usize> {
    let mut functions = BTreeMap::new();
    for (module, _) in modules {
        let package = visit::dotted(&module.package.refr).unwrap_or_default();
        for rule in &module.policy {
            let (name, arity) = match rule.as_ref() {
                Rule::Spec { head: RuleHead::Func { refr, args, .. }, .. } => (refr, args.len()),
                Rule::Default { refr, args, .. } if !args.is_empty() => (refr, args.len()),
                _ => continue,
            };
            if let Some(name) = visit::dotted(name) {
                functions.insert(package.iter().cloned().chain(name).collect(), arity);
            }
        }
    }
    functions
}

/// Alias and the path it stands for, without `data` in front.
fn imports(module: &Module) -> BTreeMap<String, Vec<String>> {
    let mut imports = BTreeMap::new();
    for import in &module.imports {
        let Some(path) = visit::dotted(&import.refr) else { continue };
        let alias = import.r#as.as_ref().map(|alias| alias.text().to_owned());
        let alias = alias.or_else(|| path.last().cloned());
        if let (Some(alias), Some("data")) = (alias, path.first().map(String::as_str)) {
            imports.insert(alias, path[1..].to_vec());
        }
    }
    imports
}

fn resolve(
    written: &[String],
    package: &[String],
    imports: &BTreeMap<String, Vec<String>>,
    functions: &BTreeMap<Vec<String>, usize>,
    role: Role,
) -> Option<usize> {
    let (first, rest) = written.split_first()?;
    let local: Vec<String> = package.iter().chain(written).cloned().collect();
    let elsewhere = match imports.get(first) {
        Some(path) => path.iter().chain(rest).cloned().collect(),
        None if first == "data" => rest.to_vec(),
        None => Vec::new(),
    };
    let name = written.join(".");
    let built_in = || {
        ALLOWED
            .iter()
            .find(|(allowed, _)| *allowed == name)
            .map(|(_, arity)| *arity)
            .or_else(|| builtin::arity(&name))
    };
    let printing = || (role == Role::Test && name == "print").then_some(usize::MAX);
    functions
        .get(&local)
        .or_else(|| functions.get(&elsewhere))
        .copied()
        .or_else(built_in)
        .or_else(printing)
}
