//! How a state looks on every page.

use askama::Template;
use askama::filters::HtmlSafe;
use provost_model::Outcome;

use super::words::number;

/// How a state looks: shape, letter, colour. Eight, never folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    Pass,
    Fail,
    Warn,
    Error,
    Skip,
    Exempt,
    NotEvaluated,
    Stale,
    /// No state of a verdict: a finding that is over.
    Closed,
}

impl Face {
    pub const ALL: [Self; 8] = [
        Self::Pass,
        Self::Fail,
        Self::Warn,
        Self::Error,
        Self::Skip,
        Self::Exempt,
        Self::NotEvaluated,
        Self::Stale,
    ];

    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Skip => "skip",
            Self::Exempt => "exempt",
            Self::NotEvaluated => "notevaluated",
            Self::Stale => "stale",
            Self::Closed => "idle",
        }
    }

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotEvaluated => "not evaluated",
            Self::Closed => "closed",
            other => other.class(),
        }
    }

    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Pass => "P",
            Self::Fail => "F",
            Self::Warn => "W",
            Self::Error => "E",
            Self::Skip => "K",
            Self::Exempt => "X",
            Self::NotEvaluated => "N",
            Self::Stale => "S",
            Self::Closed => "C",
        }
    }
}

impl From<Outcome> for Face {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Self::Pass,
            Outcome::Fail => Self::Fail,
            Outcome::Warn => Self::Warn,
            Outcome::Error => Self::Error,
            Outcome::Skip => Self::Skip,
            Outcome::Exempt => Self::Exempt,
        }
    }
}

/// A state with words, and a link where there are rows behind it.
#[derive(Template)]
#[template(path = "chip.html")]
pub struct Chip {
    pub face: Face,
    pub text: String,
    pub href: Option<String>,
    /// It stands for none of its state.
    pub muted: bool,
}

impl Chip {
    pub fn new(face: Face, text: impl Into<String>) -> Self {
        Self { face, text: text.into(), href: None, muted: false }
    }

    /// A number of a state; it stands back where there is none.
    pub fn count(face: Face, n: u64, word: &str) -> Self {
        Self { muted: n == 0, ..Self::new(face, format!("{} {word}", number(n))) }
    }

    #[must_use]
    pub fn link(mut self, href: impl Into<String>) -> Self {
        self.href = Some(href.into());
        self
    }
}

// Its own template escapes what stands in it.
impl HtmlSafe for Chip {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_states_differ_in_every_sign() {
        for a in Face::ALL {
            for b in Face::ALL {
                let same = a == b;
                assert_eq!(a.letter() == b.letter(), same, "{a:?} {b:?}");
                assert_eq!(a.class() == b.class(), same, "{a:?} {b:?}");
                let shape = |face| {
                    Chip::new(face, "")
                        .render()
                        .unwrap()
                        .split("<svg")
                        .nth(1)
                        .map(|s| s.split("</svg>").next().unwrap().to_owned())
                };
                assert_eq!(shape(a) == shape(b), same, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_chip_escapes_its_words_and_its_link() {
        let chip = Chip::new(Face::Fail, "<script>").link("/x?\"><script>").to_string();
        assert!(!chip.contains("<script"), "{chip}");
    }
}
