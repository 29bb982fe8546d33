//! A small policy tree in memory, for tests to change.

use std::collections::BTreeMap;

use bytes::Bytes;
use provost_bundle::diagnostic::Diagnostic;
use provost_bundle::{Source, source};

#[derive(Clone)]
pub struct Tree(BTreeMap<String, String>);

pub const PRIVILEGED: &str = r#"# METADATA
# title: No privileged container
# custom:
#   id: privileged
#   code: A04
#   severity: critical
#   category: security
#   kinds: [{group: "", kinds: [Pod]}]
#   parameters: {allowed: {type: array, items: {type: string}, default: []}}
#   action: deny
package provost.pods.privileged

import data.provost.lib.pods

violation contains {"msg": "privileged", "path": ["spec"]} if {
	some container in pods.containers
	container.securityContext.privileged
}
"#;

pub const REGISTRIES: &str = r#"# METADATA
# title: Known registries
# custom:
#   id: registries
#   severity: high
#   category: security
#   kinds: [{group: "", kinds: [Pod]}]
#   parameters: {allowed: {type: array, items: {type: string}}}
#   requires: [allowed]
package provost.images.registries

violation contains {"msg": "registry", "path": []} if false
"#;

impl Tree {
    pub fn new() -> Self {
        Self(BTreeMap::new())
            .with("pods/privileged/policy.rego", PRIVILEGED)
            .with(
                "pods/privileged/policy_test.rego",
                "package provost.pods.privileged_test\n\nimport data.provost.pods.privileged\n\ntest_none if count(privileged.violation) == 0 with input as {}\n",
            )
            .with("pods/privileged/examples/fail/one.yaml", "# a pod\n---\napiVersion: v1\nkind: Pod\nspec: {hostPID: yes}\n---\napiVersion: v1\nkind: Pod\n")
            .with("pods/privileged/examples/fail/one.input.yaml", "parameters: {allowed: [a]}\ncluster: {version: v1.31.0}\n")
            .with("pods/privileged/examples/pass/two.yaml", "apiVersion: v1\nkind: Pod\n")
            .with("pods/privileged/README.md", "For people.")
            .with("images/registries/policy.rego", REGISTRIES)
            .with("lib/pods.rego", "package provost.lib.pods\n\nimport data.provost.lib.objects\n\ncontainers := objects.spec.containers\n")
            .with("lib/objects.rego", "package provost.lib.objects\n\nspec := input.review.object.spec\n")
            .with("lib/pods_test.rego", "package provost.lib.pods_test\n\nimport data.provost.lib.pods\n\ntest_x if true\n")
            .with("lib/unused.rego", "package provost.lib.unused\n\nx := 1\n")
            .with("bindings/edge.yaml", "id: edge\npolicy: privileged\naction: warn\nmatch:\n  clusters:\n    matchLabels: {tier: edge}\n  excludedNamespaces: [kube-system]\n---\nid: ours\npolicy: registries\nparameters: {allowed: [registry.example.org]}\nmatch: {namespaces: [shop-*]}\n")
    }

    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.to_owned(), text.to_owned());
        self
    }

    pub fn without(mut self, path: &str) -> Self {
        assert!(self.0.remove(path).is_some(), "{path}");
        self
    }

    pub fn replace(self, path: &str, from: &str, to: &str) -> Self {
        let text = &self.0[path];
        assert!(text.contains(from), "{from} in {text}");
        let text = text.replace(from, to);
        self.with(path, &text)
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    pub fn read(&self) -> Result<Source, Vec<Diagnostic>> {
        let files =
            self.0.iter().map(|(path, text)| (path.clone(), Bytes::from(text.clone()))).collect();
        source::from_files("tree", &files)
    }

    pub fn write(&self, root: &std::path::Path) {
        for (path, text) in &self.0 {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
}
