//! A bundle in memory: what the engine compiles, wherever it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use provost_model::binding::Origin;
use provost_model::{Binding, Digest, Labels, PolicyId, PolicyMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Policies sorted by id, libraries and tests by path, bindings by policy and id.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    pub policies: Vec<Policy>,
    pub libraries: Vec<Module>,
    pub library_tests: Vec<Module>,
    /// Those written; what the policies' metadata implies is not among them.
    pub bindings: Vec<Binding>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub meta: PolicyMeta,
    /// Folder below the bundle's root: `<area>/<slug>`.
    pub folder: String,
    pub module: Module,
    pub tests: Vec<Module>,
    pub examples: Vec<Example>,
}

/// One Rego file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Below the bundle's root, `/` between segments.
    pub path: String,
    /// As written: `provost.pods.privileged_container`.
    pub package: String,
    pub text: Arc<str>,
    /// Packages below `provost.lib` that it names: `provost.lib.pods`.
    pub imports: Vec<String>,
}

/// Documents that must all pass or all violate.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// File name without extension.
    pub name: String,
    pub expectation: Expectation,
    /// Path of its file in the bundle or folder.
    pub path: String,
    pub documents: Vec<Value>,
    pub input: ExampleInput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    Pass,
    Fail,
}

/// What stands in `NAME.input.yaml` beside an example; each part that is set replaces the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExampleInput {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ExampleCluster>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_object: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_object: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_info: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleCluster {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

impl Bundle {
    /// No policies: what an agent has before its first bundle.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            policies: Vec::new(),
            libraries: Vec::new(),
            library_tests: Vec::new(),
            bindings: Vec::new(),
            origin: Origin::Local(Digest::of(&[])),
        }
    }

    #[must_use]
    pub fn policy(&self, id: &PolicyId) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.meta.id == *id)
    }

    /// Only the policies named, with the bindings of these.
    #[must_use]
    pub fn narrowed_to(mut self, ids: &[PolicyId]) -> Self {
        self.policies.retain(|policy| ids.contains(&policy.meta.id));
        self.bindings.retain(|binding| ids.contains(&binding.policy));
        self
    }
}

impl Policy {
    /// The libraries that the policy needs, also by way of each other, sorted by path.
    #[must_use]
    pub fn imports<'a>(&self, libraries: &'a [Module]) -> Vec<&'a Module> {
        closure(&self.module, libraries)
    }
}

/// The libraries that `module` needs, also by way of each other, sorted by path.
#[must_use]
pub fn closure<'a>(module: &Module, libraries: &'a [Module]) -> Vec<&'a Module> {
    let mut needed: Vec<&Module> = Vec::new();
    let mut open: Vec<&str> = module.imports.iter().map(String::as_str).collect();
    while let Some(package) = open.pop() {
        for library in libraries.iter().filter(|library| library.package == package) {
            if !needed.iter().any(|known| known.path == library.path) {
                needed.push(library);
                open.extend(library.imports.iter().map(String::as_str));
            }
        }
    }
    needed.sort_by(|a, b| a.path.cmp(&b.path));
    needed
}
