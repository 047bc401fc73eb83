//! Requests have names.

use proptest::prelude::*;
use watershed_serving::trace::Context;

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
    assert_eq!(
        named(&world, "0af7651916cd43dd-8448/eb211c80319c").await,
        "0af7651916cd43dd-8448/eb211c80319c"
    );
    for unfit in ["", "two words", "é", &"x".repeat(129)] {
        let new = named(&world, unfit).await;
        assert!(new != unfit && uuid::Uuid::parse_str(&new).is_ok(), "{unfit:?}: {new}");
    }
    let (one, other) = (world.get("/v1/nothing").await, world.get("/v1/nothing").await);
    assert_ne!(one.headers()["x-request-id"], other.headers()["x-request-id"]);
}

proptest! {
    #[test]
    fn a_trace_goes_on_under_the_name_that_was_sent(trace in 1_u128.., span in 1_u64.., sampled: bool) {
        let context = Context { trace, span, sampled };
        prop_assert_eq!(Context::parse(&context.to_string()), Some(context));
        let child = context.child();
        prop_assert_eq!((child.trace, child.sampled), (trace, sampled));
        prop_assert_ne!(child.span, span);
    }

    #[test]
    fn whatever_is_sent_as_a_trace_is_taken_or_passed_over(text in ".{0,80}") {
        let _ = Context::parse(&text);
    }
}

#[test]
fn a_header_that_is_no_trace_is_passed_over() {
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    assert!(Context::parse(&format!("00-{trace}-{span}-01")).is_some());
    // A later version may say more.
    assert!(Context::parse(&format!("01-{trace}-{span}-01-more")).is_some());
    for wrong in [
        format!("00-{trace}-{span}-01-more"),
        format!("ff-{trace}-{span}-01"),
        format!("00-{}-{span}-01", trace.to_uppercase()),
        format!("00-{}-{span}-01", "0".repeat(32)),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00-{trace}-{span}"),
        format!("00-{trace}-{span}-+1"),
        String::new(),
    ] {
        assert_eq!(Context::parse(&wrong), None, "{wrong}");
    }
}
