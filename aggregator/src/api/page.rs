//! A page of a list, and what a request says about which one.

use axum::extract::FromRequestParts;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::request::Parts;
use provost_model::Code;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cursor::{self, DEFAULT_LIMIT, MAX_LIMIT, Scope};
use super::parameters;
use super::problem::Problem;

/// A page of a list with the exact total of the whole.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Of all pages together.
    pub total: u64,
    /// Send it as `cursor` for the next page; missing on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which page.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Rows of the page, at most 500.
    pub limit: Option<u32>,
}

impl Paging {
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(limit),
            _ => Err(Problem::invalid(format!("limit must be from 1 to {MAX_LIMIT}"))),
        }
    }

    pub fn position<K: DeserializeOwned>(&self, scope: &Scope) -> Result<Option<K>, Problem> {
        let decode = |text: &str| scope.decode(text).map_err(Problem::from);
        self.cursor.as_deref().filter(|text| !text.is_empty()).map(decode).transpose()
    }
}

impl From<cursor::Error> for Problem {
    fn from(error: cursor::Error) -> Self {
        Self::invalid(error.to_string())
    }
}

impl<T> Page<T> {
    /// From one row more than the page may have: that it came says that there is a next page.
    pub fn cut<R, K: Serialize>(
        mut rows: Vec<R>,
        limit: u32,
        total: u64,
        scope: &Scope,
        position: impl Fn(&R) -> K,
        show: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| scope.encode(&position(row)));
        Self { items: rows.into_iter().map(show).collect(), total, next }
    }
}

impl<T> Page<T> {
    /// Of a list that is read whole and never long. `key` names a row; where the row that the cursor stands
    /// at is gone, the page begins at its place.
    pub fn of_whole<R, K: Serialize + DeserializeOwned + PartialEq>(
        mut rows: Vec<R>,
        paging: &Paging,
        scope: &Scope,
        key: impl Fn(&R) -> K,
        show: impl FnMut(R) -> T,
    ) -> Result<Self, Problem> {
        let limit = paging.limit()?;
        let total = rows.len();
        let start = match paging.position::<(usize, K)>(scope)? {
            None => 0,
            Some((place, last)) => {
                let found = rows.iter().position(|row| key(row) == last);
                found.map_or(place, |at| at + 1).min(total)
            }
        };
        rows.drain(..start);
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        // Where the last row of the page stands: should it go, the next one takes its place.
        let last = start + size.saturating_sub(1);
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        Ok(Self::cut(rows, limit, total, scope, |row| (last, key(row)), show))
    }
}

/// Query strings whose errors are problem documents.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|_| parameters::unreadable())
    }
}

/// JSON bodies whose errors are problem documents.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> axum::extract::FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        axum::Json::from_request(request, state)
            .await
            .map(|axum::Json(value)| Self(value))
            .map_err(|rejection| bad_body(&rejection))
    }
}

/// In the words of the JSON, not of the code that reads it.
fn bad_body(rejection: &JsonRejection) -> Problem {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            Problem::invalid("the body is not said to be JSON")
                .help("send `Content-Type: application/json`")
        }
        JsonRejection::JsonSyntaxError(error) => {
            Problem::invalid(format!("the body is no JSON: {}", root_cause(error)))
        }
        JsonRejection::JsonDataError(error) => Problem::invalid(format!(
            "the body is not what this route takes: {}",
            root_cause(error)
        ))
        .help("see /api/v1/openapi.json"),
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Code::TooLarge, "the body is larger than this route takes")
        }
        _ => Problem::invalid("the body cannot be read"),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Path parameters whose errors are "not found": an id that is none names nothing.
pub struct PathOf<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| Problem::not_found("resource"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next() {
        let scope = Scope::new("numbers", &());
        let page = |rows: Vec<u32>| Page::<u32>::cut(rows, 2, 3, &scope, |n| *n, |n| n);
        let first = page(vec![1, 2, 3]);
        assert_eq!(first.items, [1, 2]);
        assert_eq!(scope.decode::<u32>(&first.next.unwrap()), Ok(2));
        assert_eq!(page(vec![3]).next, None);
        assert_eq!(page(vec![2, 3]).next, None);
    }

    #[test]
    fn a_whole_list_goes_on_where_its_row_was() {
        let scope = Scope::new("numbers", &());
        let page = |rows: Vec<u32>, cursor: Option<String>| {
            let paging = Paging { cursor, limit: Some(2) };
            Page::<u32>::of_whole(rows, &paging, &scope, |n| *n, |n| n).unwrap()
        };
        let first = page(vec![10, 20, 30, 40], None);
        assert_eq!((first.items, first.total), (vec![10, 20], 4));
        let rest = |rows| page(rows, first.next.clone()).items;
        assert_eq!(rest(vec![10, 20, 30, 40]), [30, 40]);
        assert_eq!(rest(vec![5, 10, 20, 30]), [30], "a row came before it");
        assert_eq!(rest(vec![10, 30, 40]), [30, 40], "the row is gone");
        assert_eq!(rest(vec![]), Vec::<u32>::new());
    }

    #[test]
    fn limits_are_kept() {
        let limit = |limit| Paging { cursor: None, limit }.limit();
        assert_eq!(limit(None), Ok(DEFAULT_LIMIT));
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(MAX_LIMIT + 1)).is_err());
    }
}
