//! Rego tests: rules whose name starts with `test_` and that must be true.

use std::collections::BTreeMap;
use std::time::Duration;

use provost_bundle::{Bundle, Module, Policy, bundle::closure};
use provost_model::PolicyId;
use regorus::unstable::{Expr, Rule, RuleHead};
use regorus::{Engine, Value};

use super::{TestKind, TestResult};
use crate::contain::contain;
use crate::guard::{self, Role};
use crate::unit;

/// A test may build large inputs and evaluate many times.
const TIME_LIMIT: Duration = Duration::from_secs(10);

type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// The tests of a policy; where a module does not load, what is wrong with it.
pub(super) fn of_policy(policy: &Policy, bundle: &Bundle, wanted: Wanted<'_>) -> Vec<TestResult> {
    let mut modules = Modules::default();
    modules.add(policy.imports(&bundle.libraries), Role::Policy);
    modules.add([&policy.module], Role::Policy);
    for test in &policy.tests {
        modules.add(closure(test, &bundle.libraries), Role::Policy);
        modules.add([test], Role::Test);
    }
    run(&modules, Some(&policy.meta.id), wanted)
}

/// The tests of libraries, each file with all libraries.
pub(super) fn of_libraries(bundle: &Bundle, wanted: Wanted<'_>) -> Vec<TestResult> {
    let of_file = |test| {
        let mut modules = Modules::default();
        modules.add(&bundle.libraries, Role::Policy);
        modules.add([test], Role::Test);
        run(&modules, None, wanted)
    };
    bundle.library_tests.iter().flat_map(of_file).collect()
}

/// Modules by path, so that none is added twice.
#[derive(Default)]
struct Modules<'a>(BTreeMap<&'a str, (&'a Module, Role)>);

impl<'a> Modules<'a> {
    fn add(&mut self, modules: impl IntoIterator<Item = &'a Module>, role: Role) {
        self.0.extend(modules.into_iter().map(|module| (module.path.as_str(), (module, role))));
    }
}

fn run(modules: &Modules<'_>, policy: Option<&PolicyId>, wanted: Wanted<'_>) -> Vec<TestResult> {
    let all: Vec<(&Module, Role)> = modules.0.values().copied().collect();
    let mut engine = match unit::engine(&all, None) {
        Ok(engine) => engine,
        Err(diagnostics) => return TestResult::not_compiled(policy, &diagnostics),
    };
    let mut results = Vec::new();
    for (module, _) in all.iter().filter(|(_, role)| *role == Role::Test) {
        for (name, line) in tests(&mut engine, &module.path) {
            let full = match policy {
                Some(_) => name.clone(),
                None => format!("{}/{name}", module.package),
            };
            if wanted(&full) {
                let result = TestResult::new(policy, TestKind::Rego, full, &module.path);
                let rule = format!("data.{}.{name}", module.package);
                results.push(TestResult { line, ..ask(&engine, rule, result) });
            }
        }
    }
    results
}

/// Names and lines of the test rules in the file, in its order; several rules of one name are
/// one test.
fn tests(engine: &mut Engine, path: &str) -> Vec<(String, u32)> {
    let mut found: Vec<(String, u32)> = Vec::new();
    let modules = engine.get_modules();
    let module = modules.iter().find(|m| m.package.span.source.get_path() == path);
    for rule in module.into_iter().flat_map(|module| &module.policy) {
        let Rule::Spec { head: RuleHead::Compr { refr, .. }, span, .. } = rule.as_ref() else {
            continue;
        };
        let Expr::Var { span: name, .. } = refr.as_ref() else { continue };
        let is_new = !found.iter().any(|(known, _)| known == name.text());
        if name.text().starts_with("test_") && is_new {
            found.push((name.text().to_owned(), span.line));
        }
    }
    found
}

fn ask(engine: &Engine, rule: String, result: TestResult) -> TestResult {
    let mut engine = engine.clone();
    let answer = contain(move || {
        engine.set_execution_timer_config(unit::timer(TIME_LIMIT));
        engine.set_input(Value::new_object());
        engine.eval_rule(rule)
    });
    match answer {
        Ok(Ok(Value::Bool(true))) => result,
        Ok(Ok(Value::Undefined)) => result.failed("true", "undefined"),
        Ok(Ok(other)) => result.failed("true", other.to_string()),
        Ok(Err(error)) => result.error("true", guard::summary(&error.to_string())),
        Err(_) => result.error("true", "the engine failed inside"),
    }
}
