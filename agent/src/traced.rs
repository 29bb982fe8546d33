//! Spans about an object: what of it they name.

use provost_model::subject::ResourceRef;
use provost_runtime::telemetry::trace::{self, Moment, Span};

/// The trace of a change, from when the source saw it until it is recorded.
pub fn change(seen: Moment, subject: &ResourceRef) -> Span {
    let span = trace::span("change").since(seen).root();
    about(&span, || subject.clone());
    span
}

/// Names the object that `span` is about.
pub fn about(span: &Span, subject: impl FnOnce() -> ResourceRef) {
    if span.is_recording() {
        let ResourceRef { group, kind, namespace, name } = subject();
        span.set("k8s.resource.group", &group);
        span.set("k8s.resource.kind", &kind);
        span.set("k8s.namespace.name", &namespace);
        span.set("k8s.resource.name", &name);
    }
}
