//! Exit codes of every command, and the one place that prints an error.

use std::process::ExitCode;

/// How a command ended. The numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Clean,
    /// What was checked is not as it should be: violations, a failing test, a refused bundle.
    Violations,
    Usage,
    /// Something that should have been read or evaluated could not be. Wins over violations.
    Incomplete,
    /// Ended by the signal of this number, as shells tell it.
    Signal(u8),
}

/// A wrong call: the arguments contradict each other or name what is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Clean => 0,
            Exit::Violations => 1,
            Exit::Usage => 2,
            Exit::Incomplete => 3,
            Exit::Signal(number) => 128 | number,
        })
    }
}

/// Prints what went wrong, with its causes, and chooses the exit code.
pub fn report(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("{} {error:#}", crate::output::error_label());
            if error.downcast_ref::<UsageError>().is_some() {
                Exit::Usage
            } else {
                Exit::Incomplete
            }
            .into()
        }
    }
}
