//! YAML as the API server's library reads it, with positions in every complaint.
//!
//! The one place of this crate that knows the YAML library. Plain `yes` and `on` are booleans and
//! `0777` is octal, as in manifests; a name twice in a mapping is an error.

use provost_model::Code;
use serde::de::DeserializeOwned;
use serde_saphyr::Options;

use crate::diagnostic::Diagnostic;

/// Reads one document.
pub(crate) fn one<T: DeserializeOwned>(
    file: &str,
    text: &str,
    line_offset: u32,
    code: Code,
) -> Result<T, Diagnostic> {
    serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| diagnostic(file, line_offset, code, &error))
}

/// Reads every document that is not empty.
pub(crate) fn all<T: DeserializeOwned>(file: &str, text: &str) -> Result<Vec<T>, Diagnostic> {
    serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|error| diagnostic(file, 0, Code::Malformed, &error))
}

fn options() -> Options {
    serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false }
}

fn diagnostic(file: &str, line_offset: u32, code: Code, error: &serde_saphyr::Error) -> Diagnostic {
    let message = error.without_snippet().to_string();
    let Some(location) = error.location() else { return Diagnostic::new(file, code, message) };
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    // The position stands in the diagnostic's own fields.
    let said = format!(" at line {}, column {}", location.line(), location.column());
    Diagnostic::new(file, code, message.replace(&said, ""))
        .at(number(location.line()).saturating_add(line_offset), number(location.column()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn scalars_are_what_the_api_server_reads() {
        let text = "a: yes\nb: on\nc: 0777\nd: \"yes\"\ne: ~\nf: 1.5\n";
        let value: Value = one("f", text, 0, Code::Malformed).unwrap();
        assert_eq!(value, json!({"a": true, "b": true, "c": 511, "d": "yes", "e": null, "f": 1.5}));
    }

    #[test]
    fn complaints_have_a_position() {
        let twice = one::<Value>("f.yaml", "a: 1\nb: 2\na: 3\n", 10, Code::Malformed).unwrap_err();
        assert_eq!((twice.line, twice.column), (13, 1));
        assert!(twice.message.contains("duplicate"), "{twice}");
        let open = all::<Value>("f.yaml", "a: 1\n---\nb: [\n").unwrap_err();
        assert_eq!(open.line, 3);
    }

    #[test]
    fn empty_documents_are_passed_over() {
        let documents: Vec<Value> = all("f", "# c\n---\na: 1\n---\n---\nb: 2\n").unwrap();
        assert_eq!(documents, [json!({"a": 1}), json!({"b": 2})]);
    }
}
