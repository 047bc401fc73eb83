//! Every address that a server registers, for every kind of caller.

use std::collections::BTreeSet;

use reqwest::Method;
use watershed_serving::http::{API, Access, Endpoint, NODE};

use super::*;

/// Addresses that everybody may use, each for a reason that stands in docs/security.md.
const OPEN: [&str; 6] = ["/", "/assets/{name}", "/docs", "/healthz", "/openapi.json", "/readyz"];

fn path_of(endpoint: &Endpoint) -> String {
    let named = [
        ("{view}", "trips_hourly"),
        ("{stream}", "trips"),
        ("{a}", "1"),
        ("{b}", "1"),
        ("{name}", "main.js"),
    ];
    let path = named.iter().fold(endpoint.path.to_string(), |path, (name, value)| path.replace(name, value));
    assert!(!path.contains('{'), "{path}: say here what stands for its names");
    path
}

fn body_of(endpoint: &Endpoint) -> String {
    match (endpoint.method, endpoint.path) {
        ("GET", _) => String::new(),
        (_, "/v1/query") => json!({ "view": "trips_hourly" }).to_string(),
        (_, "/v1/sql") => json!({ "sql": "SELECT count(*) FROM trips_hourly" }).to_string(),
        (_, "/v1/streams/{stream}/events") => json!({ "at": "2013-01-01T00:00:00Z", "line": 1 }).to_string(),
        (method, path) => panic!("{method} {path}: say here what a right request looks like"),
    }
}

/// What a caller of no view is told: nothing of that name where the address names one, else what is left.
fn without_views(endpoint: &Endpoint) -> u16 {
    let names = endpoint.path.contains("{view}") || endpoint.path.contains("{stream}");
    if names || ["/v1/query", "/v1/sql"].contains(&endpoint.path) { 404 } else { 200 }
}

#[tokio::test]
async fn every_address_answers_each_kind_of_caller_as_its_guard_says() {
    let mut requests = vec![
        everything("right"),
        KeyRequest {
            expires_at: Some(Utc::now() + chrono::Duration::milliseconds(1)),
            ..everything("expired")
        },
        everything("revoked"),
        KeyRequest { views: Some(Vec::new()), ..everything("viewless") },
    ];
    for verb in Verb::ALL {
        let verbs = Verb::ALL.into_iter().filter(|other| *other != verb).collect();
        requests.push(KeyRequest { name: format!("no {verb}"), verbs, ..everything("") });
    }
    let (world, keys) = World::with_keys(requests).await;
    let (right, expired, revoked, viewless) = (&keys[0], &keys[1], &keys[2], &keys[3]);
    KeyStore::revoke(&World::key_file(&world.folder), "revoked", Utc::now()).expect("the file is ours");
    until_refused(&world, revoked).await;
    let wrong = format!("{}{}", &right[..right.len() - 1], if right.ends_with('0') { "1" } else { "0" });
    let unknown = format!("wsk_000000000000_{}", "0".repeat(64));

    let mut tried = 0;
    for endpoint in API {
        let verb = match endpoint.access {
            Access::Open => None,
            Access::Metrics => Some(Verb::Metrics),
            Access::For(verb) => Some(verb),
            Access::Nodes => panic!("{}: callers are no speed nodes' servers", endpoint.path),
        };
        let lacking = verb.map(|verb| {
            &keys[4 + Verb::ALL.iter().position(|known| *known == verb).expect("all are listed")]
        });
        let refused = if verb.is_some() { 401 } else { 200 };
        let success = if endpoint.path.ends_with("/events") { 202 } else { 200 };
        let cases: [(&str, Option<&str>, u16); 8] = [
            ("no key", None, refused),
            ("a wrong key", Some(&wrong), refused),
            ("an unknown key", Some(&unknown), refused),
            ("an expired key", Some(expired), refused),
            ("a revoked key", Some(revoked), refused),
            (
                "a key without the verb",
                lacking.map(String::as_str),
                if lacking.is_some() { 403 } else { 200 },
            ),
            ("a key without the view", Some(viewless), without_views(endpoint)),
            ("the right key", Some(right), success),
        ];
        for (who, key, expected) in cases {
            let method: Method = endpoint.method.parse().expect("a method");
            let request = world.client.request(method, world.url(&path_of(endpoint))).body(body_of(endpoint));
            let request = match key {
                Some(key) => request.bearer_auth(key),
                None => request,
            };
            let response = sent(request).await;
            let expected = if verb.is_none() { 200 } else { expected };
            assert_eq!(response.status(), expected, "{} {} with {who}", endpoint.method, endpoint.path);
            if expected == 401 || expected == 403 {
                let challenge = response.headers()["www-authenticate"].to_str().expect("text").to_string();
                assert!(challenge.starts_with("Bearer realm="), "{challenge}");
                let (_, problem) = problem(response).await;
                assert!(!problem.to_string().contains(key.unwrap_or("no key")), "{problem}");
            }
            tried += 1;
        }
        // Another method is guarded as well.
        if verb.is_some() {
            let other = if endpoint.method == "GET" { Method::DELETE } else { Method::GET };
            let response = sent(world.client.request(other, world.url(&path_of(endpoint)))).await;
            assert_eq!(response.status(), 401, "{} by another method", endpoint.path);
        }
    }
    println!("{tried} requests to {} addresses", API.len());
}

