//! Query parameters that a route does not know are refused, and those that stand twice or are of another type: a filter
//! with a typing error must not answer as if there were none. What a route of the API knows is what its OpenAPI
//! operation says, what a page knows is what it is mounted with.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::extract::{Query, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Schema};

use super::openapi::Api;
use super::problem::{Problem, ProblemEntry};

/// Stands in the entries of the problem document.
pub const UNKNOWN_PARAMETER: &str = "UNKNOWN_PARAMETER";

/// A query parameter that a route takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameter {
    pub name: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Text,
    /// Whole, not negative, below 2^32.
    Number,
    Flag,
}

/// The query parameters of a route, sorted; none for what is no route of the API.
pub fn known(method: &Method, path: &str) -> Option<Vec<Parameter>> {
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(Api::openapi);
    let operation = operation(DOCUMENT.paths.paths.get(path)?, method)?;
    Some(documented(operation.parameters.iter().flatten()))
}

/// The query parameters among those of OpenAPI, sorted.
pub fn documented<'a>(
    parameters: impl IntoIterator<Item = &'a utoipa::openapi::path::Parameter>,
) -> Vec<Parameter> {
    let query = parameters.into_iter().filter(|p| p.parameter_in == ParameterIn::Query);
    let mut known: Vec<Parameter> = query
        .map(|parameter| Parameter { name: parameter.name.clone(), kind: Kind::of(parameter) })
        .collect();
    known.sort();
    known
}

fn operation<'a>(item: &'a PathItem, method: &Method) -> Option<&'a Operation> {
    match *method {
        Method::GET => item.get.as_ref(),
        Method::POST => item.post.as_ref(),
        Method::DELETE => item.delete.as_ref(),
        _ => None,
    }
}

impl Kind {
    fn of(parameter: &utoipa::openapi::path::Parameter) -> Self {
        let Some(RefOr::T(Schema::Object(object))) = &parameter.schema else { return Self::Text };
        let is = |kind: Type| match &object.schema_type {
            SchemaType::Type(one) => *one == kind,
            SchemaType::Array(several) => several.contains(&kind),
            SchemaType::AnyValue => false,
        };
        if is(Type::Integer) {
            Self::Number
        } else if is(Type::Boolean) {
            Self::Flag
        } else {
            Self::Text
        }
    }

    /// What to write instead.
    fn advice(self, value: &str) -> Option<&'static str> {
        match self {
            Self::Number if value.parse::<u32>().is_err() => Some("write a whole number"),
            Self::Flag if !matches!(value, "true" | "false") => Some("write true or false"),
            Self::Text | Self::Number | Self::Flag => None,
        }
    }
}

/// Lets a request pass that names nothing but what is known, once each.
pub async fn check(known: &[Parameter], request: Request, next: Next) -> Response {
    match examine(known, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn examine(known: &[Parameter], request: &Request) -> Result<(), Problem> {
    let given = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let Query(given) = given.map_err(|_| unreadable())?;
    let unknown: Vec<&str> = given
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !known.iter().any(|parameter| parameter.name == *name))
        .collect();
    if !unknown.is_empty() {
        return Err(refusal(known, &unknown));
    }
    let mut seen = BTreeSet::new();
    for (name, value) in &given {
        if !seen.insert(name) {
            return Err(Problem::invalid(format!("{name} stands more than once: write it once")));
        }
        let kind = known.iter().find(|parameter| parameter.name == *name).map(|p| p.kind);
        if let Some(advice) = kind.and_then(|kind| kind.advice(value)) {
            return Err(Problem::invalid(format!("{name}: {value:?} is not allowed: {advice}")));
        }
    }
    Ok(())
}

/// Of a query string that is none, or that has a value which no check above knows.
pub fn unreadable() -> Problem {
    Problem::invalid("the query string cannot be read").help("see /api/v1/openapi.json")
}

fn refusal(known: &[Parameter], unknown: &[&str]) -> Problem {
    let names: Vec<&str> = known.iter().map(|parameter| parameter.name.as_str()).collect();
    let allowed = match names.as_slice() {
        [] => "it takes none".to_owned(),
        names => format!("it takes {}", names.join(", ")),
    };
    let given = unknown.join(", ");
    let mut problem = Problem::invalid(format!(
        "this route does not know the query parameter {given}; {allowed}"
    ))
    .help("see /api/v1/openapi.json");
    problem.errors = unknown
        .iter()
        .map(|name| ProblemEntry {
            path: (*name).to_owned(),
            code: UNKNOWN_PARAMETER.to_owned(),
            message: allowed.clone(),
        })
        .collect();
    problem
}
