//! Publication of bundles by API.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use provost_model::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES};
use provost_model::{Code, Digest};
use provost_trust::Envelope;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::cursor::Scope;
use super::hub::Hub;
use super::page::{Body, Page, Paging, PathOf, Query};
use super::ports::{PublishAnswer, PublishRequest};
use super::problem::Problem;
use crate::auth::Principal;
use crate::stamp::Stamp;
use crate::store::bundles::BundleRow;

/// Base64 takes 4 bytes for 3; the rest is envelopes and names.
pub const MAX_BODY_BYTES: usize = MAX_BUNDLE_BYTES / 3 * 4 + 16 * 1024 * 1024;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishBody {
    /// The policy manifest's envelope, as DSSE JSON.
    #[schema(value_type = Object)]
    pub manifest: Box<RawValue>,
    /// Root envelopes, oldest first, as DSSE JSON.
    #[schema(value_type = Vec<Object>)]
    pub roots: Vec<Box<RawValue>>,
    /// The bundle's files in base64, by their SHA-256.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub blobs: BTreeMap<Digest, String>,
}

#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PublishQuery {
    /// Check everything and say what would change; change nothing.
    #[serde(default)]
    pub plan: bool,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundleJson {
    pub channel: String,
    pub version: u64,
    pub manifest_digest: String,
    pub content_digest: String,
    pub created: Stamp,
    pub expires: Stamp,
    pub policies: u64,
    pub published: Stamp,
    pub published_by: String,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundleDetail {
    pub bundle: BundleJson,
    pub answers: Vec<AnswerJson>,
}

/// What an instance said to a bundle.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnswerJson {
    pub cluster: String,
    pub instance: String,
    /// OFFERED, ACTIVE or REFUSED.
    pub status: String,
    pub code: String,
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<provost_model::record::FileError>,
    pub at: Stamp,
}

#[utoipa::path(get, path = "/api/v1/bundles", tag = "bundles",
    params(Paging),
    responses((status = 200, body = Page<BundleJson>), (status = "default", body = Problem)))]
pub async fn list(
    State(hub): State<Hub>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<BundleJson>>, Problem> {
    let bundles = hub.store.bundles().await?;
    let (scope, key) = (Scope::new("bundles", &()), |row: &BundleRow| row.manifest);
    Page::of_whole(bundles, &paging, &scope, key, BundleJson::from).map(Json)
}

#[utoipa::path(get, path = "/api/v1/bundles/{manifest}", tag = "bundles",
    params(("manifest" = String, Path)),
    responses((status = 200, body = BundleDetail), (status = "default", body = Problem)))]
pub async fn one(
    State(hub): State<Hub>,
    PathOf(manifest): PathOf<Digest>,
) -> Result<Json<BundleDetail>, Problem> {
    let found = hub.store.bundle(manifest).await?;
    let bundle = found.ok_or_else(|| Problem::not_found("bundle"))?;
    let answers = hub.store.bundle_answers(manifest).await?;
    let answers = answers.into_iter().map(|row| AnswerJson {
        cluster: row.cluster.to_string(),
        instance: row.instance.to_string(),
        status: row.status.as_str().to_owned(),
        code: row.code,
        errors: row.errors,
        at: Stamp(row.at_ms),
    });
    Ok(Json(BundleDetail { bundle: BundleJson::from(bundle), answers: answers.collect() }))
}

#[utoipa::path(post, path = "/api/v1/bundles", tag = "bundles", params(PublishQuery),
    request_body = PublishBody,
    responses((status = 200, body = PublishAnswer), (status = "default", body = Problem)))]
pub async fn publish(
    State(hub): State<Hub>,
    principal: Principal,
    Query(query): Query<PublishQuery>,
    Body(body): Body<PublishBody>,
) -> Result<Json<PublishAnswer>, Problem> {
    let request = body.read()?;
    hub.operate.publish(request, query.plan, &principal.actor()).await.map(Json)
}

impl PublishBody {
    fn read(self) -> Result<PublishRequest, Problem> {
        if self.blobs.len() > MAX_BUNDLE_FILES {
            let detail = format!("a bundle has at most {MAX_BUNDLE_FILES} files");
            return Err(Problem::new(Code::TooLarge, detail));
        }
        let mut blobs = BTreeMap::new();
        for (digest, text) in self.blobs {
            let bytes = STANDARD.decode(text).map_err(|error| {
                Problem::new(Code::Malformed, format!("blob {digest} is not base64: {error}"))
            })?;
            if bytes.len() > MAX_BLOB_BYTES {
                let detail = format!("blob {digest} is larger than {MAX_BLOB_BYTES} bytes");
                return Err(Problem::new(Code::TooLarge, detail));
            }
            if Digest::of(&bytes) != digest {
                let detail = format!("the content of blob {digest} has another digest");
                return Err(Problem::new(Code::DigestMismatch, detail)
                    .help("the file changed after the bundle was built; build and sign it again"));
            }
            blobs.insert(digest, Bytes::from(bytes));
        }
        let roots =
            self.roots.iter().map(|root| envelope("root", root)).collect::<Result<_, _>>()?;
        Ok(PublishRequest { manifest: envelope("manifest", &self.manifest)?, roots, blobs })
    }
}

fn envelope(what: &str, text: &RawValue) -> Result<Envelope, Problem> {
    Envelope::from_json(text.get().as_bytes())
        .map_err(|error| Problem::new(error.code(), format!("{what}: {error}")))
}

impl From<BundleRow> for BundleJson {
    fn from(row: BundleRow) -> Self {
        Self {
            channel: row.channel,
            version: row.version,
            manifest_digest: row.manifest.to_string(),
            content_digest: row.content.to_string(),
            created: Stamp(row.created_at_ms),
            expires: Stamp(row.expires_at_ms),
            policies: row.policies,
            published: Stamp(row.published_at_ms),
            published_by: row.published_by,
        }
    }
}
