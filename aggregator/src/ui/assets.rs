//! Static files, compiled in: one binary serves the console whole.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

const CSS: &str = include_str!("../../static/console.css");
const FAVICON: &str = include_str!("../../static/favicon.svg");
/// Short: a new release changes them under the same name.
const CACHE: HeaderValue = HeaderValue::from_static("max-age=300");

pub async fn file(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "console.css" => ("text/css; charset=utf-8", CSS),
        "favicon.svg" => ("image/svg+xml", FAVICON),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let kind = HeaderValue::from_static(kind);
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, CACHE)], text).into_response()
}
