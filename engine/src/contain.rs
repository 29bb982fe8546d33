//! Keeps a panic of the Rego engine inside: the evaluation fails, the process goes on.
//!
//! The panic's message may hold values of the object, so while the engine runs the process's
//! panic hook says nothing; on other threads it works as before.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// The engine panicked. What it left behind must be thrown away.
#[derive(Debug)]
pub(crate) struct Panicked;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// Runs `work`. The caller drops whatever `work` could have left half-changed.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CONTAINED.get() {
                before(info);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    result.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_call_works() {
        assert!(contain(|| panic!("inside")).is_err());
        assert_eq!(contain(|| 1).unwrap(), 1);
    }
}
