//! From files to a bundle: the same steps for a policy tree and for a built bundle, which differ
//! only in where metadata stands and in YAML against JSON.
//!
//! Every problem of every file is told, not the first alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use provost_model::binding::Origin;
use provost_model::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_FILES};
use provost_model::{Binding, Code, PolicyMeta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::{Bundle, Example, ExampleInput, Module, Policy};
use crate::diagnostic::Diagnostic;
use crate::role::{ExampleFile, Form, Role};
use crate::{check, imports, metadata, yaml};

/// One example as it stands in a built bundle.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuiltExample {
    pub documents: Vec<Value>,
    #[serde(default)]
    pub input: ExampleInput,
}

/// A binding, and the file and line it was written in.
pub(crate) struct WrittenBinding {
    pub binding: Binding,
    pub file: String,
    pub line: u32,
}

/// Reads `files`, by path below the root. `name` turns such a path into what people know it by.
pub(crate) fn assemble(
    files: &BTreeMap<String, Bytes>,
    form: Form,
    origin: Origin,
    name: &dyn Fn(&str) -> String,
) -> Result<Bundle, Vec<Diagnostic>> {
    match assemble_what_is_whole(files, form, origin, name)? {
        (bundle, problems) if problems.is_empty() => Ok(bundle),
        (_, problems) => Err(problems),
    }
}

/// The same, but what is wrong within the folder of a policy costs that policy and its bindings alone;
/// it is told beside the bundle.
pub(crate) fn assemble_what_is_whole(
    files: &BTreeMap<String, Bytes>,
    form: Form,
    origin: Origin,
    name: &dyn Fn(&str) -> String,
) -> Result<(Bundle, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut parts = Parts::new(form, name);
    if files.len() > MAX_BUNDLE_FILES {
        let message = format!("{} files; a bundle has at most {MAX_BUNDLE_FILES}", files.len());
        return Err(vec![Diagnostic::new(&name(""), Code::Limit, message)]);
    }
    for (path, bytes) in files {
        parts.take(path, bytes);
    }
    parts.finish(origin)
}

struct Parts<'a> {
    form: Form,
    name: &'a dyn Fn(&str) -> String,
    problems: Vec<Diagnostic>,
    policies: BTreeMap<String, PolicyParts>,
    libraries: Vec<Module>,
    library_tests: Vec<Module>,
    bindings: Vec<WrittenBinding>,
    examples: BTreeMap<ExampleFile, (String, Vec<Value>, ExampleInput)>,
    inputs: BTreeMap<ExampleFile, (String, ExampleInput)>,
}

#[derive(Default)]
struct PolicyParts {
    module: Option<Module>,
    meta: Option<PolicyMeta>,
    /// Something in it could not be read: what is missing then needs no word of its own.
    broken: bool,
    tests: Vec<Module>,
}

impl<'a> Parts<'a> {
    fn new(form: Form, name: &'a dyn Fn(&str) -> String) -> Self {
        Self {
            form,
            name,
            problems: Vec::new(),
            policies: BTreeMap::new(),
            libraries: Vec::new(),
            library_tests: Vec::new(),
            bindings: Vec::new(),
            examples: BTreeMap::new(),
            inputs: BTreeMap::new(),
        }
    }

    fn take(&mut self, path: &str, bytes: &Bytes) {
        let file = (self.name)(path);
        let role = Role::of(path, self.form);
        match role {
            Role::Ignored => return,
            Role::Misplaced(hint) => {
                let problem =
                    Diagnostic::new(&file, Code::FileUnexpected, "this file is misplaced");
                return self.problems.push(problem.hint(hint));
            }
            _ => {}
        }
        match text(&file, bytes) {
            Ok(text) => self.take_text(path, &file, role, text),
            Err(problem) => self.problems.push(problem),
        }
    }

