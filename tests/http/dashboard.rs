//! The dashboard's files as a browser gets them.

use reqwest::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};

use super::*;

/// What follows each `before` in a text, up to the next double quote.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

#[tokio::test]
async fn everything_that_the_page_names_is_served_here_with_its_type() {
    let world = World::new().await;
    let page = world.get("/").await;
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    let page = page.text().await.expect("the page is text");
    let mut wanted: Vec<String> = [quoted(&page, "src=\""), quoted(&page, "href=\"/")]
        .into_iter()
        .flatten()
        .map(str::to_string)
        .collect();
    wanted.retain(|name| name.contains("assets/"));
    assert!(wanted.len() >= 5, "{wanted:?}");
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let path = format!("/{}", name.trim_start_matches('/'));
        if !seen.insert(path.clone()) {
            continue;
        }
        let response = world.get(&path).await;
        assert_eq!(response.status(), 200, "{path}");
        let expected = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(response.headers()[CONTENT_TYPE], expected, "{path}");
        let text = response.text().await.expect("assets are text");
        wanted.extend(quoted(&text, "from \"./").map(|module| format!("assets/{module}")));
    }
    assert!(
        seen.contains("/assets/chart.js"),
        "modules are found through the modules that import them: {seen:?}"
    );
}

#[tokio::test]
async fn a_browser_is_told_that_it_has_a_file_and_to_load_nothing_from_elsewhere() {
    let world = World::new().await;
    for path in ["/", "/assets/main.js"] {
        let first = world.get(path).await;
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        let policy = first.headers()[CONTENT_SECURITY_POLICY].to_str().expect("the policy is text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{policy}");
        let tag = first.headers()[ETAG].clone();
        let again = world.client.get(world.url(path)).header(IF_NONE_MATCH, tag.clone()).send().await;
        let again = again.expect("the server answers");
        assert_eq!((again.status().as_u16(), again.headers()[ETAG].clone()), (304, tag));
        let other = world.client.get(world.url(path)).header(IF_NONE_MATCH, "\"another\"").send().await;
        assert_eq!(other.expect("the server answers").status(), 200);
    }
}

#[tokio::test]
async fn a_file_that_the_dashboard_does_not_have_is_a_problem_like_any_other() {
    let world = World::new().await;
    for path in ["/assets/main.ts", "/assets/index.html", "/assets/"] {
        let (status, problem) = problem(world.get(path).await).await;
        assert_eq!((status, &problem["status"]), (404, &json!(404)), "{path}");
    }
}
