//! Query parameters that a route does not know are refused: a filter with a typing error must not answer as if there
//! were none. What a route knows is what its OpenAPI operation says.

use std::sync::LazyLock;

use axum::extract::{Query, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};

use super::openapi::Api;
use super::problem::{Problem, ProblemEntry};

/// Stands in the entries of the problem document.
pub const UNKNOWN_PARAMETER: &str = "UNKNOWN_PARAMETER";

/// Names of the query parameters of a route, sorted; none for what is no route of the API.
pub fn known(method: &Method, path: &str) -> Option<Vec<String>> {
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(Api::openapi);
    let operation = operation(DOCUMENT.paths.paths.get(path)?, method)?;
    let parameters = operation.parameters.iter().flatten();
    let query = parameters.filter(|parameter| parameter.parameter_in == ParameterIn::Query);
    let mut names: Vec<String> = query.map(|parameter| parameter.name.clone()).collect();
    names.sort();
    Some(names)
}

fn operation<'a>(item: &'a PathItem, method: &Method) -> Option<&'a Operation> {
    match *method {
        Method::GET => item.get.as_ref(),
        Method::POST => item.post.as_ref(),
        Method::DELETE => item.delete.as_ref(),
        _ => None,
    }
}

/// Lets a request pass that names nothing but what is known.
pub async fn check(known: &[String], request: Request, next: Next) -> Response {
    match unknown(known, &request) {
        Ok(unknown) if unknown.is_empty() => next.run(request).await,
        Ok(unknown) => refusal(known, &unknown).into_response(),
        Err(problem) => problem.into_response(),
    }
}

fn unknown(known: &[String], request: &Request) -> Result<Vec<String>, Problem> {
    let given = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let Query(given) = given.map_err(|error| Problem::invalid(error.body_text()))?;
    Ok(given.into_iter().map(|(name, _)| name).filter(|name| !known.contains(name)).collect())
}

fn refusal(known: &[String], unknown: &[String]) -> Problem {
    let allowed = match known {
        [] => "it takes none".to_owned(),
        known => format!("it takes {}", known.join(", ")),
    };
    let names = unknown.join(", ");
    let mut problem = Problem::invalid(format!(
        "this route does not know the query parameter {names}; {allowed}"
    ))
    .help("see /api/v1/openapi.json");
    problem.errors = unknown
        .iter()
        .map(|name| ProblemEntry {
            path: name.clone(),
            code: UNKNOWN_PARAMETER.to_owned(),
            message: allowed.clone(),
        })
        .collect();
    problem
}
