//! One compiled policy: its module with the libraries it imports, and what its rule `violation`
//! says of an input.
//!
//! Each policy has an engine of its own, so that a bad one harms no other. The engine is compiled
//! once and cloned for each evaluation: a clone shares all that is compiled and holds nothing of
//! the object before it, and one that panicked is simply dropped.

use std::num::NonZeroU32;
use std::time::Duration;

use provost_bundle::{Diagnostic, Module, Policy};
use provost_model::Code;
use provost_model::verdict::Problem;
use regorus::utils::limits::{ExecutionTimerConfig, PolicyLengthConfig};
use regorus::{Engine, LimitError, Value};

use crate::contain::contain;
use crate::guard::{self, Role};
use crate::shape::{self, Entry};

/// Operations between two looks at the clock.
const TIMER_INTERVAL: NonZeroU32 = NonZeroU32::new(64).unwrap();
/// Longest line of a policy file. The engine's own default of 1,024 refuses long messages.
const MAX_COLUMNS: NonZeroU32 = NonZeroU32::new(16 * 1024).unwrap();
/// For compiling and warming up one policy.
const COMPILE_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Unit {
    template: Engine,
    /// `data.provost.pods.host_path.violation`.
    rule: String,
}

impl Unit {
    /// Compiles the policy with what it imports. `inventory` becomes `data.inventory`.
    pub(crate) fn compile(
        policy: &Policy,
        libraries: &[Module],
        inventory: Option<&Value>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let modules: Vec<(&Module, Role)> = policy
            .imports(libraries)
            .into_iter()
            .chain([&policy.module])
            .map(|module| (module, Role::Policy))
            .collect();
        let mut template = engine(&modules, inventory)?;
        guard::defines_violation(&mut template, &policy.module)?;
        let rule = format!("data.{}.violation", policy.module.package);
        warm(&mut template, &rule, &policy.module)?;
        Ok(Self { template, rule })
    }

    /// The entries of `violation`. Undefined, an error, a panic and a wrong shape are problems,
    /// never an empty answer.
    pub(crate) fn violations(&self, input: Value, limit: Duration) -> Result<Vec<Entry>, Problem> {
        let mut engine = self.template.clone();
        let result = contain(move || {
            engine.set_execution_timer_config(timer(limit));
            engine.set_input(input);
            engine.eval_rule(self.rule.clone())
        });
        match result {
            Ok(Ok(value)) => shape::entries(&value),
            Ok(Err(error)) => Err(match error.downcast_ref::<LimitError>() {
                Some(LimitError::TimeLimitExceeded { .. }) => timeout(limit),
                _ => problem(Code::EvalFailed, failure(&error.to_string())),
            }),
            Err(_) => Err(problem(Code::EvalPanicked, "the engine failed inside".to_owned())),
        }
    }
}

pub(crate) fn timeout(limit: Duration) -> Problem {
    let limit_ms = limit.as_millis();
    problem(Code::EvalTimeout, format!("evaluation took longer than its limit of {limit_ms} ms"))
}

pub(crate) fn problem(code: Code, message: String) -> Problem {
    Problem { code: code.to_string(), message }
}

/// An engine with the modules, checked and made to answer as OPA does.
pub(crate) fn engine(
    modules: &[(&Module, Role)],
    inventory: Option<&Value>,
) -> Result<Engine, Vec<Diagnostic>> {
    let whole = modules.last().map_or("", |(module, _)| module.path.as_str());
    contain(|| {
        let mut engine = bare_engine();
        guard::load(&mut engine, modules)?;
        if let Some(inventory) = inventory {
            let data = [(Value::from("inventory"), inventory.clone())];
            let data = Value::from(std::collections::BTreeMap::from(data));
            engine.add_data(data).map_err(|error| {
                vec![Diagnostic::new(whole, Code::CompileFailed, error.to_string())]
            })?;
        }
        Ok(engine)
    })
    .unwrap_or_else(|_| {
        Err(vec![Diagnostic::new(whole, Code::CompileFailed, "the compiler failed inside")])
    })
}

/// An engine that is as strict as every other here, without modules.
pub(crate) fn bare_engine() -> Engine {
    let mut engine = Engine::new();
    crate::builtin::install(&mut engine);
    engine.set_strict_builtin_errors(false);
    engine.set_gather_prints(true);
    engine.set_execution_timer_config(timer(COMPILE_LIMIT));
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: MAX_COLUMNS,
        ..PolicyLengthConfig::default()
    });
    engine
}

/// Compiles what is compiled late, on a throw-away evaluation of an empty input.
fn warm(engine: &mut Engine, rule: &str, module: &Module) -> Result<(), Vec<Diagnostic>> {
    let compiled = contain(|| engine.compile_with_entrypoint(&rule.into()).map(drop));
    let failed = |message: String| vec![guard::diagnostic_of(&message, &module.path)];
    match compiled {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("the compiler failed inside".to_owned())),
    }
    // Whether it succeeds on nothing does not matter: a policy may need what real inputs have.
    let _ = contain(|| {
        engine.set_input(Value::new_object());
        let _ = engine.eval_rule(rule.to_owned());
    });
    Ok(())
}

pub(crate) fn timer(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: TIMER_INTERVAL }
}

/// Where it failed. The engine's own words are left out: they may quote values of the object.
fn failure(message: &str) -> String {
    match guard::position(message) {
        Some((file, line, column)) => format!("evaluation failed at {file}:{line}:{column}"),
        None => "evaluation failed".to_owned(),
    }
}