    fn take_text(&mut self, path: &str, file: &str, role: Role, text: &str) {
        match role {
            Role::Library => self.libraries.push(module(path, text)),
            Role::LibraryTest => self.library_tests.push(module(path, text)),
            Role::Policy(folder) => self.take_policy(path, file, &folder, text),
            Role::PolicyTest(folder) => {
                self.policies.entry(folder).or_default().tests.push(module(path, text));
            }
            Role::Metadata(folder) => {
                let meta: Option<PolicyMeta> = self.keep(json(file, text));
                self.take_meta(file, &folder, meta);
            }
            Role::Example(key) => self.take_example(path, file, key, text),
            Role::ExampleInput(key) => {
                let input = if text.trim().is_empty() {
                    Some(ExampleInput::default())
                } else {
                    self.keep(yaml::one(file, text, 0, Code::Malformed))
                };
                self.inputs.insert(key, (file.to_owned(), input.unwrap_or_default()));
            }
            Role::Bindings => self.take_bindings(file, text),
            Role::Ignored | Role::Misplaced(_) => {}
        }
    }

    fn take_policy(&mut self, path: &str, file: &str, folder: &str, text: &str) {
        let module = module(path, text);
        if self.form == Form::Tree {
            match metadata::read(file, text) {
                Ok(meta) => self.take_meta(file, folder, Some(meta)),
                Err(problems) => {
                    self.problems.extend(problems);
                    self.policies.entry(folder.to_owned()).or_default().broken = true;
                }
            }
        }
        self.policies.entry(folder.to_owned()).or_default().module = Some(module);
    }

    fn take_meta(&mut self, file: &str, folder: &str, meta: Option<PolicyMeta>) {
        if self.form == Form::Built {
            let wrong = meta.iter().flat_map(metadata::check);
            let problem = |(_, text)| Diagnostic::new(file, Code::MetadataInvalid, text);
            self.problems.extend(wrong.map(problem));
        }
        let policy = self.policies.entry(folder.to_owned()).or_default();
        policy.broken |= meta.is_none();
        policy.meta = meta;
    }

    fn take_example(&mut self, path: &str, file: &str, key: ExampleFile, text: &str) {
        let example = match self.form {
            Form::Tree => self
                .keep(yaml::all(file, text))
                .map(|documents| BuiltExample { documents, input: ExampleInput::default() }),
            Form::Built => self.keep(json(file, text)),
        };
        let Some(BuiltExample { documents, input }) = example else { return };
        if documents.is_empty() || !documents.iter().all(Value::is_object) {
            let problem = Diagnostic::new(
                file,
                Code::Malformed,
                "an example needs documents that are objects",
            );
            self.problems.push(problem.hint("write at least one manifest, or remove the file"));
        }
        if self.examples.insert(key, (path.to_owned(), documents, input)).is_some() {
            let message = "another example has the same name and a different extension";
            self.problems.push(Diagnostic::new(file, Code::Conflict, message));
        }
    }

    fn take_bindings(&mut self, file: &str, text: &str) {
        let bindings: Option<Vec<Binding>> = match self.form {
            Form::Tree => self.keep(yaml::all(file, text)),
            Form::Built => self.keep(json(file, text)),
        };
        let lines = id_lines(text);
        for (position, binding) in bindings.unwrap_or_default().into_iter().enumerate() {
            let line = lines.get(position).copied().unwrap_or(0);
            self.bindings.push(WrittenBinding { binding, file: file.to_owned(), line });
        }
    }

