//! The document and the code say the same: every route is described, and every answer has the form that is described.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use watershed_serving::http::{openapi, routes};
use watershed_serving::query::{FORM_KEYS, KEYS};

use super::*;

mod form;

/// The document, in which objects have the properties that are described and no others.
static DOCUMENT: LazyLock<Json> = LazyLock::new(|| {
    let mut document = serde_json::to_value(openapi()).expect("the document has a JSON form");
    close(&mut document["components"]["schemas"]);
    document
});

fn close(schema: &mut Json) {
    match schema {
        Json::Object(object) => {
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_string(), json!(false));
            }
            object.values_mut().for_each(close);
        }
        Json::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// The described path that a path is one of.
fn template(path: &str) -> Option<&'static String> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |template: &&String| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(wanted, found)| wanted == found || wanted.starts_with('{'))
    };
    let mut templates: Vec<&String> = paths().keys().filter(fits).collect();
    // What is named in full comes before what stands for any name.
    templates.sort_by_key(|template| template.matches('{').count());
    templates.first().copied()
}

fn paths() -> &'static serde_json::Map<String, Json> {
    DOCUMENT["paths"].as_object().expect("there are paths")
}

/// Holds an answer against the document, and gives it on.
pub async fn described(method: &str, path: &str, response: Response) -> Response {
    let operation = template(path).map(|template| (template, &paths()[template][method.to_lowercase()]));
    let Some((template, operation)) = operation.filter(|(_, operation)| operation.is_object()) else {
        assert!([404, 405].contains(&response.status().as_u16()), "{method} {path} is not described");
        return response;
    };
    let status = response.status().as_u16();
    let described = &operation["responses"][status.to_string()];
    assert!(described.is_object(), "{method} {template} answers {status}, which is not described");
    let (head, media) = (response.headers().clone(), media(&response));
    let body = response.bytes().await.expect("the body arrives");
    let content = described["content"].as_object();
    assert!(
        content.map_or(body.is_empty(), |content| content.contains_key(&media)),
        "{method} {template} answers {status} with {media}, described are {:?}",
        content.map(|content| content.keys().collect::<Vec<_>>())
    );
    if media.ends_with("json") {
        let body = serde_json::from_slice(&body).expect("JSON is JSON");
        hold(
            &format!("{method} {template} {status} {media}"),
            &described["content"][&media]["schema"],
            &body,
        );
    }
    let mut again = http::Response::new(body);
    (*again.status_mut(), *again.headers_mut()) = (http::StatusCode::from_u16(status).unwrap(), head);
    again.into()
}

fn media(response: &Response) -> String {
    let media = response.headers().get("content-type").map(|media| media.to_str().expect("text"));
    media.unwrap_or_default().split(';').next().unwrap_or_default().to_string()
}

fn hold(name: &str, schema: &Json, body: &Json) {
    let mistakes = form::compare(&DOCUMENT, schema, body, "");
    assert!(mistakes.is_empty(), "{name}: {mistakes:#?} in {body:#}");
}

#[test]
fn every_route_is_described_and_everything_described_is_a_route() {
    let registered: BTreeSet<(String, String)> =
        routes().map(|(method, path)| (method.to_lowercase(), path.to_string())).collect();
    let methods = |(path, item): (&String, &Json)| {
        let methods = item.as_object().expect("a path has methods").keys();
        methods.map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
    };
    let described: BTreeSet<(String, String)> = paths().iter().flat_map(methods).collect();
    assert_eq!(registered, described);
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
}

#[test]
fn a_question_is_described_by_the_keys_that_are_read() {
    let body = DOCUMENT["components"]["schemas"]["Question"]["properties"].as_object().expect("properties");
    assert_eq!(body.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(KEYS));
    let parameters = DOCUMENT["paths"]["/v1/views/{view}/query"]["get"]["parameters"].as_array();
    let names = parameters.expect("a list").iter().filter_map(|parameter| parameter["name"].as_str());
    assert_eq!(names.collect::<BTreeSet<_>>(), KEYS.into_iter().chain(FORM_KEYS).collect());
}

#[tokio::test]
async fn what_is_refused_by_its_method_names_the_methods_that_are_described() {
    let world = World::with_both_sides().await;
    for (path, item) in paths() {
        let allowed: Vec<String> =
            item.as_object().expect("methods").keys().map(|method| method.to_uppercase()).collect();
        let path = path.replace("{view}", "trips_hourly").replace("{stream}", "trips");
        let asked = world.client.delete(world.url(&path.replace(['{', '}'], ""))).send().await;
        let response = asked.expect("the server answers");
        assert_eq!(response.headers()["allow"], allowed.join(", "), "{path}");
        assert_eq!(problem(response).await.0, 405, "{path}");
    }
}

#[tokio::test]
async fn the_document_and_its_browser_come_from_this_server_alone() {
    let world = World::with_both_sides().await;
    assert_eq!(world.json("/openapi.json").await["info"]["title"], "Watershed");
    let page = world.get("/docs").await;
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_string();
    assert!(policy.contains("script-src 'self';") && policy.contains("connect-src 'self';"), "{policy}");
    let page = page.text().await.expect("the page is text");
    assert!(!page.contains("http"), "{page}");
    let script = world.get("/assets/rapidoc.js").await;
    assert_eq!((script.status().as_u16(), media(&script).as_str()), (200, "text/javascript"));
}

#[tokio::test]
async fn every_route_answers_as_described() {
    let world = World::with_both_sides().await;
    for path in [
        "/v1/views",
        "/v1/views/trips_hourly",
        "/v1/views/trips_hourly/accuracy",
        "/v1/views/trips_hourly/query?explain=true&accuracy=exact&grain=all&group_by=city",
        "/v1/views/trips_hourly/query?format=parquet",
        "/v1/streams/trips/versions",
        "/v1/streams/trips/versions/1/diff/1",
        "/v1/status",
        "/healthz",
        "/readyz",
        "/metrics",
        "/",
    ] {
        assert_eq!(world.get(path).await.status(), 200, "{path}");
    }
    let events = world.client.post(world.url("/v1/streams/trips/events")).body("{}").send().await;
    let events = described("POST", "/v1/streams/trips/events", events.expect("the server answers")).await;
    assert_eq!(events.status(), 503);
}
