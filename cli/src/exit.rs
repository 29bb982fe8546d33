//! Exit codes of every command, and the one place that prints an error.
//!
//! The rule of 2 and 3: would the same line go well at another time? What is wrong with the line itself ends with
//! 2: a word that is not known, arguments that contradict each other, a file, policy or cluster that does not
//! exist, a file that is not what its place takes (a public key to sign with), a request that the hub
//! refuses as such. What is wrong with the world ends with 3: what exists and cannot be opened, read or
//! evaluated, a hub that is away, does not know the token or refuses for what it holds.
//! One exception: a PATH of `provost scan` that does not exist is something that was not read (3), for
//! the other paths are scanned all the same.
//! Daemons end with 2 for their settings, as here, and with 1 when they fail; their other subcommands follow
//! the rule.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use crate::hub;

/// How a command ended. The numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Clean,
    /// What was checked is not as it should be: violations, a failing test, a refused bundle.
    Violations,
    /// Wrong call: to be asked otherwise.
    Usage,
    /// Something could not be read, evaluated or done. Wins over violations.
    Incomplete,
    /// Ended by the signal of this number, as shells tell it.
    Signal(u8),
}

/// A wrong call: the arguments contradict each other, or name what is not there or does not belong there.
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
            if is_wrong_call(&error) { Exit::Usage } else { Exit::Incomplete }.into()
        }
    }
}

fn is_wrong_call(error: &anyhow::Error) -> bool {
    let by_hub = error.downcast_ref::<hub::Error>().is_some_and(hub::Error::is_wrong_call);
    by_hub || error.downcast_ref::<UsageError>().is_some()
}

/// What went wrong with the file that an argument names.
pub fn unreadable(path: &Path, error: std::io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::NotFound {
        return UsageError(format!("{} does not exist", path.display())).into();
    }
    anyhow::Error::new(error).context(format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_line_is_a_wrong_call() {
        let refused = |code: &str| {
            let problem = serde_json::json!({"code": code, "detail": "no"});
            let problem = serde_json::from_value(problem).unwrap();
            Err::<(), _>(hub::Error::Refused(problem)).context("not published").unwrap_err()
        };
        for (error, wrong) in [
            (UsageError("no".to_owned()).into(), true),
            (anyhow::anyhow!("no"), false),
            (refused("INVALID"), true),
            (refused("NOT_FOUND"), true),
            (refused("CONFLICT"), false),
            (refused("OLDER"), false),
            (refused("FORBIDDEN"), false),
            (refused("UNAVAILABLE"), false),
            (unreadable(Path::new("a"), ErrorKind::NotFound.into()), true),
            (unreadable(Path::new("a"), ErrorKind::PermissionDenied.into()), false),
        ] {
            assert_eq!(is_wrong_call(&error), wrong, "{error:#}");
        }
    }
}
