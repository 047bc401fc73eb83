//! What caches are told: an answer that cannot change is kept, and any other is asked for again by its tag.

use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, ETAG, IF_NONE_MATCH, LINK};

use super::*;

const PATH: &str = "/v1/views/trips_hourly/query?measures=trips&group_by=city&grain=all";

fn header(response: &Response, name: reqwest::header::HeaderName) -> String {
    response.headers()[name].to_str().expect("headers of ours are ASCII").to_string()
}

/// Asks for an answer unless it has this tag.
async fn unless(world: &World, path: &str, tag: &str) -> u16 {
    let request = world.client.get(world.url(path)).header(IF_NONE_MATCH, tag);
    let response = described("GET", path, request.send().await.expect("the server answers")).await;
    let status = response.status().as_u16();
    if status == 304 {
        assert_eq!(header(&response, ETAG), tag);
        assert_eq!(response.bytes().await.expect("a body").len(), 0);
    }
    status
}

#[tokio::test]
async fn an_answer_is_not_sent_again_until_its_records_move_on() {
    let world = World::with_both_sides().await;
    let tag = header(&world.get(PATH).await, ETAG);
    assert!(tag.starts_with('"'), "{tag} is strong");
    assert_eq!(unless(&world, PATH, &tag).await, 304);
    assert_eq!(unless(&world, PATH, "\"another\"").await, 200);
    world.live.open(&offsets(&[(0, 3), (1, 1)]), &[(0, above()), (1, vec![above()[1].clone()])]);
    world.live.reach(offsets(&[(0, 5), (1, 2)]));
    assert_eq!(unless(&world, PATH, &tag).await, 200);
}

#[tokio::test]
async fn another_question_form_or_coding_has_another_tag() {
    let world = World::with_both_sides().await;
    let mut tags = std::collections::BTreeSet::new();
    for more in ["", "&format=csv", "&limit=1", "&where.city=Oslo", "&accuracy=batch", "&include=provenance"]
    {
        assert!(tags.insert(header(&world.get(&format!("{PATH}{more}")).await, ETAG)), "{more}");
    }
    let zipped = world.client.get(world.url(PATH)).header(ACCEPT_ENCODING, "gzip").send().await;
    let zipped = zipped.expect("the server answers");
    let vary: Vec<_> =
        zipped.headers().get_all("vary").iter().filter_map(|vary| vary.to_str().ok()).collect();
    assert!(vary.contains(&"accept"), "{vary:?}");
    assert!(tags.insert(header(&zipped, ETAG)), "gzip");
}

#[tokio::test]
async fn only_what_cannot_change_is_kept_for_long() {
    let world = World::with_both_sides().await;
    let control = async |more: &str| header(&world.get(&format!("{PATH}{more}")).await, CACHE_CONTROL);
    assert_eq!(control("&as_of=1").await, "private, max-age=31536000, immutable");
    assert_eq!(control("").await, "private, max-age=1");
    assert_eq!(control("&accuracy=batch").await, "private, max-age=1");
    assert_eq!(control("&require=fresh:1h").await, "private, no-cache");
    assert_eq!(header(&world.post(r#"{"view":"trips_hourly"}"#).await, CACHE_CONTROL), "no-store");
    world.live.go_away();
    assert_eq!(control("").await, "no-store");
    assert_eq!(control("&as_of=1").await, "private, max-age=31536000, immutable");
}

#[tokio::test]
async fn links_lead_through_all_pages_and_end() {
    let world = World::with_both_sides().await;
    let whole = world.json(PATH).await;
    let (mut path, mut rows) = (format!("{PATH}&limit=1"), Vec::new());
    loop {
        let page = world.get(&path).await;
        let link = page.headers().get(LINK).map(|link| link.to_str().expect("ASCII").to_string());
        let page: Json = page.json().await.expect("JSON");
        rows.extend(page["data"].as_array().expect("a list").clone());
        assert_eq!(link.is_some(), page["next_cursor"].is_string());
        let Some(link) = link else { break };
        path = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""))
            .expect("a link")
            .to_string();
        assert_eq!(path.matches("cursor=").count(), 1, "{path}");
    }
    assert_eq!((rows.len(), &Json::from(rows)), (3, &whole["data"]));
}
