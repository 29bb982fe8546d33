//! From verified files to a set that may go into force: load, compile, the bundle's own tests.
//!
//! A bundle is refused whole when any of its policies does not compile or fails its tests: the
//! signers meant all of it. CPU work, off the async threads.

use std::sync::Arc;

use provost_bundle::{Bundle, Diagnostic, VerifiedBundle};
use provost_engine::selftest::{self, TestOutcome};
use provost_engine::{Cluster, CompiledSet, Options};
use provost_model::Code;
use provost_model::limits::{MAX_MESSAGE_BYTES, MAX_SET_RECORD_BYTES};
use provost_model::record::FileError;
use provost_proto::policy_set;
use provost_proto::record::MAX_FILE_ERRORS;

/// Left in the record for what else stands in it.
const ROOM: usize = 4 * 1024;

/// A bundle that could go into force.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub bundle: Arc<Bundle>,
    pub set: Arc<CompiledSet>,
}

/// Why a bundle does not go into force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refused {
    pub code: Code,
    pub message: String,
    /// At most [`MAX_FILE_ERRORS`].
    pub errors: Vec<FileError>,
}

impl From<provost_trust::Error> for Refused {
    fn from(error: provost_trust::Error) -> Self {
        let path = match &error {
            provost_trust::Error::DigestMismatch { path, .. }
            | provost_trust::Error::FileMissing { path }
            | provost_trust::Error::FileUnexpected { path }
            | provost_trust::Error::UnsafePath { path, .. } => path.clone(),
            _ => String::new(),
        };
        Self::one(error.code(), &path, &error.to_string())
    }
}

impl Refused {
    pub(crate) fn one(code: Code, path: &str, message: &str) -> Self {
        let error = file_error(path, code, message);
        Self { code, message: error.message.clone(), errors: vec![error] }
    }

    fn many(code: Code, mut errors: Vec<FileError>) -> Self {
        let message = match errors.as_slice() {
            [] => code.to_string(),
            [one] => one.message.clone(),
            [one, rest @ ..] => format!("{} (and {} more)", one.message, rest.len()),
        };
        errors.truncate(MAX_FILE_ERRORS);
        Self { code, message, errors }
    }

    fn diagnostics(fallback: Code, diagnostics: &[Diagnostic]) -> Self {
        let code = diagnostics.first().map_or(fallback, |diagnostic| diagnostic.code);
        let error = |d: &Diagnostic| {
            file_error(&d.file, d.code, &format!("{}:{}: {}", d.line, d.column, d.message))
        };
        Self::many(code, diagnostics.iter().map(error).collect())
    }
}

/// Loads and compiles; a `new` one must compile whole and pass its own tests. One that was in
/// force before was tested when it came, and what of it compiles stays in force.
pub fn prepare(
    verified: &VerifiedBundle,
    cluster: &Cluster,
    new: bool,
) -> Result<Prepared, Refused> {
    let bundle = verified.load().map_err(|d| Refused::diagnostics(Code::Malformed, &d))?;
    let set = CompiledSet::compile(&bundle, cluster, &Options::default());
    if new {
        if !set.diagnostics().is_empty() {
            return Err(Refused::diagnostics(Code::CompileFailed, set.diagnostics()));
        }
        check_size(&set)?;
        run_tests(&bundle)?;
    }
    Ok(Prepared { bundle: Arc::new(bundle), set: Arc::new(set) })
}

/// The set must fit the record that carries it.
fn check_size(set: &CompiledSet) -> Result<(), Refused> {
    let (bytes, most) = (policy_set::encode(set.policy_set()).len(), MAX_SET_RECORD_BYTES - ROOM);
    if bytes <= most {
        return Ok(());
    }
    let bindings = set.policy_set().entries.len();
    let message = format!(
        "its {bindings} bindings in force here take {bytes} bytes, and {most} are the most"
    );
    Err(Refused::one(Code::Limit, "", &message))
}

fn run_tests(bundle: &Bundle) -> Result<(), Refused> {
    let failed: Vec<FileError> = selftest::run(bundle)
        .iter()
        .filter(|result| result.outcome != TestOutcome::Pass)
        .map(|result| {
            let message =
                format!("{}: expected {}, got {}", result.name, result.expected, result.actual);
            file_error(&result.file, Code::SelfTestFailed, &message)
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Refused::many(Code::SelfTestFailed, failed)) }
}

fn file_error(path: &str, code: Code, message: &str) -> FileError {
    let mut end = message.len().min(MAX_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    FileError {
        path: path.to_owned(),
        code: code.as_str().to_owned(),
        message: message[..end].to_owned(),
    }
}
