//! What a document is: an object of a cluster, a List of them, or something that is not evaluated.

use std::path::Path;
use std::sync::Arc;

use provost_model::{Gvk, limits::MAX_OBJECT_BYTES};

use crate::document::{Class, Document, Problem, ProblemKind, Resource, Why};
use crate::kinds;
use crate::node::{Node, Position, Value};

#[derive(Default)]
pub struct Classified {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
}

/// `index` is the document's place in its file; items of a List share it.
pub fn classify(file: &Arc<str>, path: Option<&Path>, index: usize, node: Node) -> Classified {
    let mut classifier = Classifier { file, index, out: Classified::default() };
    let mut items = 0;
    classifier.take(node, None, &mut items, path);
    classifier.out
}

struct Classifier<'a> {
    file: &'a Arc<str>,
    index: usize,
    out: Classified,
}

impl Classifier<'_> {
    /// `item` is the place in the outermost List, counted through nested ones.
    fn take(&mut self, node: Node, item: Option<usize>, items: &mut usize, path: Option<&Path>) {
        if is_kustomization(&node, path) {
            return self.document(node, item, Class::NotEvaluated { why: Why::Kustomization });
        }
        let gvk = match gvk(&node) {
            Ok(Some(gvk)) => gvk,
            Ok(None) => {
                let why = if is_json_patch(&node) { Why::Patch } else { Why::NoKind };
                return self.document(node, item, Class::NotEvaluated { why });
            }
            Err((at, message)) => return self.invalid(at, message),
        };
        if gvk.group.is_empty() && gvk.version == "builtin" {
            return self.document(node, item, Class::NotEvaluated { why: Why::KustomizeConfig });
        }
        if is_list(&gvk, &node) {
            return self.list(node, &gvk, items);
        }
        let at = node.at;
        match resource(&node, gvk) {
            Ok(Some(_)) if node.text_bytes() > MAX_OBJECT_BYTES => {
                let message =
                    format!("the object is larger than {} MiB", MAX_OBJECT_BYTES / 1024 / 1024);
                self.problem(at, ProblemKind::Limit, message);
            }
            Ok(Some(resource)) => self.document(node, item, Class::Resource(resource)),
            Ok(None) => self.document(node, item, Class::NotEvaluated { why: Why::NotAnObject }),
            Err((at, message)) => self.invalid(at, message),
        }
    }

    fn list(&mut self, node: Node, list: &Gvk, items: &mut usize) {
        let Value::Mapping(entries) = node.value else { return };
        let Some(entry) = entries.into_iter().find(|entry| entry.key == "items") else { return };
        let elements = match entry.value.value {
            Value::Sequence(elements) => elements,
            Value::Null => return,
            _ => {
                let message = format!("`items` is {}, not a list", entry.value.type_name());
                return self.invalid(entry.value.at, message);
            }
        };
        for mut element in elements {
            complete_item(&mut element, list);
            let item = *items;
            *items += 1;
            self.take(element, Some(item), items, None);
        }
    }

    fn document(&mut self, node: Node, item: Option<usize>, class: Class) {
        self.out.documents.push(Document {
            file: Arc::clone(self.file),
            index: self.index,
            item,
            at: node.at,
            node,
            class,
            unrendered: None,
        });
    }

    fn invalid(&mut self, at: Position, message: String) {
        self.problem(at, ProblemKind::Invalid, message);
    }

    fn problem(&mut self, at: Position, kind: ProblemKind, message: String) {
        self.out.problems.push(Problem {
            file: Arc::clone(self.file),
            at: Some(at),
            kind,
            message,
        });
    }
}

type Refused = (Position, String);

/// None where `apiVersion` or `kind` is missing.
fn gvk(node: &Node) -> Result<Option<Gvk>, Refused> {
    let (Some(api_version), Some(kind)) = (node.entry("apiVersion"), node.entry("kind")) else {
        return Ok(None);
    };
    let mut texts = ["", ""];
    for (entry, text) in [api_version, kind].into_iter().zip(&mut texts) {
        match (&entry.value.value, entry.value.as_str()) {
            (Value::Null, _) | (_, Some("")) => return Ok(None),
            (_, Some(written)) => *text = plain("", &entry.key, &entry.value, written)?,
            _ => {
                let message =
                    format!("`{}` is {}, not a string", entry.key, entry.value.type_name());
                return Err((entry.value.at, message));
            }
        }
    }
    Ok(Some(Gvk::from_api_version(texts[0], texts[1])))
}

