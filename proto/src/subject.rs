//! Subjects and the attributes that travel with verdicts.

use provost_model::limits::MAX_SUBJECT_LABELS;
use provost_model::subject::{Attributes, Controller, Location, ResourceRef, Source, Subject};

use crate::enums::Word as _;
use crate::fields::{MAX_PATH_BYTES, non_empty, required, text, text_up_to, within};
use crate::{Error, v1};

pub(crate) fn to_wire(subject: &Subject) -> v1::Subject {
    use v1::subject::Subject as Wire;
    let subject = match subject.clone() {
        Subject::Kubernetes(ResourceRef { group, kind, namespace, name }) => {
            Wire::Kubernetes(v1::KubernetesSubject { group, kind, namespace, name })
        }
        Subject::Terraform { address } => Wire::Terraform(v1::TerraformSubject { address }),
        Subject::File { path } => Wire::File(v1::FileSubject { path }),
    };
    v1::Subject { subject: Some(subject) }
}

pub(crate) fn from_wire(subject: Option<v1::Subject>) -> Result<Subject, Error> {
    use v1::subject::Subject as Wire;
    let subject = subject.and_then(|subject| subject.subject);
    Ok(match required("subject", subject)? {
        Wire::Kubernetes(v1::KubernetesSubject { group, kind, namespace, name }) => {
            Subject::Kubernetes(ResourceRef {
                group: text("subject.group", group)?,
                kind: non_empty("subject.kind", kind)?,
                namespace: text("subject.namespace", namespace)?,
                name: text("subject.name", name)?,
            })
        }
        Wire::Terraform(v1::TerraformSubject { address }) => {
            Subject::Terraform { address: non_empty("subject.address", address)? }
        }
        Wire::File(v1::FileSubject { path }) => {
            Subject::File { path: text_up_to("subject.path", path, MAX_PATH_BYTES)? }
        }
    })
}

pub(crate) fn attributes_to_wire(attributes: &Attributes) -> v1::Attributes {
    let Attributes {
        checkpoint,
        api_version,
        uid,
        resource_version,
        controller,
        owner,
        labels,
        source,
        location,
    } = attributes.clone();
    v1::Attributes {
        checkpoint: checkpoint.to_wire(),
        api_version,
        uid,
        resource_version,
        controller: controller.map(|Controller { group, kind, name }| v1::Controller {
            group,
            kind,
            name,
        }),
        owner,
        labels,
        source: source.map(|Source { tool, kind, namespace, name }| v1::Source {
            tool,
            kind,
            namespace,
            name,
        }),
        location: location.map(|Location { repository, revision, file, line }| v1::Location {
            repository,
            revision,
            file,
            line,
        }),
    }
}

pub(crate) fn attributes_from_wire(
    attributes: Option<v1::Attributes>,
) -> Result<Attributes, Error> {
    let wire = required("attributes", attributes)?;
    within("attributes.labels", wire.labels.len(), MAX_SUBJECT_LABELS)?;
    for (key, value) in &wire.labels {
        within("attributes.labels", key.len().max(value.len()), crate::fields::MAX_TEXT_BYTES)?;
    }
    Ok(Attributes {
        checkpoint: provost_model::Checkpoint::required("attributes.checkpoint", wire.checkpoint)?,
        api_version: text("attributes.api_version", wire.api_version)?,
        uid: text("attributes.uid", wire.uid)?,
        resource_version: text("attributes.resource_version", wire.resource_version)?,
        controller: wire.controller.map(controller).transpose()?,
        owner: text("attributes.owner", wire.owner)?,
        labels: wire.labels,
        source: wire.source.map(source).transpose()?,
        location: wire.location.map(location).transpose()?,
    })
}

fn controller(wire: v1::Controller) -> Result<Controller, Error> {
    Ok(Controller {
        group: text("attributes.controller", wire.group)?,
        kind: text("attributes.controller", wire.kind)?,
        name: text("attributes.controller", wire.name)?,
    })
}

fn source(wire: v1::Source) -> Result<Source, Error> {
    Ok(Source {
        tool: text("attributes.source", wire.tool)?,
        kind: text("attributes.source", wire.kind)?,
        namespace: text("attributes.source", wire.namespace)?,
        name: text("attributes.source", wire.name)?,
    })
}

fn location(wire: v1::Location) -> Result<Location, Error> {
    Ok(Location {
        repository: text("attributes.location", wire.repository)?,
        revision: text("attributes.location", wire.revision)?,
        file: text_up_to("attributes.location", wire.file, MAX_PATH_BYTES)?,
        line: wire.line,
    })
}
