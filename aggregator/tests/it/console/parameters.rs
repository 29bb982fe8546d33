//! Query parameters of the API: what a route does not know is refused, what it documents is taken.

use provost_aggregator::api::parameters;
use provost_aggregator::api::routes::Access;
use provost_aggregator::web;

use super::access::filled;
use super::fleet::Fleet;
use super::http::{get, request};

/// Guarantee: on every route of the API a misspelt parameter is an error that names it and what the route takes, and
/// nothing of that reaches who may not call the route.
#[tokio::test]
async fn a_misspelt_parameter_is_refused_on_every_route() {
    let fleet = Fleet::seeded().await;
    let (_, routes) = web::router(fleet.api());
    let mut checked = 0;
    for route in routes.iter().filter(|route| route.path.starts_with("/api/")) {
        assert_ne!(route.access, Access::Open);
        let known = parameters::known(&route.method, route.path).unwrap();
        let path = format!("{}?sevrity=high", filled(route.path));
        let what = format!("{} {path}", route.method);
        let asked = || request(route.method.as_str(), &path);
        let answer = fleet.send(asked().bearer(&fleet.admin)).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
        let problem = answer.json();
        assert_eq!(problem["code"], "INVALID", "{what}");
        let entry = &problem["errors"][0];
        assert_eq!(
            (&entry["path"], &entry["code"]),
            (&"sevrity".into(), &"UNKNOWN_PARAMETER".into())
        );
        for parameter in known {
            let message = entry["message"].as_str().unwrap();
            assert!(message.contains(&parameter.name), "{what}: {entry}");
        }
        assert_eq!(fleet.send(asked()).await.status, 401, "{what}");
        checked += 1;
    }
    assert!(checked > 25, "{checked}");
    fleet.stop().await;
}

/// Guarantee: a page is as strict as its twin, so that a misspelt filter in an address does not show everything.
#[tokio::test]
async fn a_misspelt_parameter_is_refused_on_every_page() {
    let fleet = Fleet::seeded().await;
    let (_, routes) = web::router(fleet.api());
    let pages = routes.iter().filter(|route| {
        !route.path.starts_with("/api/") && route.access != Access::Open && route.method == "GET"
    });
    let mut checked = 0;
    for route in pages {
        let path = filled(route.path);
        let answer = fleet.get(&format!("{path}?sevrity=high")).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
        assert!(answer.body.contains("sevrity"), "{path}: {}", answer.body);
        checked += 1;
    }
    assert!(checked > 8, "{checked}");
    fleet.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_in_words_of_the_request() {
    let fleet = Fleet::seeded().await;
    let words = |answer: &super::http::Answer| {
        assert_eq!(answer.status, 400, "{}", answer.body);
        for word in ["eserialize", "target type", "duplicate field", "invalid digit"] {
            assert!(!answer.body.contains(word), "{word}: {}", answer.body);
        }
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    for (path, says) in [
        ("/api/v1/findings?limit=1&limit=2", "limit stands more than once"),
        ("/api/v1/findings?limit=many", "write a whole number"),
        ("/api/v1/findings?limit=0", "limit must be from 1"),
        ("/api/v1/verdicts?scored=yes", "write true or false"),
        ("/api/v1/not-evaluated?cluster=x", "not the id of a cluster"),
    ] {
        let told = words(&fleet.get(path).await);
        assert!(told.contains(says), "{path}: {told}");
    }
    let make = |body: &str| {
        let mut request = request("POST", "/api/v1/tokens").bearer(&fleet.admin);
        request.body = body.to_owned();
        fleet.send(request.header("Content-Type", "application/json"))
    };
    for (body, says) in [
        ("{", "no JSON"),
        ("{}", "missing field `name`"),
        (r#"{"name": "a", "role": "king"}"#, "unknown variant `king`"),
        (r#"{"name": "a", "role": "viewer", "x": 1}"#, "unknown field `x`"),
    ] {
        let told = words(&make(body).await);
        assert!(told.contains(says), "{body}: {told}");
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_method_that_an_address_does_not_take_is_405() {
    let fleet = Fleet::seeded().await;
    for (method, path) in [("DELETE", "/api/v1/fleet"), ("POST", "/api/v1/findings")] {
        let answer = fleet.send(request(method, path).bearer(&fleet.admin)).await;
        assert_eq!((answer.status, &answer.json()["status"]), (405, &405.into()), "{path}");
        assert_eq!(answer.header("allow"), "GET,HEAD", "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let answer = fleet.send(request("DELETE", "/findings").bearer(&fleet.admin)).await;
    assert_eq!(answer.status, 405, "{}", answer.body);
    fleet.stop().await;
}

#[tokio::test]
async fn what_is_documented_is_taken() {
    let fleet = Fleet::seeded().await;
    for path in [
        "/api/v1/clusters?name=a&label=tier%3Dedge&state=fresh&limit=1",
        "/api/v1/findings?state=fail&minSeverity=low&q=x&limit=2",
        "/api/v1/verdicts?scored=true&policy=x",
        "/api/v1/causes?severity=high",
        "/api/v1/audit?limit=5",
        "/api/v1/not-evaluated",
    ] {
        let answer = fleet.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    let next = fleet.get("/api/v1/audit?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(fleet.get(&format!("/api/v1/audit?limit=1&cursor={next}")).await.status, 200);
    fleet.stop().await;
}

/// Guarantee: whoever signed in on a narrow screen can sign out there.
#[tokio::test]
async fn signing_out_is_there_on_narrow_screens() {
    let fleet = Fleet::start().await;
    let css = fleet.send(get("/static/console.css")).await.body;
    let hidden = css.split('}').filter(|rule| rule.contains("display: none"));
    let selectors = hidden.filter_map(|rule| rule.rsplit_once('{').map(|(selector, _)| selector));
    for selector in selectors.filter(|selector| !selector.contains("@media print")) {
        let hides = selector.rsplit('{').next().unwrap().split(',').map(str::trim);
        let sign_out = [".top", ".top .right", ".top form", ".top .right form", ".top form.inline"];
        assert!(!hides.clone().any(|part| sign_out.contains(&part)), "{selector}");
    }
    fleet.stop().await;
}