async fn until_refused(world: &World, key: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.get("/v1/views", key).await.status() != 401 {
        assert!(Instant::now() < deadline, "the key was never refused");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn what_is_open_to_everybody_is_listed_here() {
    let open = |endpoints: &[Endpoint]| -> BTreeSet<&'static str> {
        endpoints.iter().filter(|endpoint| endpoint.access == Access::Open).map(|one| one.path).collect()
    };
    assert_eq!(open(API), BTreeSet::from(OPEN));
    assert_eq!(open(NODE), BTreeSet::from(["/healthz"]));
}

#[tokio::test]
async fn no_spelling_of_an_address_goes_round_its_guard() {
    let (world, _) = World::with_keys(vec![everything("right")]).await;
    let spellings = [
        "/v1/%76iews",
        "/v1%2Fviews",
        "//v1/views",
        "/v1//views",
        "/v1/views/",
        "/v1/./views",
        "/V1/views",
        "/v1/views/trips_hourly%2Fquery",
        "/v1/views/%74rips_hourly",
        "/v1/views;a=b",
        "/v1/views%00",
        "/assets/../v1/views",
        "/assets/..%2f..%2fv1/views",
        "/%2e%2e/v1/views",
        "/v1/status?key=x",
        "/%76%31/status",
    ];
    for spelling in spellings {
        // As it is written: a client of its own would tidy it up.
        let status =
            raw(&world, &format!("GET {spelling} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!([400, 401, 404].contains(&status), "{spelling}: {status}");
    }
}

#[tokio::test]
async fn what_is_no_bearer_key_is_refused() {
    let (world, keys) = World::with_keys(vec![everything("right")]).await;
    let right = &keys[0];
    let headers = [
        format!("Basic {right}"),
        format!("bearer{right}"),
        right.clone(),
        "Bearer ".to_string(),
        "Bearer null".to_string(),
        format!("Bearer {right} {right}"),
        format!("Bearer {right}\u{e9}"),
        format!("Bearer {}", "x".repeat(20_000)),
    ];
    for header in &headers {
        let line = format!(
            "GET /v1/views HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {header}\r\n\r\n"
        );
        let status = raw(&world, &line).await;
        assert!(status == 401 || status == 431 || status == 400, "{header}: {status}");
    }
    let two = format!("Authorization: Bearer {right}\r\n").repeat(2);
    let status =
        raw(&world, &format!("GET /v1/views HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{two}\r\n")).await;
    assert_eq!(status, 401, "two keys at once");
    // The scheme's name has no case, and spaces around a key are none of it.
    let line = format!(
        "GET /v1/views HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: bEARER  {right} \r\n\r\n"
    );
    assert_eq!(raw(&world, &line).await, 200);
}

/// The status of the answer to a request as it is.
async fn raw(world: &World, request: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut connection = tokio::net::TcpStream::connect(world.server.address).await.expect("it listens");
    connection.write_all(request.as_bytes()).await.expect("it is taken");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut answer)).await;
    read.expect("it ends").expect("it is whole");
    let head = String::from_utf8_lossy(&answer[..answer.len().min(64)]).to_string();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer to {request}: {head}"))
}

#[tokio::test]
async fn a_view_that_a_key_may_not_see_looks_like_one_that_is_not_there() {
    let daily = KeyRequest { views: Some(vec!["trips_daily".to_string()]), ..everything("daily") };
    let (world, keys) = World::with_keys(vec![daily]).await;
    let key = &keys[0];
    let hidden = world.refused(key, &json!({ "view": "trips_hourly" })).await;
    let missing = world.refused(key, &json!({ "view": "trips_weekly" })).await;
    assert_eq!((hidden.0, missing.0), (404, 404));
    let told = |problem: &Json| problem["detail"].as_str().expect("text").replace("hourly", "weekly");
    assert_eq!(told(&hidden.1), told(&missing.1));
    // A slip of the finger is not corrected to what is hidden.
    let slip = world.refused(key, &json!({ "view": "trips_hourl" })).await.1;
    assert_eq!(slip["did_you_mean"], Json::Null, "{slip}");
    let slip = world.refused(key, &json!({ "view": "trips_dail" })).await.1;
    assert_eq!(slip["did_you_mean"], "trips_daily");
    let views = world.json("/v1/views", key).await;
    let names: Vec<&Json> =
        views["views"].as_array().expect("a list").iter().map(|view| &view["name"]).collect();
    assert_eq!(names, ["trips_daily"]);
    let status = world.json("/v1/status", key).await.to_string();
    assert!(status.contains("trips_daily") && !status.contains("trips_hourly"), "{status}");
    let versions = world.json("/v1/streams/trips/versions", key).await.to_string();
    assert!(versions.contains("trips_daily") && !versions.contains("trips_hourly"), "{versions}");
    let diff = world.json("/v1/streams/trips/versions/1/diff/1", key).await.to_string();
    assert!(!diff.contains("trips_hourly"), "{diff}");
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_where_the_settings_name_them() {
    let ask = async |origins: &[&str], origin: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let key = add_key(&folder, everything("right"));
        let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
        let cors_origins = origins.iter().map(ToString::to_string).collect();
        let settings =
            ServeSettings { cors_origins, ..settings(Gate::new(Some(keys), None, Audit::default())) };
        let world = World::start(folder, settings, &below(), &above()).await;
        let preflight = world.client.request(Method::OPTIONS, world.url("/v1/query"));
        let preflight = preflight.header("Origin", origin).header("Access-Control-Request-Method", "POST");
        let preflight = sent(preflight.header("Access-Control-Request-Headers", "authorization")).await;
        let request = world.client.get(world.url("/v1/views")).bearer_auth(&key).header("Origin", origin);
        let response = sent(request).await;
        let allowed = |response: &Response| {
            let allowed = response.headers().get("access-control-allow-origin")?;
            Some(allowed.to_str().expect("text").to_string())
        };
        (allowed(&preflight), allowed(&response))
    };
    let (shop, other) = ("https://shop.example", "https://other.example");
    assert_eq!(ask(&[], shop).await, (None, None));
    assert_eq!(ask(&[shop], shop).await, (Some(shop.to_string()), Some(shop.to_string())));
    assert_eq!(ask(&[shop], other).await, (None, None));
}
