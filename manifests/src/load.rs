//! Paths to documents: what a file means can depend on others, which kustomizations and definitions
//! of kinds say. [`load`] reads everything on all cores and keeps it; [`visit`] keeps nothing, and
//! [`revisit`] reads what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::document::{Class, Document, Problem, ProblemKind, Why};
use crate::kinds::{Scope, Scopes};
use crate::kustomize::{self, Listing, Use};
use crate::node::{Entry, Node, Position, Value};
use crate::read::{Content, bytes_of, read};
use crate::walk::{Exclude, Input, Source, Walk, walk};

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Files and folders; `-` is standard input.
    pub paths: Vec<PathBuf>,
    pub exclude: Vec<Exclude>,
    /// Fills a missing namespace of namespaced kinds; never replaces a written one.
    pub namespace: Option<String>,
    /// Whether [`Loaded::texts`] is wanted.
    pub keep_texts: bool,
}

/// Everything read, in stable order: paths as given, folders sorted, documents as written.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
    /// Files read, whether or not they held anything.
    pub files: usize,
    /// By file as shown.
    pub texts: BTreeMap<Arc<str>, String>,
}

/// Reads everything under `options.paths`. Never fails as a whole.
#[must_use]
pub fn load(options: &Options) -> Loaded {
    let Options { paths, exclude, namespace, keep_texts } = options;
    let found = walk(paths, exclude);
    let contents = read_all(&found.inputs, *keep_texts);
    let mut kustomizations = Kustomizations::default();
    for (input, content) in found.inputs.iter().zip(&contents) {
        kustomizations.note(input, &content.documents);
    }
    let listing = kustomizations.with_those_above(paths);
    let mut loaded =
        Loaded { problems: found.problems, files: found.inputs.len(), ..Loaded::default() };
    for (input, content) in found.inputs.iter().zip(contents) {
        let Content { mut documents, mut problems, text } = content;
        apply_listing(&listing, input, &mut documents, &mut problems);
        loaded.documents.append(&mut documents);
        loaded.problems.append(&mut problems);
        if *keep_texts {
            loaded.texts.insert(Arc::clone(&input.shown), text);
        }
    }
    let mut scopes = Scopes::default();
    define(&mut scopes, &loaded.documents);
    place_in_namespaces(&mut loaded.documents, &scopes, namespace.as_deref());
    loaded
}

/// What [`visit`] found beside documents.
#[derive(Clone, Debug, Default)]
pub struct Visited {
    pub problems: Vec<Problem>,
    /// Files that may say what others are.
    pub ruling: Vec<Input>,
}

/// Tells the documents of what was `found` under `folder` one by one, in [`load`]'s order and as it has them; a break
/// ends it. No more than one file is held at a time; those that say what others are, are read anew.
#[must_use]
pub fn visit(
    folder: &Path,
    found: Walk,
    namespace: Option<&str>,
    each: impl FnMut(Document) -> ControlFlow<()>,
) -> Visited {
    let Walk { inputs, mut problems } = found;
    let ruling: Vec<Input> = inputs.iter().filter(|input| may_rule(input)).cloned().collect();
    problems.append(&mut Rules::read(folder, &ruling).tell(&inputs, namespace, each));
    Visited { problems, ruling }
}

/// Tells the documents of `changed` alone, as [`visit`] tells them among those of all files, of which `ruling`
/// may say what they are. None where a changed file may do so too: then every file is to be visited again.
pub fn revisit(
    folder: &Path,
    namespace: Option<&str>,
    ruling: &[Input],
    changed: &[Input],
    each: impl FnMut(Document) -> ControlFlow<()>,
) -> Option<Vec<Problem>> {
    if changed.iter().any(|input| ruling.contains(input) || may_rule(input)) {
        return None;
    }
    Some(Rules::read(folder, ruling).tell(changed, namespace, each))
}

/// What some files say of others.
struct Rules {
    listing: Listing,
    scopes: Scopes,
}

impl Rules {
    fn read(folder: &Path, ruling: &[Input]) -> Self {
        let mut kustomizations = Kustomizations::default();
        for input in ruling {
            kustomizations.note(input, &read(input).documents);
        }
        let listing = kustomizations.with_those_above(&[folder.to_owned()]);
        let mut rules = Self { listing, scopes: Scopes::default() };
        for input in ruling {
            let documents = rules.content(input).documents;
            define(&mut rules.scopes, &documents);
        }
        rules
    }

    fn content(&self, input: &Input) -> Content {
        let mut content = read(input);
        apply_listing(&self.listing, input, &mut content.documents, &mut content.problems);
        content
    }

    fn tell(
        &self,
        inputs: &[Input],
        namespace: Option<&str>,
        mut each: impl FnMut(Document) -> ControlFlow<()>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        for input in inputs {
            let mut content = self.content(input);
            place_in_namespaces(&mut content.documents, &self.scopes, namespace);
            problems.append(&mut content.problems);
            if content.documents.into_iter().try_for_each(&mut each).is_break() {
                break;
            }
        }
        problems
    }
}

