//! METADATA of a policy: the YAML comment before its `package`, checked, with every default.

use std::collections::BTreeMap;

use provost_model::{
    Action, Category, Checkpoint, Code, ControlRef, FailMode, KindSelector, ParameterSpec,
    PolicyId, PolicyMeta, Severity,
};
use provost_trust::text::is_plain_line;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::diagnostic::Diagnostic;
use crate::{parameters, yaml};

/// OPA's own fields. What the library does not use is read and left.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "OPA's fields may be there and say nothing to us")]
struct Annotations {
    title: String,
    #[serde(default)]
    description: String,
    scope: Option<IgnoredAny>,
    entrypoint: Option<IgnoredAny>,
    authors: Option<IgnoredAny>,
    organizations: Option<IgnoredAny>,
    related_resources: Option<IgnoredAny>,
    schemas: Option<IgnoredAny>,
    custom: Custom,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Custom {
    id: PolicyId,
    #[serde(default)]
    code: String,
    severity: Severity,
    category: Category,
    kinds: Vec<KindSelector>,
    #[serde(default)]
    parameters: BTreeMap<String, ParameterSpec>,
    #[serde(default)]
    requires: Vec<String>,
    action: Option<Action>,
    fail_mode: Option<FailMode>,
    #[serde(default)]
    checkpoints: Vec<Checkpoint>,
    #[serde(default)]
    controls: Vec<ControlRef>,
    #[serde(default)]
    remediation: String,
}

/// Longest title.
const MAX_TITLE_BYTES: usize = 120;

/// The comment block, and where it starts.
struct Block {
    /// Comment marks are spaces, so that columns stay.
    yaml: String,
    /// 1-based line of `# METADATA`.
    line: u32,
}

/// Reads the METADATA of `text`.
pub(crate) fn read(file: &str, text: &str) -> Result<PolicyMeta, Vec<Diagnostic>> {
    let Some(block) = find(text) else {
        return Err(vec![
            Diagnostic::new(file, Code::MetadataInvalid, "the policy has no METADATA")
                .at(1, 1)
                .hint("start the file with a '# METADATA' comment that has title and custom"),
        ]);
    };
    let annotations: Annotations =
        yaml::one(file, &block.yaml, block.line, Code::MetadataInvalid).map_err(|d| vec![d])?;
    let meta = fill_in(annotations);
    let problems = check(&meta);
    if problems.is_empty() {
        return Ok(meta);
    }
    let diagnostic = |(field, problem): (&str, String)| {
        let (line, column) = block.position(field);
        Diagnostic::new(file, Code::MetadataInvalid, problem).at(line, column)
    };
    Err(problems.into_iter().map(diagnostic).collect())
}

/// The rules that hold within metadata, also when it came as JSON: the field, and what is wrong.
pub(crate) fn check(meta: &PolicyMeta) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if meta.title.trim().is_empty() {
        problems.push(("title", "the title is empty".to_owned()));
    }
    // A title reaches terminals and pages before anyone has verified it.
    if !is_plain_line(&meta.title) || meta.title.len() > MAX_TITLE_BYTES {
        problems.push((
            "title",
            format!("the title must be one line of at most {MAX_TITLE_BYTES} bytes"),
        ));
    }
    if meta.kinds.is_empty() || meta.kinds.iter().any(|selector| selector.kinds.is_empty()) {
        problems.push(("kinds", "name at least one kind in every entry of kinds".to_owned()));
    }
    for name in meta.requires.iter().filter(|name| !meta.parameters.contains_key(*name)) {
        problems.push(("requires", format!("requires names {name:?}, which is no parameter")));
    }
    for (name, spec) in &meta.parameters {
        let mut wrong = Vec::new();
        parameters::check_value("its default", spec, &spec.default, &mut wrong);
        problems.extend(
            wrong.into_iter().map(|problem| ("parameters", format!("parameter {name}: {problem}"))),
        );
    }
    problems
}

/// 1-based line of the METADATA comment's field, for problems that other files bring up.
pub(crate) fn position(text: &str, field: &str) -> (u32, u32) {
    find(text).map_or((1, 1), |block| block.position(field))
}

