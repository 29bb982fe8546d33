//! Documents to verdicts, on all cores, in the order of the documents.

use std::sync::atomic::{AtomicUsize, Ordering};

use provost_engine::{Object, Review};
use provost_manifests::Document;
use provost_model::{Checkpoint, Verdict};
use serde::Deserialize as _;

use super::policies::Set;
use super::progress::Progress;

/// What became of a document.
pub enum Evaluated {
    /// By set, in the order of the sets; empty where no policy matches the kind.
    Verdicts(Vec<(usize, Verdict)>),
    /// It is no resource.
    Left,
    /// It could not be handed to the engine.
    Refused(String),
}

/// One result for each document.
pub fn evaluate(sets: &[Set], documents: &[Document], progress: &Progress) -> Vec<Evaluated> {
    progress.evaluating(documents.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(document) = documents.get(place) else { return done };
            done.push((place, one(sets, document)));
            progress.step();
        }
    };
    let cores =
        std::thread::available_parallelism().map_or(1, usize::from).min(documents.len().max(1));
    let mut all: Vec<(usize, Evaluated)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for thread in threads {
            match thread.join() {
                Ok(mut done) => all.append(&mut done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, evaluated)| evaluated).collect()
}

fn one(sets: &[Set], document: &Document) -> Evaluated {
    let Some(resource) = document.resource() else { return Evaluated::Left };
    let object = match Object::deserialize(&document.node) {
        Ok(object) => object,
        Err(error) => return Evaluated::Refused(error.to_string()),
    };
    let review = Review {
        object,
        gvk: resource.gvk.clone(),
        name: resource.name.clone(),
        namespace: resource.namespace.clone(),
        checkpoint: Checkpoint::Commit,
        operation: None,
        old_object: None,
        user_info: None,
        namespace_object: None,
    };
    let verdicts = sets.iter().enumerate();
    let verdicts = verdicts.flat_map(|(place, set)| {
        set.compiled.evaluate(&review).into_iter().map(move |verdict| (place, verdict))
    });
    Evaluated::Verdicts(verdicts.collect())
}
