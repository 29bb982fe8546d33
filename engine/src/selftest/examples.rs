//! Pass and fail examples.

use std::time::Duration;

use provost_bundle::{Bundle, Example, ExampleInput, Expectation, Policy, parameters};
use provost_model::policy::Checkpoint;
use regorus::Value;

use super::{TestKind, TestResult};
use crate::input::{self, Cluster};
use crate::object::Object;
use crate::review::Review;
use crate::shape::Entry;
use crate::unit::Unit;

const TIME_LIMIT: Duration = Duration::from_secs(5);

/// One result a document.
pub(super) fn of_policy(
    policy: &Policy,
    bundle: &Bundle,
    wanted: &dyn Fn(&str) -> bool,
) -> Vec<TestResult> {
    let Ok(unit) = Unit::compile(policy, &bundle.libraries, None) else {
        // The Rego tests have said why, unless there are none.
        return match Unit::compile(policy, &bundle.libraries, None) {
            Err(diagnostics) if policy.tests.is_empty() => {
                TestResult::not_compiled(Some(&policy.meta.id), &diagnostics)
            }
            _ => Vec::new(),
        };
    };
    let mut results = Vec::new();
    for example in &policy.examples {
        let folder = match example.expectation {
            Expectation::Pass => "pass",
            Expectation::Fail => "fail",
        };
        let name = format!("{folder}/{}", example.name);
        if wanted(&name) {
            results.extend(of_example(policy, bundle, &unit, example, &name));
        }
    }
    results
}

fn of_example(
    policy: &Policy,
    bundle: &Bundle,
    unit: &Unit,
    example: &Example,
    name: &str,
) -> Vec<TestResult> {
    let result =
        |name| TestResult::new(Some(&policy.meta.id), TestKind::Example, name, &example.path);
    let expected = match example.expectation {
        Expectation::Pass => "no violation",
        Expectation::Fail => "a violation",
    };
    let prepared = match prepare(policy, bundle, &example.input) {
        Ok(prepared) => prepared,
        Err(why) => return vec![result(name.to_owned()).error(expected, why)],
    };
    if example.documents.is_empty() {
        return vec![result(name.to_owned()).error(expected, "the file holds no document")];
    }
    let several = example.documents.len() > 1;
    let one = |(index, document): (usize, &serde_json::Value)| {
        let name = if several { format!("{name}#{}", index + 1) } else { name.to_owned() };
        let result = result(name);
        let asked = review(policy, document, &example.input);
        let unit = prepared.unit.as_ref().unwrap_or(unit);
        match asked.and_then(|review| violations(unit, &review, &prepared)) {
            Err(why) => result.error(expected, why),
            Ok(entries) => match (example.expectation, entries.as_slice()) {
                (Expectation::Pass, []) | (Expectation::Fail, [_, ..]) => result,
                (Expectation::Fail, []) => result.failed(expected, "no violation"),
                (Expectation::Pass, [entry, ..]) => result.failed(expected, violation(entry)),
            },
        }
    };
    example.documents.iter().enumerate().map(one).collect()
}

/// What all documents of an example share.
struct Prepared {
    /// The policy with the example's own inventory.
    unit: Option<Unit>,
    parameters: Value,
    cluster: Value,
}

fn prepare(policy: &Policy, bundle: &Bundle, input: &ExampleInput) -> Result<Prepared, String> {
    let problems = parameters::check(&policy.meta, &input.parameters);
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    let complete = parameters::complete(&policy.meta, &input.parameters);
    let missing = parameters::missing(&policy.meta, &complete);
    if !missing.is_empty() {
        return Err(format!(
            "the policy requires {}: set it in NAME.input.yaml",
            missing.join(", ")
        ));
    }
    let inventory = input.inventory.clone().map(Value::from);
    let unit = inventory.map(|inventory| {
        Unit::compile(policy, &bundle.libraries, Some(&inventory)).map_err(|diagnostics| {
            diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })
    });
    let cluster = input.cluster.clone().unwrap_or_default();
    let version = (!cluster.version.is_empty()).then_some(cluster.version);
    let cluster = Cluster { id: cluster.id, labels: cluster.labels, version };
    Ok(Prepared {
        unit: unit.transpose()?,
        parameters: serde_json::Value::Object(complete).into(),
        cluster: cluster.to_value(),
    })
}

fn review(
    policy: &Policy,
    document: &serde_json::Value,
    input: &ExampleInput,
) -> Result<Review, String> {
    let object = Object::from(document.clone());
    let review = Review::of(object, Checkpoint::Deploy)
        .ok_or_else(|| "the document has no apiVersion and kind".to_owned())?;
    if !policy.meta.matches_kind(&review.gvk) {
        let (kind, version) = (&review.gvk.kind, review.gvk.api_version());
        return Err(format!("the policy does not match {kind} of {version}"));
    }
    Ok(Review {
        operation: input.operation.clone(),
        old_object: input.old_object.clone().map(Object::from),
        user_info: input.user_info.clone().map(Object::from),
        namespace_object: input.namespace_object.clone().map(Object::from),
        ..review
    })
}

fn violations(unit: &Unit, review: &Review, prepared: &Prepared) -> Result<Vec<Entry>, String> {
    let input = input::build(&input::review(review), &prepared.parameters, &prepared.cluster);
    unit.violations(input, TIME_LIMIT).map_err(|p| format!("{}: {}", p.code, p.message))
}

fn violation(entry: &Entry) -> String {
    if entry.path.0.is_empty() {
        entry.message.clone()
    } else {
        format!("{}: {}", entry.path, entry.message)
    }
}