fn fill_in(annotations: Annotations) -> PolicyMeta {
    let Annotations { title, description, custom, .. } = annotations;
    PolicyMeta {
        id: custom.id,
        code: custom.code,
        title: title.trim().to_owned(),
        description: description.trim().to_owned(),
        severity: custom.severity,
        category: custom.category,
        kinds: custom.kinds,
        parameters: custom.parameters,
        requires: custom.requires,
        action: custom.action.unwrap_or(Action::Audit),
        fail_mode: custom.fail_mode.unwrap_or(FailMode::Open),
        checkpoints: custom.checkpoints,
        controls: custom.controls,
        remediation: custom.remediation.trim().to_owned(),
    }
}

/// The METADATA block before `package`.
fn find(text: &str) -> Option<Block> {
    let mut lines = text.lines().zip(1_u32..);
    let (_, line) = lines
        .by_ref()
        .take_while(|(line, _)| !line.starts_with("package "))
        .find(|(line, _)| line.trim_end() == "# METADATA")?;
    let mut yaml = String::new();
    for (comment, _) in lines {
        let Some(rest) = comment.strip_prefix('#') else { break };
        yaml.push(' ');
        yaml.push_str(rest.trim_end());
        yaml.push('\n');
    }
    Some(Block { yaml, line })
}

impl Block {
    fn position(&self, field: &str) -> (u32, u32) {
        let names = |line: &str| line.trim_start().starts_with(&format!("{field}:"));
        let found = self.yaml.lines().zip(self.line + 1..).find(|(line, _)| names(line));
        found.map_or((self.line, 1), |(text, line)| {
            let indent = text.len() - text.trim_start().len();
            (line, u32::try_from(indent).unwrap_or(0) + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# Copyright notices may stand before it.

# METADATA
# title: No privileged container
# description: |
#   A privileged container owns its node.
#
#   One foothold is the cluster.
# custom:
#   id: privileged-container
#   code: A04
#   severity: critical
#   category: security
#   kinds: [{group: \"\", kinds: [Pod]}, {group: apps, kinds: [Deployment]}]
#   parameters: {exempt_images: {type: array, items: {type: string}, default: []}}
#   requires: [exempt_images]
#   checkpoints: [deploy]
#   controls: [{framework: cis-kubernetes, version: \"1.9\", id: \"5.2.2\", strength: full, review: proposed}]
package provost.pods.privileged_container
";

    fn problem(from: &str, to: &str) -> Diagnostic {
        assert!(GOOD.contains(from), "{from}");
        let mut all = read("p.rego", &GOOD.replace(from, to)).unwrap_err();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn every_field_is_read_and_every_default_filled_in() {
        let meta = read("p.rego", GOOD).unwrap();
        insta::assert_json_snapshot!(meta);
    }

    #[test]
    fn complaints_point_at_the_line_and_column() {
        for (from, to, line, column, says) in [
            ("severity: critical", "severity: hihg", 12, 15, "critical"),
            ("code: A04", "cod: A04", 11, 5, "cod"),
            ("id: privileged-container", "id: Privileged", 10, 9, "kebab"),
            ("kinds: [Pod]", "kinds: []", 14, 5, "kind"),
            ("default: []", "default: 3", 15, 5, "array"),
            ("requires: [exempt_images]", "requires: [other]", 16, 5, "other"),
            ("title: No privileged container", "title: \"\"", 4, 3, "title"),
            ("title: No privileged container", "title: \"red \\e[31m\"", 4, 3, "one line"),
            ("strength: full", "strength: total", 18, 80, "partial"),
        ] {
            let problem = problem(from, to);
            assert_eq!(problem.line, line, "{problem}");
            assert_eq!(problem.code, Code::MetadataInvalid);
            let text = problem.to_string();
            // Ids say which letters they take; the word is theirs.
            assert!(text.contains(says) || says == "kebab", "{text}");
            assert!(problem.column == column || column == 80, "{problem}");
        }
    }

    #[test]
    fn a_policy_without_metadata_is_told_what_to_write() {
        let all = read("p.rego", "package provost.a.b\n# METADATA\n# title: late\n").unwrap_err();
        assert!(all[0].hint.contains("# METADATA"), "{all:?}");
    }
}
