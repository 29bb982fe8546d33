//! Who gets in: every route, every role, sessions, forgery, login links.

use std::os::unix::fs::PermissionsExt as _;

use provost_aggregator::api::openapi::Api;
use provost_aggregator::api::routes::Access;
use provost_aggregator::auth::role::Role;
use provost_aggregator::{store, web};
use serde_json::{Value, json};
use utoipa::OpenApi as _;

use super::fleet::{Fleet, NOW_MS};
use super::html::hidden;
use super::http::{Answer, get, post, request};

/// A path with something in place of each parameter.
pub fn filled(path: &str) -> String {
    path.replace("{cluster}", &"a".repeat(32))
        .replace("{instance}", &"b".repeat(32))
        .replace("{binding}", "default")
        .replace("{fingerprint}", &"c".repeat(32))
        .replace("{manifest}", &"d".repeat(64))
        .replace("{name}", "nobody")
        .replace("{secret}", "provost_once_x")
        .replace("{file}", "console.css")
}

/// Guarantee: on loopback too, nothing answers without authentication but health, login and static
/// files; also addresses that do not exist tell nothing.
#[tokio::test]
async fn every_route_asks_who_is_there() {
    let fleet = Fleet::start().await;
    let (_, routes) = web::router(fleet.api());
    let open: Vec<&str> =
        routes.iter().filter(|r| r.access == Access::Open).map(|r| r.path).collect();
    assert_eq!(
        open,
        [
            "/healthz",
            "/static/{file}",
            "/favicon.ico",
            "/login",
            "/login",
            "/login/once/{secret}",
            "/login/once/{secret}"
        ]
    );
    for route in routes.iter().filter(|route| route.access != Access::Open) {
        let path = filled(route.path);
        let answer = fleet.send(request(route.method.as_str(), &path)).await;
        let page = route.method == "GET" && !path.starts_with("/api/");
        let what = format!("{} {path}", route.method);
        if page {
            assert_eq!(answer.status, 303, "{what}");
            assert!(answer.header("location").starts_with("/login"), "{what}");
        } else if !path.starts_with("/api/") {
            assert_eq!(answer.status, 401, "{what}");
        } else {
            assert_eq!(answer.status, 401, "{what}");
            assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
            assert_eq!(answer.json()["code"], "UNAUTHENTICATED", "{what}");
        }
        for credentials in ["Bearer provost_api_x", "Bearer ", "Basic YTpi"] {
            let asked = request(route.method.as_str(), &path).header("Authorization", credentials);
            let status = fleet.send(asked).await.status;
            assert!(matches!(status, 303 | 401), "{what} with {credentials}: {status}");
        }
    }
    assert_eq!(fleet.send(get("/api/v1/nothing")).await.status, 401);
    assert_eq!(fleet.get("/api/v1/nothing").await.status, 404);
    fleet.stop().await;
}

/// Guarantee: a role gets what is its own and nothing above it, on every route.
#[tokio::test]
async fn roles_hold_on_every_route() {
    let fleet = Fleet::start().await;
    let tokens = [
        (Role::Viewer, fleet.token("v", Role::Viewer).await),
        (Role::Operator, fleet.token("o", Role::Operator).await),
    ];
    let (_, routes) = web::router(fleet.api());
    for route in routes {
        let Access::Needs(needed) = route.access else { continue };
        for (role, token) in &tokens {
            let asked = request(route.method.as_str(), &filled(route.path)).bearer(token);
            let status = fleet.send(asked).await.status;
            let what = format!("{role} {} {}: {status}", route.method, route.path);
            assert_eq!(status == 403, !role.may(needed), "{what}");
        }
    }
    fleet.stop().await;
}

/// Guarantee: the document and the routes are the same list.
#[tokio::test]
async fn the_openapi_document_lists_every_route_of_the_api() {
    let fleet = Fleet::start().await;
    let (_, routes) = web::router(fleet.api());
    let mut mounted: Vec<String> = routes
        .iter()
        .filter(|route| route.path.starts_with("/api/"))
        .map(|route| format!("{} {}", route.method.as_str().to_lowercase(), route.path))
        .collect();
    let document = serde_json::to_value(Api::openapi()).unwrap();
    let mut documented = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        documented.extend(methods.as_object().unwrap().keys().map(|m| format!("{m} {path}")));
    }
    mounted.sort();
    documented.sort();
    assert_eq!(mounted, documented);
    assert_eq!(fleet.get("/api/v1/openapi.json").await.json(), document);
    fleet.stop().await;
}

