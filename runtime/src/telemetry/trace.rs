//! Spans of the daemons, as handles that travel with the work through its queues.
//!
//! Invariants: a span that is not sampled is nothing, costs no allocation and has no trace
//! context; a child is sampled as its parent is, also where the parent is in another process;
//! nothing is sampled where nothing is exported. A span ends when it is dropped.
//!
//! Attributes name objects and sizes, never what stands in an object.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

/// The process's, once [`super::init`] set up an export.
static SAMPLING: OnceLock<Sampling> = OnceLock::new();
/// The HTTP header that W3C trace context travels in.
pub const HEADER: &str = "traceparent";
/// Of an attribute's text.
const MAX_TEXT_BYTES: usize = 1024;

#[derive(Debug)]
struct Sampling {
    tracer: SdkTracer,
    /// Of the traces that begin here, 0 to 1.
    ratio: f64,
}

pub(super) fn sample(tracer: SdkTracer, ratio: f64) {
    // Telemetry is set up once a process.
    let _ = SAMPLING.set(Sampling { tracer, ratio });
}

/// Whether any span can be sampled, so that looking for one is worth it.
#[must_use]
pub fn is_enabled() -> bool {
    SAMPLING.get().is_some()
}

/// A point in time that a span can begin at.
#[derive(Clone, Copy, Debug)]
pub struct Moment(SystemTime);

/// What the work is to other processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Internal,
    /// Answers a request.
    Server,
    /// Hands something to another process, which goes on with it later.
    Producer,
    /// Goes on with what another process handed over.
    Consumer,
}

/// A span that is under way, or nothing.
#[derive(Debug, Default)]
#[must_use]
pub struct Span(Option<Box<Context>>);

/// A span that has not begun.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Start {
    name: &'static str,
    kind: Kind,
    since: Option<Moment>,
}

/// `name` says what is done: `evaluate`, `commit`.
pub const fn span(name: &'static str) -> Start {
    Start { name, kind: Kind::Internal, since: None }
}

impl Moment {
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "spans are shown in real time and decide nothing"
    )]
    pub fn now() -> Self {
        Self(SystemTime::now())
    }

    pub(super) const fn time(self) -> SystemTime {
        self.0
    }
}

impl Start {
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// It began earlier.
    pub const fn since(mut self, moment: Moment) -> Self {
        self.since = Some(moment);
        self
    }

    /// Begins a trace, if the ratio says so.
    pub fn root(self) -> Span {
        match SAMPLING.get() {
            Some(sampling) if rand::random::<f64>() < sampling.ratio => {
                self.begin(sampling, &Context::new())
            }
            _ => Span(None),
        }
    }

    /// Part of `parent`.
    pub fn child_of(self, parent: &Span) -> Span {
        match (SAMPLING.get(), &parent.0) {
            (Some(sampling), Some(context)) => self.begin(sampling, context),
            _ => Span(None),
        }
    }

    /// Part of a span of another process, as its [`Span::trace_parent`] names it. Text that is no
    /// trace context is as none: nothing is sampled.
    pub fn follow(self, trace_parent: &str) -> Span {
        match (SAMPLING.get(), remote(trace_parent)) {
            (Some(sampling), Some(parent)) => {
                self.begin(sampling, &Context::new().with_remote_span_context(parent))
            }
            _ => Span(None),
        }
    }

    /// Answers a caller who sent this `traceparent` header, or none: part of the caller's trace, sampled as it is
    /// there. Without a header, or where it names no trace, a trace begins, if the ratio says so.
    pub fn received(self, trace_parent: Option<&[u8]>) -> Span {
        let text = trace_parent.and_then(|bytes| std::str::from_utf8(bytes).ok());
        match text.filter(|text| parse(text).is_some()) {
            Some(text) => self.follow(text),
            None => self.root(),
        }
    }

    /// Begins a trace of its own that names spans of others, if any of them is sampled.
    pub fn linked(self, to: &[String]) -> Span {
        let contexts: Vec<SpanContext> = to.iter().filter_map(|text| remote(text)).collect();
        let (Some(sampling), false) = (SAMPLING.get(), contexts.is_empty()) else {
            return Span(None);
        };
        let span = self.begin(sampling, &Context::new());
        if let Some(own) = &span.0 {
            for context in contexts {
                own.span().add_link(context, Vec::new());
            }
        }
        span
    }

    fn begin(self, sampling: &Sampling, parent: &Context) -> Span {
        let mut builder = sampling.tracer.span_builder(self.name).with_kind(match self.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        });
        if let Some(Moment(since)) = self.since {
            builder = builder.with_start_time(since);
        }
        let span = builder.start_with_context(&sampling.tracer, parent);
        Span(Some(Box::new(Context::new().with_span(span))))
    }
}

impl Span {
    /// Not sampled.
    pub const fn none() -> Self {
        Self(None)
    }

    #[must_use]
    pub const fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// W3C `traceparent` of this span; empty when it is not sampled.
    #[must_use]
    pub fn trace_parent(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |context| {
            let span = context.span();
            let own = span.span_context();
            format!("00-{}-{}-01", own.trace_id(), own.span_id())
        })
    }

    /// Texts are cut at 1 KiB.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value.into().0));
        }
    }

    /// Names another span that has to do with this one and is not its parent.
    pub fn link(&self, trace_parent: &str) {
        if let (Some(context), Some(other)) = (&self.0, remote(trace_parent)) {
            context.span().add_link(other, Vec::new());
        }
    }

    /// It failed. `why` is a code or a fixed text.
    pub fn fail(&self, why: &'static str) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(Cow::Borrowed(why)));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// Of an attribute.
#[derive(Debug)]
pub struct Value(opentelemetry::Value);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        let mut end = text.len().min(MAX_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].to_owned().into())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self(value.into())
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self(i64::try_from(value).unwrap_or(i64::MAX).into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        (value as u64).into()
    }
}

/// The sampled context that a `traceparent` names.
fn remote(trace_parent: &str) -> Option<SpanContext> {
    parse(trace_parent).filter(SpanContext::is_sampled)
}

/// The context that a `traceparent` names: version 00, or a later one read as 00.
fn parse(trace_parent: &str) -> Option<SpanContext> {
    let mut parts = trace_parent.split('-');
    let [version, trace, span, flags] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let known =
        is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    if !known || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    // What else is flagged is not ours to repeat.
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_a_valid_sampled_context_is_followed() {
        assert!(remote(GOOD).is_some());
        assert!(remote(&GOOD.replacen("00-", "cc-", 1).replace("-01", "-01-more")).is_some());
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert!(remote(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_context_that_is_not_sampled_is_still_the_callers() {
        let unsampled = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02").unwrap();
        assert!(!unsampled.is_sampled());
        assert!(parse(GOOD).unwrap().is_sampled());
    }

    #[test]
    fn without_an_export_nothing_is_sampled() {
        let root = span("watch").root();
        let child = span("evaluate").child_of(&root);
        let followed = span("commit").follow(GOOD);
        for span in [root, child, followed] {
            assert!(!span.is_recording());
            assert_eq!(span.trace_parent(), "");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = format!("{}é", "x".repeat(MAX_TEXT_BYTES - 1));
        assert_eq!(Value::from(&text).0.as_str().len(), MAX_TEXT_BYTES - 1);
    }
}
