//! The one way a route comes into being: with the access it needs.
//!
//! Invariant: a handler cannot be mounted without saying who may call it, and the list of routes
//! that a test walks is the list that the router was built from. A route of the API takes the query
//! parameters that its OpenAPI operation names, a page those that it is mounted with; both refuse others.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use provost_model::Code;

use super::hub::Hub;
use super::parameters::{self, Parameter};
use super::problem::Problem;
use crate::auth::{Principal, Role};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody: health, login, static files. Nothing that knows the fleet.
    Open,
    Needs(Role),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub method: Method,
    /// As axum writes it: `/api/v1/clusters/{cluster}`.
    pub path: &'static str,
    pub access: Access,
}

/// Routes and the list of them, growing together.
#[derive(Default)]
pub struct Table {
    router: Router<Hub>,
    routes: Vec<Route>,
}

impl Table {
    pub fn get<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Hub>,
        T: 'static,
    {
        self.add(Method::GET, MethodFilter::GET, path, access, handler)
    }

    pub fn post<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Hub>,
        T: 'static,
    {
        self.add(Method::POST, MethodFilter::POST, path, access, handler)
    }

    /// As [`Self::post`], for bodies of up to `max_bytes`.
    pub fn post_large<H, T>(
        self,
        path: &'static str,
        access: Access,
        max_bytes: usize,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Hub>,
        T: 'static,
    {
        let handler = handler.layer(DefaultBodyLimit::max(max_bytes));
        self.add(Method::POST, MethodFilter::POST, path, access, handler)
    }

    pub fn delete<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Hub>,
        T: 'static,
    {
        self.add(Method::DELETE, MethodFilter::DELETE, path, access, handler)
    }

    /// A page of the console. It takes these query parameters and no others, as a route of the API does.
    pub fn page<H, T>(
        self,
        path: &'static str,
        access: Access,
        known: Vec<Parameter>,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Hub>,
        T: 'static,
    {
        self.add_knowing(Method::GET, MethodFilter::GET, path, access, Some(known), handler)
    }

    fn add<H, T>(
        self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Hub>,
        T: 'static,
    {
        let known = parameters::known(&method, path);
        self.add_knowing(method, filter, path, access, known, handler)
    }

    fn add_knowing<H, T>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        access: Access,
        known: Option<Vec<Parameter>>,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Hub>,
        T: 'static,
    {
        let mut route = on(filter, handler);
        // Inside the check of roles: who may not call a route learns nothing of it.
        if let Some(known) = known {
            let known: Arc<[Parameter]> = known.into();
            route = route.layer(middleware::from_fn(move |request, next| {
                let known = Arc::clone(&known);
                async move { parameters::check(&known, request, next).await }
            }));
        }
        if let Access::Needs(role) = access {
            route =
                route.layer(middleware::from_fn(move |request, next| require(role, request, next)));
        }
        self.router = self.router.route(path, route);
        self.routes.push(Route { method, path, access });
        self
    }

    pub fn into_parts(self) -> (Router<Hub>, Vec<Route>) {
        (self.router, self.routes)
    }
}

/// The gate has put the principal there; without one nothing passes.
async fn require(role: Role, request: Request, next: Next) -> Response {
    match request.extensions().get::<Principal>() {
        Some(principal) if principal.role.may(role) => next.run(request).await,
        Some(principal) => Problem::new(
            Code::Forbidden,
            format!(
                "this needs the role {role}; the token of {} has the role {}",
                principal.name, principal.role
            ),
        )
        .help(
            "use a token with that role; an admin makes one with `provost fleet api-token create`",
        )
        .into_response(),
        None => Problem::unauthenticated().into_response(),
    }
}
