//! A JSON Patch as lines of a difference. What is no patch is shown as it came.

use serde_json::Value;

use crate::api::findings::path_text;
use crate::ui::words::visible;

pub struct PatchLine {
    pub class: &'static str,
    pub text: String,
}

pub fn patch_lines(patch: Option<&str>) -> Vec<PatchLine> {
    let Some(text) = patch.filter(|text| !text.trim().is_empty()) else { return Vec::new() };
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(operations)) => operations.iter().map(line).collect(),
        _ => vec![PatchLine { class: "l", text: visible(text) }],
    }
}

fn line(operation: &Value) -> PatchLine {
    let word = |key| operation.get(key).and_then(Value::as_str).unwrap_or_default();
    let path = path_text(word("path"));
    let value = operation.get("value").map_or_else(String::new, Value::to_string);
    let (class, text) = match word("op") {
        "add" => ("add", format!("+ {path}: {value}")),
        "replace" => ("add", format!("~ {path}: {value}")),
        "remove" => ("del", format!("- {path}")),
        "test" => ("l", format!("  where {path} is {value}")),
        other => ("l", format!("  {other} {path} {value} {}", word("from"))),
    };
    PatchLine { class, text: visible(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_reads_as_a_difference() {
        let patch = r#"[{"op":"test","path":"/spec","value":1},{"op":"replace","path":"/spec/hostPID","value":false},{"op":"remove","path":"/spec/x"}]"#;
        let lines: Vec<_> =
            patch_lines(Some(patch)).into_iter().map(|l| (l.class, l.text)).collect();
        assert_eq!(
            lines,
            [
                ("l", "  where spec is 1".to_owned()),
                ("add", "~ spec.hostPID: false".to_owned()),
                ("del", "- spec.x".to_owned()),
            ]
        );
        assert!(patch_lines(None).is_empty());
        assert_eq!(patch_lines(Some("garbage"))[0].text, "garbage");
    }
}