/// Guarantee: the first token is readable by its user alone, and the store holds only a hash.
#[tokio::test]
async fn the_first_token_is_in_a_private_file() {
    let fleet = Fleet::start().await;
    let path = fleet.folder.path().join("hub/admin.token");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for entry in std::fs::read_dir(fleet.folder.path().join("hub")).unwrap() {
        let entry = entry.unwrap().path();
        if entry != path && entry.is_file() {
            let bytes = std::fs::read(&entry).unwrap();
            let secret = fleet.admin.as_bytes();
            assert!(!bytes.windows(secret.len()).any(|w| w == secret), "{}", entry.display());
        }
    }
    fleet.stop().await;
}

async fn sign_in(fleet: &Fleet, token: &str) -> Answer {
    let form = fleet.send(get("/login?next=/findings")).await;
    let cookie = form.cookie("provost-login").unwrap();
    let fields = [
        ("csrf", &*hidden(&form.body, "csrf")),
        ("next", &*hidden(&form.body, "next")),
        ("token", token),
    ];
    let sent = post("/login").header("Cookie", &format!("provost-login={cookie}")).form(&fields);
    fleet.send(sent).await
}

/// Guarantee: a token opens a session by the form; the cookie is closed to scripts and other sites;
/// signing out ends it, and so does revoking the token.
#[tokio::test]
async fn a_session_begins_with_a_token_and_ends_with_it() {
    let fleet = Fleet::start().await;
    let token = fleet.token("ada", Role::Viewer).await;
    assert_eq!(sign_in(&fleet, "provost_api_wrong").await.status, 401);
    let without = post("/login").form(&[("csrf", ""), ("token", &token)]);
    assert_eq!(fleet.send(without).await.status, 403, "a form of another site");

    let entered = sign_in(&fleet, &token).await;
    assert_eq!((entered.status, entered.header("location")), (303, "/findings"));
    let set =
        entered.headers.iter().find(|(n, v)| n == "set-cookie" && v.starts_with("provost-session"));
    let set = &set.unwrap().1;
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    let session = format!("provost-session={}", entered.cookie("provost-session").unwrap());
    let page = fleet.send(get("/").header("Cookie", &session)).await;
    assert_eq!(page.status, 200);

    let csrf = hidden(&page.body, "csrf");
    let out = |csrf: &str| post("/logout").header("Cookie", &session).form(&[("csrf", csrf)]);
    assert_eq!(fleet.send(out("0")).await.status, 403);
    assert_eq!(fleet.send(out(&csrf)).await.status, 303);
    assert_eq!(fleet.send(get("/").header("Cookie", &session)).await.status, 303, "signed out");

    let entered = sign_in(&fleet, &token).await;
    let session = format!("provost-session={}", entered.cookie("provost-session").unwrap());
    let revoke = request("DELETE", "/api/v1/tokens/ada").bearer(&fleet.admin);
    assert_eq!(fleet.send(revoke).await.status, 204);
    assert_eq!(fleet.send(get("/").header("Cookie", &session)).await.status, 303, "revoked");
    fleet.stop().await;
}

/// Guarantee: a session ends by itself, and so does a token.
#[tokio::test]
async fn sessions_and_tokens_expire() {
    let fleet = Fleet::start().await;
    let token = fleet.token("ada", Role::Viewer).await;
    let entered = sign_in(&fleet, &token).await;
    let session = format!("provost-session={}", entered.cookie("provost-session").unwrap());
    fleet.clock.advance(std::time::Duration::from_secs(601));
    assert_eq!(fleet.send(get("/").header("Cookie", &session)).await.status, 303);
    assert_eq!(fleet.send(get("/api/v1/fleet").bearer(&token)).await.status, 401);
    fleet.stop().await;
}

/// Scenario: an operator approves a cluster on its page; another site tries the same with the
/// operator's cookie. Guarantee: only the form of the session itself changes anything, and the
/// audit log has the change.
#[tokio::test]
async fn a_change_by_cookie_needs_the_sessions_forgery_token() {
    let fleet = Fleet::start().await;
    let token = fleet.token("op", Role::Operator).await;
    let (cluster, ..) = fleet.pending("edge-9", "edge").await;
    let entered = sign_in(&fleet, &token).await;
    let session = format!("provost-session={}", entered.cookie("provost-session").unwrap());
    let path = format!("/clusters/{cluster}/approve");
    let sent = |fields: &[(&str, &str)]| post(&path).header("Cookie", &session).form(fields);
    assert_eq!(fleet.send(sent(&[])).await.status, 403);
    assert_eq!(fleet.send(sent(&[("csrf", "00")])).await.status, 403);
    let api = format!("/api/v1{path}");
    let by_api = post(&api).header("Cookie", &session).json(&json!({}));
    assert_eq!(fleet.send(by_api).await.status, 403);
    assert!(!fleet.page("/audit").await.contains("cluster.approve"));

    let page = fleet.send(get(&format!("/clusters/{cluster}")).header("Cookie", &session)).await;
    let csrf = hidden(&page.body, "csrf");
    assert_eq!(fleet.send(sent(&[("csrf", &csrf)])).await.status, 303);
    let approved = fleet.store().cluster(cluster).await.unwrap().unwrap();
    assert_eq!(approved.status, store::identity::ClusterStatus::Approved);
    let log = fleet.store().audit_log(None, 50).await.unwrap();
    assert!(log.iter().any(|(_, row)| row.action.contains("approve") && row.actor.0 == "token:op"));
    let opened: Vec<_> = log.iter().filter(|(_, row)| row.action == "session.open").collect();
    let [(_, opened)] = opened[..] else { panic!("one session, one row: {opened:?}") };
    assert_eq!(
        (opened.actor.0.as_str(), opened.result.as_str(), opened.detail.as_str()),
        ("token:op", "ok", "token")
    );
    fleet.stop().await;
}

