//! What is wrong with a policy folder or bundle: where, what, and what to do.

use std::fmt;

use provost_model::Code;
use provost_trust::text::plain;
use serde::Serialize;

/// One problem. Reading goes on after it, so that all are told at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// As the caller named the folder, with the path below it.
    pub file: String,
    /// 1-based; 0 where the whole file is meant.
    pub line: u32,
    /// 1-based; 0 where the whole line is meant.
    pub column: u32,
    pub code: Code,
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Diagnostic {
    /// About the whole file. Both texts quote what others wrote: they are made plain here.
    #[must_use]
    pub fn new(file: &str, code: Code, message: impl Into<String>) -> Self {
        Self {
            file: plain(file).into_owned(),
            line: 0,
            column: 0,
            code,
            message: plain(&message.into()).into_owned(),
            hint: String::new(),
        }
    }

    #[must_use]
    pub const fn at(mut self, line: u32, column: u32) -> Self {
        self.line = line;
        self.column = column;
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Diagnostic {
    /// `policies/a/b/policy.rego:3:5: METADATA_INVALID: ... (hint)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        write!(f, ": {}: {}", self.code, self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}
