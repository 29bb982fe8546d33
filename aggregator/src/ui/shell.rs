//! What every page has around its content, and the small parts that pages share.

use askama::Template;
use askama::filters::HtmlSafe;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use provost_model::{Code, Outcome};

use crate::api::hub::Hub;
use crate::api::problem::Problem;
use crate::api::view::FleetView;
use crate::auth::{Principal, Role, Via};
use crate::stamp::Stamp;

/// A template as an answer.
pub struct Html<T>(pub T);

impl<T: Template> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(text) => {
                let kind = HeaderValue::from_static("text/html; charset=utf-8");
                ([(header::CONTENT_TYPE, kind)], text).into_response()
            }
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}

/// A page that only says something.
#[derive(Template)]
#[template(path = "message.html")]
pub struct Message {
    pub title: String,
    pub detail: String,
    pub help: String,
    pub href: String,
    pub link: String,
}

/// A problem as a page.
pub struct PageError(pub Problem);

impl<E: Into<Problem>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let problem = self.0;
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = match problem.code {
            Code::NotFound => "There is no such page",
            _ => problem.title,
        };
        let page = Message {
            title: title.to_owned(),
            detail: format!("{} ({})", problem.detail, problem.code),
            help: problem.help,
            href: "/".to_owned(),
            link: "To the fleet".to_owned(),
        };
        (status, Html(page)).into_response()
    }
}

/// A problem that a handler or the gate answered, as a page; its headers stay.
#[must_use]
pub fn as_page(mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let mut page = PageError(problem).into_response();
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

pub type PageResult<T> = Result<Html<T>, PageError>;

/// Header, navigation and footer.
pub struct Shell {
    pub title: String,
    pub current: Section,
    pub as_of: Stamp,
    pub user: String,
    pub role: Role,
    pub csrf: String,
    /// What stands in the search bar.
    pub query: String,
    /// The page's twin on the command line.
    pub twin: String,
    /// And by API.
    pub api: String,
    counts: Counts,
}

/// Counts in the navigation.
struct Counts {
    clusters: u64,
    findings: u64,
    pending: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Fleet,
    Clusters,
    Findings,
    Verdicts,
    Gaps,
    Bundles,
    Audit,
}

pub struct NavItem {
    pub name: &'static str,
    pub href: &'static str,
    pub count: String,
    pub current: bool,
    pub separated: bool,
}

impl Shell {
    pub fn new(
        title: impl Into<String>,
        current: Section,
        principal: &Principal,
        fleet: &FleetView,
    ) -> Self {
        let csrf = match &principal.via {
            Via::Session { csrf, .. } => csrf.clone(),
            Via::Token { .. } => String::new(),
        };
        Self {
            title: title.into(),
            current,
            as_of: fleet.now,
            user: principal.name.clone(),
            role: principal.role,
            csrf,
            query: String::new(),
            twin: String::new(),
            api: String::new(),
            counts: Counts {
                clusters: u64::try_from(fleet.approved().count()).unwrap_or(u64::MAX),
                findings: fleet.open_findings(),
                pending: fleet.count(|view| view.is_in("pending")),
            },
        }
    }

    #[must_use]
    pub fn twins(mut self, cli: impl Into<String>, api: impl Into<String>) -> Self {
        self.twin = cli.into();
        self.api = api.into();
        self
    }

    #[must_use]
    pub fn may_operate(&self) -> bool {
        self.role.may(Role::Operator) && !self.csrf.is_empty()
    }

    #[must_use]
    pub fn nav(&self) -> Vec<NavItem> {
        let clusters = match self.counts.pending {
            0 => number(self.counts.clusters),
            pending => format!("{} + {pending}", number(self.counts.clusters)),
        };
        let item = |section, name, href, count: String| NavItem {
            name,
            href,
            count,
            current: self.current == section,
            separated: matches!(section, Section::Gaps),
        };
        vec![
            item(Section::Fleet, "Fleet", "/", String::new()),
            item(Section::Clusters, "Clusters", "/clusters", clusters),
            item(Section::Findings, "Findings", "/findings", number(self.counts.findings)),
            item(Section::Verdicts, "Verdicts", "/verdicts", String::new()),
            item(Section::Gaps, "Gaps", "/gaps", String::new()),
            item(Section::Bundles, "Bundles", "/bundles", String::new()),
            item(Section::Audit, "Audit log", "/audit", String::new()),
        ]
    }
}

/// The fleet as a page needs it around its content.
pub async fn surroundings(hub: &Hub) -> Result<FleetView, PageError> {
    Ok(FleetView::load(hub).await?)
}

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

/// `1,204`.
#[must_use]
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 cluster`, `2 clusters`.
#[must_use]
pub fn counted(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {one}s", number(n)) }
}

/// Text of a cluster with control and direction characters made visible, so that nothing it says
/// can reorder or hide what stands beside it.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            '\u{7f}'..='\u{9f}' => '\u{fffd}',
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => '\u{fffd}',
            other => other,
        })
        .collect()
}

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

    #[test]
    fn numbers_and_hostile_text() {
        assert_eq!(number(1_204), "1,204");
        assert_eq!(number(1_000_000), "1,000,000");
        assert_eq!(number(12), "12");
        assert_eq!(counted(1, "cluster"), "1 cluster");
        assert_eq!(counted(0, "cluster"), "0 clusters");
        assert_eq!(visible("a\u{1b}[31m\u{202e}b\nc"), "a\u{241b}[31m\u{fffd}b c");
    }
}
