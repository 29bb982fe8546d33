//! The OpenAPI document, made from the handlers themselves.

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Provost hub",
        description = "Everything the console shows, and everything `provost fleet` does. Errors are \
            application/problem+json with a stable `code`. Every list goes on with `cursor` and has \
            at most 500 rows a page; only the evidence of an export (heartbeats, grants, roots, manifests) is whole.",
        license(name = "Apache-2.0")
    ),
    paths(
        document,
        super::fleet::fleet,
        super::fleet::facts,
        super::fleet::gaps,
        super::fleet::without_verdict,
        super::rollups::policies,
        super::rollups::controls,
        super::clusters::clusters,
        super::clusters::cluster,
        super::clusters::approve,
        super::clusters::revoke,
        super::clusters::release,
        super::findings::findings,
        super::findings::causes,
        super::findings::finding,
        super::findings::verdicts,
        super::tokens::list,
        super::tokens::create,
        super::tokens::revoke,
        super::tokens::create_login_link,
        super::enrol_tokens::list_enrol,
        super::enrol_tokens::create_enrol,
        super::bundles::list,
        super::bundles::one,
        super::bundles::publish,
        super::evidence::batches,
        super::evidence::heartbeats,
        super::evidence::grants,
        super::evidence::roots,
        super::evidence::manifests,
        super::evidence::audit,
    ),
    modifiers(&Bearer),
    security(("token" = []))
)]
pub struct Api;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = api.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "fleet",
    responses((status = 200, description = "This document")))]
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Api::openapi())
}
