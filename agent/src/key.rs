//! Which Kubernetes object: its group, kind, namespace and name, in one allocation that copies share.
//!
//! A source, the verdict table and what is pending each hold a key for every object of the cluster.

use std::sync::Arc;

use provost_model::subject::ResourceRef;

/// The four parts after one another, a zero byte between them: neither API servers nor `manifests` take names with one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    #[must_use]
    pub fn of(subject: &ResourceRef) -> Self {
        let ResourceRef { group, kind, namespace, name } = subject;
        Self(format!("{group}\0{kind}\0{namespace}\0{name}").into())
    }

    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        (text.split('\0').count() == 4).then(|| Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn subject(&self) -> ResourceRef {
        let mut parts = self.0.split('\0').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        ResourceRef { group: next(), kind: next(), namespace: next(), name: next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_subject() {
        let text = |text: &str| text.to_owned();
        let cart = ResourceRef {
            group: text("apps"),
            kind: text("Deployment"),
            namespace: text("shop"),
            name: text("cart"),
        };
        let key = Key::of(&cart);
        assert_eq!(key.subject(), cart);
        assert_eq!(Key::from_text(key.as_str()), Some(key));
        assert_eq!(Key::from_text("apps\0Deployment\0shop"), None);
    }
}
