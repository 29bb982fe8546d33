//! Opens what a person points at: a built bundle, or the policy tree that one is built from.

use std::path::Path;

use anyhow::Context as _;
use provost_bundle::layout::{self, BundleDir};
use provost_bundle::{Bundle, Diagnostic, Source, source};
use provost_model::Labels;
use provost_model::binding::Origin;

use crate::exit::UsageError;

/// A policy tree or bundle that has mistakes; they were printed.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {count} {}", if *count == 1 { "mistake" } else { "mistakes" })]
pub struct Mistakes {
    pub path: String,
    pub count: usize,
}

/// Reads a policy tree; prints each mistake with its place.
pub fn tree(path: &Path) -> anyhow::Result<Source> {
    if !path.is_dir() {
        return Err(UsageError(format!("{} is no folder", path.display())).into());
    }
    Ok(source::read_dir(path).map_err(|mistakes| told(path, &mistakes))?)
}

/// Reads a built bundle; nothing in it is verified.
pub fn built(path: &Path) -> anyhow::Result<BundleDir> {
    if !path.join(layout::ENVELOPE_FILE).is_file() {
        let message =
            format!("{} holds no bundle: build one with 'provost bundle build'", path.display());
        return Err(UsageError(message).into());
    }
    layout::open_dir(path).context("cannot open the bundle")
}

/// The policies of either; nothing in it is verified.
pub fn either(path: &Path) -> anyhow::Result<Bundle> {
    if !path.join(layout::ENVELOPE_FILE).is_file() {
        return Ok(tree(path)?.into_bundle());
    }
    let dir = built(path)?;
    let origin = Origin::Bundle(dir.envelope.payload_digest());
    Ok(dir.contents.load(origin).map_err(|mistakes| told(path, &mistakes))?)
}

/// `key=value`, as in `--label tier=edge`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no label: write key=value")),
    }
}

pub fn labels(pairs: &[(String, String)]) -> Labels {
    pairs.iter().cloned().collect()
}

/// Prints the mistakes.
pub fn told(path: &Path, mistakes: &[Diagnostic]) -> Mistakes {
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    Mistakes { path: path.display().to_string(), count: mistakes.len() }
}
