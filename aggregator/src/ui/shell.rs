//! What every page has around its content: header, navigation, footer; and problems as pages.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use provost_model::Code;

use super::words::number;
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