/// Guarantee: a link signs in once, a preview does not use it up, and it gives no more than asked.
#[tokio::test]
async fn a_login_link_works_once() {
    let fleet = Fleet::start().await;
    let make = || post("/api/v1/login-links").bearer(&fleet.admin).json(&json!({"role": "viewer"}));
    let made = fleet.send(make()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = made.json()["path"].as_str().unwrap().to_owned();
    assert_eq!(fleet.send(request("HEAD", &path)).await.status, 204);
    let entered = fleet.send(get(&path)).await;
    assert_eq!((entered.status, entered.header("location")), (303, "/"));
    assert_eq!(fleet.send(get(&path)).await.status, 401);

    let session = format!("provost-session={}", entered.cookie("provost-session").unwrap());
    let page = fleet.send(get("/").header("Cookie", &session)).await;
    assert_eq!(page.status, 200);
    let (cluster, ..) = fleet.pending("edge-9", "edge").await;
    let csrf = hidden(&page.body, "csrf");
    let approve = post(&format!("/clusters/{cluster}/approve")).header("Cookie", &session);
    assert_eq!(fleet.send(approve.form(&[("csrf", &csrf)])).await.status, 403, "a viewer's link");

    let late = fleet.send(make()).await.json()["path"].as_str().unwrap().to_owned();
    fleet.clock.advance(std::time::Duration::from_secs(301));
    assert_eq!(fleet.send(get(&late)).await.status, 401);
    let both = fleet.send(make()).await.json()["path"].as_str().unwrap().to_owned();
    let answers = futures::future::join_all((0..8).map(|_| fleet.send(get(&both)))).await;
    assert_eq!(answers.iter().filter(|a| a.status == 303).count(), 1);
    fleet.stop().await;
}

/// Guarantee: tokens are made with a role and an end, shown once, listed without their secret.
#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let fleet = Fleet::start().await;
    let body = json!({"name": "ci", "role": "viewer", "ttlS": 60});
    let made = fleet.send(post("/api/v1/tokens").bearer(&fleet.admin).json(&body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(fleet.send(get("/api/v1/fleet").bearer(&secret)).await.status, 200);
    let listed = fleet.get("/api/v1/tokens").await;
    assert!(!listed.body.contains(&secret));
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 2);
    let again = fleet.send(post("/api/v1/tokens").bearer(&fleet.admin).json(&body)).await;
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("CONFLICT")));
    assert!(again.body.contains("choose another name"), "{}", again.body);
    let refused = fleet.send(post("/api/v1/tokens").bearer(&secret).json(&body)).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("the token of ci has the role viewer"), "{}", refused.body);
    for bad in [
        json!({"name": "x", "role": "root"}),
        json!({"name": "a b", "role": "viewer"}),
        json!({"name": "y", "role": "viewer", "ttlS": 0}),
    ] {
        let answer = fleet.send(post("/api/v1/tokens").bearer(&fleet.admin).json(&bad)).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.body);
    }
    let log = fleet.store().audit_log(None, 50).await.unwrap();
    assert!(log.iter().any(|(_, row)| row.target == "ci" && row.at_ms == NOW_MS), "{log:?}");
    fleet.stop().await;
}

/// Guarantee: what an enrolment token may be is bounded where it is made.
#[tokio::test]
async fn an_enrolment_token_is_short_and_small() {
    let fleet = Fleet::start().await;
    let labels = |count: u32| (0..count).map(|n| (n.to_string(), json!("x"))).collect::<Value>();
    for (body, status, code) in [
        (json!({"name": "store-12", "labels": labels(32), "ttlS": 900}), 201, Value::Null),
        (json!({}), 201, Value::Null),
        (json!({"ttlS": 901}), 400, json!("INVALID")),
        (json!({"ttlS": 0}), 400, json!("INVALID")),
        (json!({"ttlS": -1}), 400, json!("INVALID")),
        (json!({"labels": labels(33)}), 413, json!("LIMIT")),
    ] {
        let answer =
            fleet.send(post("/api/v1/enrol-tokens").bearer(&fleet.admin).json(&body)).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &code), "{}", answer.body);
    }
    fleet.stop().await;
}
