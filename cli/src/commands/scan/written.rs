//! What a settings file `.provost.yaml` says. Strict: a key that it does not know is an error with
//! its place.

use std::sync::Arc;

use provost_manifests::{Node, Position, Value, read_bytes};
use provost_model::Severity;

/// What a settings file says; what it leaves out is empty.
#[derive(Debug, Default, PartialEq)]
pub struct Written {
    pub policies: Vec<String>,
    pub root: Option<String>,
    pub policy_ids: Vec<String>,
    pub exclude: Vec<String>,
    pub namespace: Option<String>,
    pub fail_on: Option<Severity>,
}

/// `shown` is what the file is called; an error begins with it and the place.
pub fn parse(shown: &str, bytes: Vec<u8>) -> Result<Written, String> {
    let content = read_bytes(&Arc::from(shown), None, bytes);
    if let Some(problem) = content.problems.first() {
        return Err(problem.to_string());
    }
    let mut documents = content.documents.into_iter();
    let Some(document) = documents.next() else { return Ok(Written::default()) };
    let refuse = |at: Position, message: String| format!("{shown}:{at}: {message}");
    if let Some(second) = documents.next() {
        return Err(refuse(second.at, "there is a second document".to_owned()));
    }
    if !matches!(document.node.value, Value::Mapping(_)) {
        return Err(refuse(
            document.at,
            format!("expected a mapping, found {}", document.node.type_name()),
        ));
    }
    let mut written = Written::default();
    for entry in document.node.entries() {
        let value = &entry.value;
        let fail = |(at, message)| refuse(at, format!("{}: {message}", entry.key));
        match entry.key.as_str() {
            "policies" => written.policies = texts(value).map_err(fail)?,
            "root" => written.root = Some(text(value).map_err(fail)?),
            "policyIds" => written.policy_ids = texts(value).map_err(fail)?,
            "exclude" => written.exclude = texts(value).map_err(fail)?,
            "namespace" => written.namespace = Some(text(value).map_err(fail)?),
            "failOn" => {
                let word = text(value).map_err(fail)?;
                written.fail_on = Some(
                    word.parse().map_err(|error| refuse(value.at, format!("failOn: {error}")))?,
                );
            }
            other => {
                let known = "policies, root, policyIds, exclude, namespace, failOn";
                return Err(refuse(
                    entry.key_at,
                    format!("unknown key `{other}`: expected one of {known}"),
                ));
            }
        }
    }
    Ok(written)
}

fn text(node: &Node) -> Result<String, (Position, String)> {
    let found = || (node.at, format!("expected a text, found {}", node.type_name()));
    node.as_str().map(str::to_owned).ok_or_else(found)
}

fn texts(node: &Node) -> Result<Vec<String>, (Position, String)> {
    match &node.value {
        Value::Sequence(elements) => elements.iter().map(text).collect(),
        _ => Err((node.at, format!("expected a list, found {}", node.type_name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_file_is_strict_and_says_where() {
        let full =
            "policies: [a]\nroot: r\npolicyIds: [b]\nexclude: [c]\nnamespace: d\nfailOn: high\n";
        let written = parse("f", full.into()).unwrap();
        assert_eq!(written.policies, ["a"]);
        assert_eq!(written.fail_on, Some(Severity::High));
        assert_eq!(parse("f", b"# nothing\n".to_vec()).unwrap(), Written::default());
        for (text, expected) in [
            ("exclude: [a]\nfailon: high\n", "f:2:1: unknown key `failon`"),
            ("exclude: a\n", "f:1:10: exclude: expected a list, found a string"),
            ("exclude: [1]\n", "f:1:11: exclude: expected a text, found a number"),
            ("failOn: hihg\n", "f:1:9: failOn: unknown word \"hihg\""),
            ("- a\n", "f:1:1: expected a mapping"),
            ("a: [\n", "f:1:4"),
            ("namespace: a\n---\nnamespace: b\n", "f:3:1: there is a second document"),
        ] {
            let error = parse("f", text.into()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
