//! Requests have names.

use super::*;

/// The name under which a request is answered that the client calls so.
async fn named(world: &World, name: &str) -> String {
    let request = world.client.get(world.url("/healthz")).header("x-request-id", name);
    let response = request.send().await.expect("the server answers");
    response.headers()["x-request-id"].to_str().expect("ASCII").to_string()
}

#[tokio::test]
async fn a_request_is_answered_under_its_own_name_or_a_new_one() {
    let world = World::new().await;
    assert_eq!(named(&world, "0af7651916cd43dd-8448/eb211c80319c").await, "0af7651916cd43dd-8448/eb211c80319c");
    for unfit in ["", "two words", "é", &"x".repeat(129)] {
        let new = named(&world, unfit).await;
        assert!(new != unfit && uuid::Uuid::parse_str(&new).is_ok(), "{unfit:?}: {new}");
    }
    let (one, other) = (world.get("/v1/nothing").await, world.get("/v1/nothing").await);
    assert_ne!(one.headers()["x-request-id"], other.headers()["x-request-id"]);
}
