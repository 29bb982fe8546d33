//! Paths to documents: walks, reads on all cores, and then decides what needs to know all files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::document::{Class, Document, Problem, ProblemKind, Why};
use crate::kinds::{Scope, Scopes};
use crate::kustomize::{self, Listing, Use};
use crate::node::{Entry, Node, Position, Value};
use crate::read::{Content, read};
use crate::walk::{Exclude, Input, Source, walk};

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
    let listing = listing(paths, &found.inputs, &contents);
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
    place_in_namespaces(&mut loaded.documents, namespace.as_deref());
    loaded
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

/// From the kustomizations that were read, and from those above the given paths.
fn listing(paths: &[PathBuf], inputs: &[Input], contents: &[Content]) -> Listing {
    let mut listing = Listing::default();
    let mut known = BTreeSet::new();
    for (input, content) in inputs.iter().zip(contents) {
        let Source::File { path } = &input.source else { continue };
        let is_kustomization = |document: &&Document| {
            document.class == Class::NotEvaluated { why: Why::Kustomization }
        };
        for document in content.documents.iter().filter(is_kustomization) {
            known.insert(path.clone());
            listing.add(&document.node, path.parent().unwrap_or(Path::new("/")), &document.file);
        }
    }
    let mut starts = BTreeSet::new();
    for path in paths.iter().filter_map(|path| std::fs::canonicalize(path).ok()) {
        starts.extend(path.parent().map(Path::to_owned));
    }
    for path in starts.iter().flat_map(|start| kustomize::above(start)) {
        if !known.insert(path.clone()) {
            continue;
        }
        let shown = Arc::from(path.to_string_lossy());
        let content =
            read(&Input { shown: Arc::clone(&shown), source: Source::File { path: path.clone() } });
        for document in &content.documents {
            listing.add(&document.node, path.parent().unwrap_or(Path::new("/")), &shown);
        }
    }
    listing
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

fn place_in_namespaces(documents: &mut [Document], namespace: Option<&str>) {
    let mut scopes = Scopes::default();
    for document in documents.iter() {
        if let Class::Resource(resource) = &document.class
            && resource.gvk.group == "apiextensions.k8s.io"
            && resource.gvk.kind == "CustomResourceDefinition"
        {
            scopes.define(&document.node);
        }
    }
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