/// None for the configuration of a program, which has `apiVersion` and `kind` too.
fn resource(node: &Node, gvk: Gvk) -> Result<Option<Resource>, Refused> {
    let metadata = node.entry("metadata");
    let is_known = kinds::built_in(&gvk.group, &gvk.kind).is_some();
    let fields = match metadata.map(|entry| (&entry.value.value, entry)) {
        None | Some((Value::Null, _)) if !is_known => return Ok(None),
        None | Some((Value::Null, _)) => None,
        Some((Value::Mapping(_), entry)) => Some(entry),
        Some((_, entry)) => {
            let message = format!("`metadata` is {}, not a mapping", entry.value.type_name());
            return Err((entry.value.at, message));
        }
    };
    let field = |key: &str| text_field(fields.map(|entry| &entry.value), key);
    let (name, generated, namespace) =
        (field("name")?, field("generateName")?, field("namespace")?);
    let Some(name) = name.or(generated) else {
        if !kinds::needs_name(&gvk.group) {
            let namespace = namespace.unwrap_or_default();
            return Ok(Some(Resource { gvk, namespace, name: String::new() }));
        }
        let at = fields.map_or(node.at, |entry| entry.key_at);
        return Err((at, format!("{} has no `metadata.name`", gvk.kind)));
    };
    Ok(Some(Resource { gvk, namespace: namespace.unwrap_or_default(), name }))
}

/// What names an object, as no API server takes it with control characters in it.
fn plain<'a>(above: &str, key: &str, node: &Node, text: &'a str) -> Result<&'a str, Refused> {
    if text.chars().any(char::is_control) {
        return Err((node.at, format!("`{above}{key}` has a control character in it")));
    }
    Ok(text)
}

/// A field of metadata that is text; an empty one counts as missing.
fn text_field(metadata: Option<&Node>, key: &str) -> Result<Option<String>, Refused> {
    let Some(node) = metadata.and_then(|metadata| metadata.get(key)) else { return Ok(None) };
    match &node.value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(plain("metadata.", key, node, text)?.to_owned())),
        _ => Err((node.at, format!("`metadata.{key}` is {}, not a string", node.type_name()))),
    }
}

/// `v1` List, and the typed lists that the API answers with.
fn is_list(gvk: &Gvk, node: &Node) -> bool {
    if gvk.kind == "List" && gvk.group.is_empty() {
        return true;
    }
    gvk.kind.ends_with("List")
        && node.get("items").is_some_and(|items| matches!(items.value, Value::Sequence(_)))
}

/// Items of a typed list may leave out what the list says.
fn complete_item(item: &mut Node, list: &Gvk) {
    let Some(kind) = list.kind.strip_suffix("List").filter(|kind| !kind.is_empty()) else { return };
    let at = item.at;
    if let Value::Mapping(entries) = &mut item.value {
        for (key, text) in [("kind", kind.to_owned()), ("apiVersion", list.api_version())] {
            if !entries.iter().any(|entry| entry.key == key) {
                let value = Node::new(Value::String(text), at);
                entries.insert(0, crate::node::Entry { key: key.to_owned(), key_at: at, value });
            }
        }
    }
}

fn is_kustomization(node: &Node, path: Option<&Path>) -> bool {
    let named = path
        .and_then(Path::file_name)
        .is_some_and(|name| crate::kustomize::FILE_NAMES.iter().any(|known| name == *known));
    match node.get("apiVersion").and_then(Node::as_str) {
        Some(version) => version.starts_with("kustomize.config.k8s.io/"),
        None => named && matches!(node.value, Value::Mapping(_)),
    }
}

fn is_json_patch(node: &Node) -> bool {
    let elements = node.elements();
    let is_operation = |node: &Node| {
        ["op", "path"].iter().all(|key| node.get(key).and_then(Node::as_str).is_some())
    };
    !elements.is_empty() && elements.iter().all(is_operation)
}