    fn finish(mut self, origin: Origin) -> Result<(Bundle, Vec<Diagnostic>), Vec<Diagnostic>> {
        self.join_inputs();
        let folders: Vec<String> = self.policies.keys().map(|folder| (self.name)(folder)).collect();
        let (mut policies, mut libraries) = self.policies_with_imports();
        resolve_imports(&mut self.library_tests, &libraries.clone());
        let known = libraries.clone();
        resolve_imports(&mut libraries, &known);
        self.problems.extend(check::libraries(&libraries, self.name));
        self.problems.extend(check::policies(&policies, &libraries, self.name));
        let mut written = std::mem::take(&mut self.bindings);
        self.problems.extend(check::bindings(&written, &policies, !self.problems.is_empty()));
        if self.form == Form::Tree {
            self.problems.extend(check::bindings_of_people(&written, &policies));
        }
        self.problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        let is_in = |problem: &Diagnostic, folder: &str| {
            problem
                .file
                .strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !self.problems.iter().all(|problem| folders.iter().any(|folder| is_in(problem, folder)))
        {
            return Err(self.problems);
        }
        policies.retain(|policy| {
            let folder = (self.name)(&policy.folder);
            !self.problems.iter().any(|problem| is_in(problem, &folder))
        });
        written.retain(|w| policies.iter().any(|policy| policy.meta.id == w.binding.policy));
        let mut bindings: Vec<Binding> = written.into_iter().map(|w| w.binding).collect();
        bindings.sort_by(|a, b| (&a.policy, &a.id).cmp(&(&b.policy, &b.id)));
        let library_tests = self.library_tests;
        Ok((Bundle { policies, libraries, library_tests, bindings, origin }, self.problems))
    }

    fn join_inputs(&mut self) {
        for (key, (file, input)) in std::mem::take(&mut self.inputs) {
            if let Some(example) = self.examples.get_mut(&key) {
                example.2 = input;
            } else {
                let message = format!("there is no example {} that this input is for", key.name);
                self.problems.push(Diagnostic::new(&file, Code::FileMissing, message));
            }
        }
    }

    fn policies_with_imports(&mut self) -> (Vec<Policy>, Vec<Module>) {
        let libraries = std::mem::take(&mut self.libraries);
        let mut policies = Vec::new();
        for (folder, parts) in std::mem::take(&mut self.policies) {
            let PolicyParts { module, meta, broken, mut tests } = parts;
            let examples = self.take_examples_of(&folder);
            let (Some(mut module), Some(meta)) = (module, meta) else {
                if !broken {
                    let missing = match self.form {
                        Form::Tree => "policy.rego is missing in this policy's folder",
                        Form::Built => "policy.rego or metadata.json is missing",
                    };
                    let file = (self.name)(&folder);
                    self.problems.push(Diagnostic::new(&file, Code::FileMissing, missing));
                }
                continue;
            };
            resolve_imports(std::slice::from_mut(&mut module), &libraries);
            resolve_imports(&mut tests, &libraries);
            policies.push(Policy { meta, folder, module, tests, examples });
        }
        for (key, (path, ..)) in std::mem::take(&mut self.examples) {
            let message = format!("there is no policy {} that this example is for", key.folder);
            self.problems.push(Diagnostic::new(&(self.name)(&path), Code::FileMissing, message));
        }
        policies.sort_by(|a, b| a.meta.id.cmp(&b.meta.id));
        (policies, libraries)
    }

    fn take_examples_of(&mut self, folder: &str) -> Vec<Example> {
        let keys: Vec<ExampleFile> =
            self.examples.keys().filter(|key| key.folder == folder).cloned().collect();
        keys.into_iter()
            .filter_map(|key| self.examples.remove_entry(&key))
            .map(|(key, (path, documents, input))| Example {
                name: key.name,
                expectation: key.expectation,
                path,
                documents,
                input,
            })
            .collect()
    }

    fn keep<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }
}

fn text<'a>(file: &str, bytes: &'a Bytes) -> Result<&'a str, Diagnostic> {
    if bytes.len() > MAX_BLOB_BYTES {
        let message = format!("{} bytes; a file has at most {MAX_BLOB_BYTES}", bytes.len());
        return Err(Diagnostic::new(file, Code::TooLarge, message));
    }
    std::str::from_utf8(bytes)
        .map_err(|_| Diagnostic::new(file, Code::Malformed, "the file is not UTF-8 text"))
}

fn json<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Diagnostic> {
    serde_json::from_str(text).map_err(|error| {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Diagnostic::new(file, Code::Malformed, error.to_string())
            .at(number(error.line()), number(error.column()))
    })
}

fn module(path: &str, text: &str) -> Module {
    let outline = imports::outline(text);
    Module {
        path: path.to_owned(),
        package: outline.package.map(|(package, _)| package).unwrap_or_default(),
        text: text.into(),
        imports: Vec::new(),
    }
}

/// Which of `libraries` each of `modules` names.
fn resolve_imports(modules: &mut [Module], libraries: &[Module]) {
    let known: Vec<&str> = libraries.iter().map(|library| library.package.as_str()).collect();
    for module in modules {
        let mut packages: Vec<String> = imports::outline(&module.text)
            .references
            .iter()
            .flat_map(|reference| imports::packages_of(&reference.path, &known))
            .filter(|package| *package != module.package)
            .map(str::to_owned)
            .collect();
        packages.sort();
        packages.dedup();
        module.imports = packages;
    }
}

/// 1-based lines of the `id:` of each document, in order.
fn id_lines(text: &str) -> Vec<u32> {
    text.lines().zip(1..).filter(|(line, _)| line.starts_with("id:")).map(|(_, n)| n).collect()
}
