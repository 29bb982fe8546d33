//! Bundles and policies that tests make.

use provost_bundle::{Bundle, Module, Policy};
use provost_engine::{Cluster, CompiledSet, Object, Options, Review};
use provost_model::binding::Origin;
use provost_model::policy::Checkpoint;
use provost_model::{Binding, Digest, PolicyMeta, Verdict};
use serde_json::{Value, json};

/// A policy for Pods with the given text; `package` and id come from `name`.
pub fn policy(name: &str, text: &str) -> Policy {
    let meta: PolicyMeta = serde_json::from_value(json!({
        "id": name, "title": name, "severity": "high", "category": "security",
        "kinds": [{"group": "", "kinds": ["Pod"]}], "action": "deny", "failMode": "open",
    }))
    .unwrap();
    let package = format!("provost.cases.{}", name.replace('-', "_"));
    let text = format!("package {package}\n{text}");
    Policy {
        meta,
        folder: format!("cases/{name}"),
        module: Module {
            path: format!("cases/{name}/policy.rego"),
            package,
            text: text.into(),
            imports: Vec::new(),
        },
        tests: Vec::new(),
        examples: Vec::new(),
    }
}

pub fn bundle(policies: Vec<Policy>, bindings: Vec<Binding>) -> Bundle {
    Bundle {
        policies,
        libraries: Vec::new(),
        library_tests: Vec::new(),
        bindings,
        origin: Origin::Local(Digest::of(b"test")),
    }
}

pub fn binding(value: Value) -> Binding {
    serde_json::from_value(value).unwrap()
}

pub fn compile(bundle: &Bundle) -> CompiledSet {
    CompiledSet::compile(bundle, &Cluster::default(), &Options::default())
}

/// One policy alone.
pub fn compile_text(text: &str) -> CompiledSet {
    compile(&bundle(vec![policy("case", text)], Vec::new()))
}

pub fn review(object: Value) -> Review {
    Review::of(Object::from(object), Checkpoint::Run).unwrap()
}

/// A Pod with these fields on top.
pub fn pod(fields: &Value) -> Review {
    let mut object = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "shop"}});
    let fields = fields.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(fields);
    review(object)
}

/// The only verdict.
pub fn only(mut verdicts: Vec<Verdict>) -> Verdict {
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    verdicts.remove(0)
}
