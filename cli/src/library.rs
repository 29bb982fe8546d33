//! The policy library that the program carries.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use bytes::Bytes;
use provost_bundle::{Bundle, source};

/// What people know it by.
pub const NAME: &str = "built-in library";

/// Files of `policies/`, by path below it.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// The policies with their libraries and bindings; without tests and examples.
pub fn bundle() -> anyhow::Result<Bundle> {
    let files: BTreeMap<String, Bytes> =
        FILES.iter().map(|(path, bytes)| ((*path).to_owned(), Bytes::from_static(bytes))).collect();
    source::from_files("policies", &files).map(source::Source::into_bundle).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("the {NAME} is damaged: {}", lines.join("; "))
    })
}

/// Writes the library as a policy tree, to be changed and built like any other.
pub fn write_to(folder: &Path) -> std::io::Result<()> {
    for (path, bytes) in FILES {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use provost_engine::check;

    use super::*;

    #[test]
    fn every_policy_of_the_library_compiles() {
        let bundle = bundle().unwrap();
        assert!(bundle.policies.len() >= 18, "{}", bundle.policies.len());
        let diagnostics: Vec<_> = check(&bundle).iter().map(ToString::to_string).collect();
        assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    }
}