/// Whether the file can be a kustomization or define a kind. Errs on the side of yes: an escape may
/// hide a word, and text that is not UTF-8 is not looked into.
fn may_rule(input: &Input) -> bool {
    let Source::File { path } = &input.source else { return true };
    let named = path.file_name().and_then(|name| name.to_str());
    if named.is_some_and(|name| kustomize::FILE_NAMES.contains(&name)) {
        return true;
    }
    let Ok(bytes) = bytes_of(input) else { return false };
    // Kustomization, CustomResourceDefinition.
    bytes.windows(5).any(|word| word == b"ustom") || bytes.iter().any(|b| matches!(b, b'\\' | 0))
}

fn read_all(inputs: &[Input], keep_texts: bool) -> Vec<Content> {
    let next = AtomicUsize::new(0);
    let cores =
        std::thread::available_parallelism().map_or(1, usize::from).min(inputs.len().max(1));
    let work = || {
        let mut done = Vec::new();
        while let Some((place, input)) = {
            let place = next.fetch_add(1, Ordering::Relaxed);
            inputs.get(place).map(|input| (place, input))
        } {
            let content = read(input);
            let text = if keep_texts { content.text } else { String::new() };
            done.push((place, Content { text, ..content }));
        }
        done
    };
    let mut contents: Vec<(usize, Content)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut contents = work();
        for thread in threads {
            match thread.join() {
                Ok(mut done) => contents.append(&mut done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        contents
    });
    contents.sort_by_key(|(place, _)| *place);
    contents.into_iter().map(|(_, content)| content).collect()
}

/// What kustomizations say of files.
#[derive(Default)]
struct Kustomizations {
    listing: Listing,
    known: BTreeSet<PathBuf>,
}

impl Kustomizations {
    fn note(&mut self, input: &Input, documents: &[Document]) {
        let Source::File { path } = &input.source else { return };
        let folder = path.parent().unwrap_or(Path::new("/"));
        for document in documents {
            if document.class == (Class::NotEvaluated { why: Why::Kustomization }) {
                self.known.insert(path.to_path_buf());
                self.listing.add(&document.node, folder, &document.file);
            }
        }
    }

    /// And those above the given paths.
    fn with_those_above(mut self, paths: &[PathBuf]) -> Listing {
        let mut starts = BTreeSet::new();
        for path in paths.iter().filter_map(|path| std::fs::canonicalize(path).ok()) {
            starts.extend(path.parent().map(Path::to_owned));
        }
        for path in starts.iter().flat_map(|start| kustomize::above(start)) {
            if !self.known.insert(path.clone()) {
                continue;
            }
            let shown = Arc::from(path.to_string_lossy());
            let source = Source::File { path: Arc::from(path.as_path()) };
            let content = read(&Input { shown: Arc::clone(&shown), source });
            for document in &content.documents {
                self.listing.add(&document.node, path.parent().unwrap_or(Path::new("/")), &shown);
            }
        }
        self.listing
    }
}

fn apply_listing(
    listing: &Listing,
    input: &Input,
    documents: &mut Vec<Document>,
    problems: &mut Vec<Problem>,
) {
    let Source::File { path } = &input.source else { return };
    match listing.use_of(path) {
        None => {}
        Some(Use::Resource(by)) => {
            documents.iter_mut().for_each(|document| document.unrendered = Some(Arc::clone(by)));
        }
        Some(Use::NotEvaluated(why)) => {
            let class = Class::NotEvaluated { why: *why };
            documents.iter_mut().for_each(|document| document.class = class.clone());
            // A patch need not be a whole object: what is wrong with one is not wrong with it.
            for problem in problems.extract_if(.., |problem| problem.kind == ProblemKind::Invalid) {
                let at = problem.at.unwrap_or(Position::START);
                documents.push(Document {
                    file: problem.file,
                    index: documents.len(),
                    item: None,
                    at,
                    node: Node::new(Value::Null, at),
                    class: class.clone(),
                    unrendered: None,
                });
            }
        }
    }
}

/// Takes note of the kinds that the documents define.
fn define(scopes: &mut Scopes, documents: &[Document]) {
    for document in documents {
        if let Class::Resource(resource) = &document.class
            && resource.gvk.group == "apiextensions.k8s.io"
            && resource.gvk.kind == "CustomResourceDefinition"
        {
            scopes.define(&document.node);
        }
    }
}

fn place_in_namespaces(documents: &mut [Document], scopes: &Scopes, namespace: Option<&str>) {
    for document in documents {
        let Class::Resource(resource) = &mut document.class else { continue };
        match scopes.of(&resource.gvk.group, &resource.gvk.kind) {
            Scope::Cluster => resource.namespace.clear(),
            Scope::Namespaced if resource.namespace.is_empty() => {
                if let Some(namespace) = namespace {
                    namespace.clone_into(&mut resource.namespace);
                    fill_namespace(&mut document.node, namespace);
                }
            }
            Scope::Namespaced => {}
        }
    }
}

fn fill_namespace(node: &mut Node, namespace: &str) {
    let Value::Mapping(entries) = &mut node.value else { return };
    let Some(metadata) = entries.iter_mut().find(|entry| entry.key == "metadata") else { return };
    let at = metadata.key_at;
    let Value::Mapping(fields) = &mut metadata.value.value else { return };
    let filled = Node::new(Value::String(namespace.to_owned()), at);
    match fields.iter_mut().find(|entry| entry.key == "namespace") {
        Some(entry) => entry.value = filled,
        None => fields.push(Entry { key: "namespace".to_owned(), key_at: at, value: filled }),
    }
}
