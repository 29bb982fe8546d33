//! Every root from the operator's own on.
//!
//! Invariant: evidence is as old as what it was signed under. What a root accepted stays good after a
//! later one dropped its keys, so each root of the verified chain is asked, the newest first; the
//! newest one's refusal is what is told.

use std::path::Path;

use anyhow::Context as _;
use provost_trust::dsse::payload_type;
use provost_trust::grant::{self, Authority, Grant};
use provost_trust::{Envelope, Error, Role, TrustedRoot};

use crate::commands::root::chain;

pub struct Roots {
    /// Oldest first.
    earlier: Vec<TrustedRoot>,
    newest: TrustedRoot,
}

impl Roots {
    /// The operator's file, the versions beside it, and those of the export that follow from them.
    pub fn open(path: &Path, exported: &[Envelope]) -> anyhow::Result<Self> {
        let own = chain::read(path)?.envelopes;
        let (first, rest) = own.split_first().context("there is no root")?;
        let cannot = || format!("{} cannot be trusted (see 'provost root show')", path.display());
        let newest = TrustedRoot::from_operator(first).with_context(cannot)?;
        let mut roots = Self { earlier: Vec::new(), newest };
        roots.follow(rest).with_context(cannot)?;
        // Newer roots may come from anywhere: each is signed by the one before it.
        roots.follow(exported).context("the export's roots do not follow from yours")?;
        Ok(roots)
    }

    pub const fn version(&self) -> u64 {
        self.newest.version()
    }

    /// The grant, whose word it is, and the version of the root that accepts it.
    pub fn grant(&self, envelope: &Envelope) -> Result<(Grant, Authority, u64), Error> {
        self.any(|root| {
            let (grant, authority) = grant::verify(root, envelope)?;
            Ok(((*grant).clone(), authority, root.version()))
        })
    }

    /// The digest of a manifest that the policy role signed.
    pub fn manifest(&self, envelope: &Envelope) -> Result<provost_model::Digest, Error> {
        self.any(|root| {
            let payload = root.verify(Role::Policy, payload_type::POLICY_MANIFEST, envelope)?;
            Ok(payload.digest())
        })
    }

    fn any<T>(&self, check: impl Fn(&TrustedRoot) -> Result<T, Error>) -> Result<T, Error> {
        check(&self.newest).or_else(|refusal| {
            self.earlier.iter().rev().find_map(|root| check(root).ok()).ok_or(refusal)
        })
    }

    fn follow(&mut self, envelopes: &[Envelope]) -> Result<(), Error> {
        for envelope in envelopes {
            let next = self.newest.clone().follow(std::slice::from_ref(envelope))?;
            if next.version() > self.newest.version() {
                self.earlier.push(std::mem::replace(&mut self.newest, next));
            }
        }
        Ok(())
    }
}
