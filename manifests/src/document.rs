//! What reading gives: documents with their class, and problems.

use std::fmt;
use std::sync::Arc;

use provost_model::{Gvk, ResourceRef, Subject};

use crate::node::{Node, Position};

/// One object of a file: a YAML document, a JSON value, or one item of a List.
#[derive(Clone, Debug)]
pub struct Document {
    /// As given or found; `-` for standard input.
    pub file: Arc<str>,
    /// Place among the documents of its file that hold something, from 0.
    pub index: usize,
    /// Place in its List, from 0, where it is an item of one.
    pub item: Option<usize>,
    /// Where it begins.
    pub at: Position,
    /// Where an empty namespace was filled in, it stands here too.
    pub node: Node,
    pub class: Class,
    /// The kustomization that lists this file: what it renders may differ from what is written.
    pub unrendered: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    Resource(Resource),
    NotEvaluated { why: Why },
}

/// An object of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub gvk: Gvk,
    /// Empty for cluster-scoped kinds and where none is written or given.
    pub namespace: String,
    /// `generateName` where the name is left to the API server.
    pub name: String,
}

/// Why a document is listed and not evaluated. Not a problem: the exit code stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    Kustomization,
    /// Listed as a patch by a kustomization, or a list of JSON Patch operations.
    Patch,
    /// Configuration of kustomize: transformers, replacements, generators.
    KustomizeConfig,
    /// A Helm or Go template: evaluate what it renders.
    Template,
    /// Neither `apiVersion` nor `kind`.
    NoKind,
    /// Configuration of a program: a kind that is no object of a cluster and has no metadata.
    NotAnObject,
}

/// Something that should have been read and could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: Arc<str>,
    /// Absent where the whole file is meant.
    pub at: Option<Position>,
    pub kind: ProblemKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    Missing,
    Unreadable,
    NotUtf8,
    Syntax,
    DuplicateKey,
    /// A size, depth, count or alias limit.
    Limit,
    /// An object that the API server would refuse to read: no name, a name that is a number.
    Invalid,
}

impl Resource {
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::Kubernetes(self.reference())
    }

    #[must_use]
    pub fn reference(&self) -> ResourceRef {
        ResourceRef {
            group: self.gvk.group.clone(),
            kind: self.gvk.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

impl Document {
    #[must_use]
    pub const fn resource(&self) -> Option<&Resource> {
        match &self.class {
            Class::Resource(resource) => Some(resource),
            Class::NotEvaluated { .. } => None,
        }
    }
}

impl Why {
    /// Stable word for JSON.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Kustomization => "kustomization",
            Self::Patch => "patch",
            Self::KustomizeConfig => "kustomize-config",
            Self::Template => "template",
            Self::NoKind => "no-kind",
            Self::NotAnObject => "not-an-object",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kustomization => "kustomization",
            Self::Patch => "patch",
            Self::KustomizeConfig => "configuration of kustomize",
            Self::Template => "template",
            Self::NoKind => "no apiVersion and kind",
            Self::NotAnObject => "no object of a cluster",
        })
    }
}

impl Problem {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self.kind {
            ProblemKind::Missing => "check the path",
            ProblemKind::Unreadable => "check the permissions of the file and its folders",
            ProblemKind::NotUtf8 => "save the file as UTF-8, or leave it out with --exclude",
            ProblemKind::Syntax => {
                "mend the file, or leave it out with --exclude if it is no manifest"
            }
            ProblemKind::DuplicateKey => {
                "keep one of the two: the API server would silently take the last"
            }
            ProblemKind::Limit => "split it, or leave it out with --exclude",
            ProblemKind::Invalid => {
                "the API server would refuse it; YAML reads y, no, on and 12 as other than text: quote them"
            }
        }
    }
}

impl ProblemKind {
    /// Stable word for JSON.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::NotUtf8 => "not-utf8",
            Self::Syntax => "syntax",
            Self::DuplicateKey => "duplicate-key",
            Self::Limit => "limit",
            Self::Invalid => "invalid",
        }
    }
}

/// `file:line:column: message`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(at) = self.at {
            write!(f, ":{at}")?;
        }
        write!(f, ": {}", self.message)
    }
}
