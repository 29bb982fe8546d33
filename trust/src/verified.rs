//! The mark of what was checked. Only this crate can set it.

use std::ops::Deref;

use provost_model::Digest;

use crate::key::KeyId;

/// A value whose signatures met the threshold of the role that was asked for.
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// use provost_trust::Verified;
/// let digest = provost_model::Digest::of(b"");
/// let forged = Verified { value: "trust me", digest, signers: Vec::new() };
/// ```
///
/// ```compile_fail,E0624
/// use provost_trust::Verified;
/// let digest = provost_model::Digest::of(b"");
/// let forged = Verified::new("trust me", digest, Vec::new());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    digest: Digest,
    signers: Vec<KeyId>,
}

impl<T> Verified<T> {
    pub(crate) const fn new(value: T, digest: Digest, signers: Vec<KeyId>) -> Self {
        Self { value, digest, signers }
    }

    /// SHA-256 of the signed payload.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The distinct keys whose signatures counted, in the order of the envelope.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// Gives the value up, and with it the mark.
    pub fn into_inner(self) -> T {
        self.value
    }

    pub(crate) fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified { value: f(self.value)?, digest: self.digest, signers: self.signers })
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
