//! What a file is, by its path: the one table of the layout of policy trees and built bundles.

use provost_trust::files::FileKind;

use crate::bundle::Expectation;

/// A policy tree is written by people and holds YAML; a built bundle holds JSON in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Tree,
    Built,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Library,
    LibraryTest,
    /// Of the policy in this folder, as in all that follow.
    Policy(String),
    Metadata(String),
    PolicyTest(String),
    Example(ExampleFile),
    /// Parameters and such for the example of the same name; in a tree only.
    ExampleInput(ExampleFile),
    Bindings,
    /// Belongs to people: a README.
    Ignored,
    /// Why it cannot stand there.
    Misplaced(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExampleFile {
    pub folder: String,
    pub expectation: Expectation,
    pub name: String,
}

/// Area names that hold no policies.
const RESERVED: [&str; 2] = ["lib", "bindings"];

impl Role {
    pub(crate) fn of(path: &str, form: Form) -> Self {
        let segments: Vec<&str> = path.split('/').collect();
        let unknown = || Self::unknown(path, form);
        match segments[..] {
            ["lib", file] if file.ends_with("_test.rego") => Self::LibraryTest,
            ["lib", file] if file.ends_with(".rego") => Self::Library,
            ["bindings", file] if data_stem(file, form).is_some() => Self::Bindings,
            [area, ..] if RESERVED.contains(&area) => unknown(),
            [area, slug, "policy.rego"] => Self::Policy(format!("{area}/{slug}")),
            [area, slug, "metadata.json"] if form == Form::Built => {
                Self::Metadata(format!("{area}/{slug}"))
            }
            [area, slug, file] if file.ends_with("_test.rego") => {
                Self::PolicyTest(format!("{area}/{slug}"))
            }
            [area, slug, "examples", expectation, file] => {
                let expectation = match expectation {
                    "pass" => Expectation::Pass,
                    "fail" => Expectation::Fail,
                    _ => return unknown(),
                };
                let Some(stem) = data_stem(file, form) else { return unknown() };
                let folder = format!("{area}/{slug}");
                let input = stem.strip_suffix(".input").filter(|_| form == Form::Tree);
                let name = input.unwrap_or(stem).to_owned();
                let example = ExampleFile { folder, expectation, name };
                if input.is_some() { Self::ExampleInput(example) } else { Self::Example(example) }
            }
            _ => unknown(),
        }
    }

    fn unknown(path: &str, form: Form) -> Self {
        if path.ends_with(".rego") {
            return Self::Misplaced(
                "Rego stands in <area>/<policy>/policy.rego, beside it in *_test.rego, or in lib/*.rego",
            );
        }
        let data = path.ends_with(".yaml") || path.ends_with(".yml") || path.ends_with(".json");
        if data && path.split('/').any(|segment| segment == "examples") {
            return Self::Misplaced(
                "examples stand in <area>/<policy>/examples/pass or examples/fail",
            );
        }
        match form {
            Form::Tree => Self::Ignored,
            Form::Built => Self::Misplaced("a built bundle holds nothing but what was packed"),
        }
    }

    pub(crate) const fn kind(&self) -> Option<FileKind> {
        match self {
            Self::Library => Some(FileKind::Library),
            Self::LibraryTest | Self::PolicyTest(_) => Some(FileKind::Test),
            Self::Policy(_) => Some(FileKind::Policy),
            Self::Metadata(_) => Some(FileKind::Metadata),
            Self::Example(_) | Self::ExampleInput(_) => Some(FileKind::Example),
            Self::Bindings => Some(FileKind::Bindings),
            Self::Ignored | Self::Misplaced(_) => None,
        }
    }
}

fn data_stem(file: &str, form: Form) -> Option<&str> {
    let stem = match form {
        Form::Tree => file
            .strip_suffix(".yaml")
            .or_else(|| file.strip_suffix(".yml"))
            .or_else(|| file.strip_suffix(".json")),
        Form::Built => file.strip_suffix(".json"),
    };
    stem.filter(|stem| !stem.is_empty() && !stem.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_one_meaning() {
        let folder = || "pods/x".to_owned();
        let example = |name: &str| ExampleFile {
            folder: folder(),
            expectation: Expectation::Fail,
            name: name.to_owned(),
        };
        for (path, tree, built) in [
            ("lib/pods.rego", Role::Library, Some(Role::Library)),
            ("lib/pods_test.rego", Role::LibraryTest, Some(Role::LibraryTest)),
            ("pods/x/policy.rego", Role::Policy(folder()), Some(Role::Policy(folder()))),
            ("pods/x/metadata.json", Role::Ignored, Some(Role::Metadata(folder()))),
            (
                "pods/x/policy_test.rego",
                Role::PolicyTest(folder()),
                Some(Role::PolicyTest(folder())),
            ),
            ("pods/x/examples/fail/a.yaml", Role::Example(example("a")), None),
            ("pods/x/examples/fail/a.input.yaml", Role::ExampleInput(example("a")), None),
            (
                "pods/x/examples/fail/a.json",
                Role::Example(example("a")),
                Some(Role::Example(example("a"))),
            ),
            ("bindings/edge.yaml", Role::Bindings, None),
            ("pods/x/README.md", Role::Ignored, None),
        ] {
            assert_eq!(Role::of(path, Form::Tree), tree, "{path}");
            let in_built = Role::of(path, Form::Built);
            match built {
                Some(role) => assert_eq!(in_built, role, "{path}"),
                None => assert!(matches!(in_built, Role::Misplaced(_)), "{path}"),
            }
        }
        for path in ["a.rego", "pods/x/other.rego", "lib/a/b.rego", "pods/x/examples/bad/a.yaml"] {
            assert!(matches!(Role::of(path, Form::Tree), Role::Misplaced(_)), "{path}");
        }
    }
}
