//! Tells templates of Helm and Go from manifests. They are not rendered here.

use std::path::Path;

/// What Helm alone says.
const OF_HELM: [&str; 8] = [
    "{{-",
    "{{ .Values",
    "{{.Values",
    "{{ .Release",
    "{{ .Chart",
    "{{ .Capabilities",
    "{{ include ",
    "{{ template ",
];

/// Whether the file is a template of a chart: it lies under `templates/`, beside whose folder is a
/// `Chart.yaml` or in which Helm's own words stand. A manifest without `{{` is none: Helm renders
/// it as it is.
pub fn is_helm(path: &Path, text: &str) -> bool {
    text.contains("{{")
        && path.ancestors().skip(1).filter(|folder| is_templates(folder)).any(|folder| {
            folder.parent().is_some_and(|chart| chart.join("Chart.yaml").is_file())
                || OF_HELM.iter().any(|word| text.contains(word))
        })
}

fn is_templates(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == "templates")
}

/// Whether a text that could not be parsed holds actions of a template where YAML would have a
/// value: `{{` at the start of a line or of a value, or words that only templates have. Text that
/// merely quotes `{{ $labels.pod }}`, as alert rules do, is not one.
pub fn looks_like_one(text: &str) -> bool {
    text.contains("}}") && text.lines().any(|line| holds_action(line.trim()))
}

fn holds_action(line: &str) -> bool {
    if line.starts_with('#') || !line.contains("{{") {
        return false;
    }
    line.starts_with("{{")
        || [
            ": {{",
            "- {{",
            "{{-",
            "-}}",
            "{{ .",
            "{{.",
            "{{ include ",
            "{{ template ",
            "{{ if ",
            "{{ end ",
            "{{ range ",
        ]
        .iter()
        .any(|action| line.contains(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_told_from_quoted_braces() {
        for (text, expected) in [
            ("{{- if .Values.x }}\na: b\n{{- end }}\n", true),
            ("name: {{ include \"x\" . }}\n", true),
            ("replicas: {{ .Values.replicas }}\n", true),
            ("summary: \"pod {{ $labels.pod }} is down\n", false),
            ("# {{ .Values.x }}\na: [\n", false),
            ("a: {b: {c: d\n", false),
        ] {
            assert_eq!(looks_like_one(text), expected, "{text}");
        }
    }
}
