//! How often a caller may ask.

use proptest::prelude::*;
use watershed_security::{Limiter, Rate};

use super::*;

fn rate(requests: u32, seconds: u64) -> Rate {
    Rate { requests, per: Duration::from_secs(seconds) }
}

#[test]
fn a_bucket_gives_what_is_in_it_and_fills_evenly() {
    let (limiter, rate) = (Limiter::default(), rate(2, 1));
    let take = |caller: &str, millis: u64| limiter.take(caller, rate, Duration::from_millis(millis));
    let first = take("a", 0);
    assert_eq!((first.limit, first.remaining, first.wait), (2, 1, None));
    assert_eq!(take("a", 0).remaining, 0);
    let refused = take("a", 100);
    assert_eq!(refused.wait, Some(Duration::from_millis(400)));
    // Refusals cost nothing, and others have buckets of their own.
    assert_eq!(take("a", 500).wait, None);
    assert_eq!(take("b", 500).remaining, 1);
    assert_eq!(take("a", 10_000).remaining, 1, "a bucket holds no more than its rate");
}

proptest! {
    /// In any stretch of time no more pass than the bucket holds and the time brings.
    #[test]
    fn no_more_pass_than_the_rate_allows(
        requests in 1u32..50,
        seconds in 1u64..100,
        pauses in prop::collection::vec(0u64..3_000, 1..200),
    ) {
        let (limiter, rate) = (Limiter::default(), rate(requests, seconds));
        let (mut now, mut passed) = (Duration::ZERO, Vec::new());
        for pause in pauses {
            now += Duration::from_millis(pause);
            let taken = limiter.take("one", rate, now);
            match taken.wait {
                None => passed.push(now),
                Some(wait) => {
                    now += wait + Duration::from_micros(1);
                    prop_assert!(limiter.take("one", rate, now).wait.is_none(), "told to come again too early");
                    passed.push(now);
                }
            }
        }
        for (index, begin) in passed.iter().enumerate() {
            for (count, end) in passed[index..].iter().enumerate() {
                let brought = (*end - *begin).as_secs_f64() * f64::from(requests) / seconds as f64;
                prop_assert!((count + 1) as f64 <= f64::from(requests) + brought + 1e-6);
            }
        }
    }
}

#[tokio::test]
async fn a_caller_is_told_how_much_is_left_and_when_to_come_again() {
    let slow = KeyRequest { rate: Some(rate(3, 3_600)), ..everything("slow") };
    let (world, keys) = World::with_keys(vec![slow, everything("free")]).await;
    let header = |response: &Response, name: &str| -> u64 {
        response.headers()[name].to_str().expect("text").parse().expect("a number")
    };
    for remaining in [2, 1, 0] {
        let response = world.get("/v1/views", &keys[0]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "x-ratelimit-limit"), 3);
        assert_eq!(header(&response, "x-ratelimit-remaining"), remaining);
        assert!((1..=3_600).contains(&header(&response, "x-ratelimit-reset")));
    }
    let response = world.get("/v1/views", &keys[0]).await;
    assert_eq!(response.status(), 429);
    assert_eq!(header(&response, "x-ratelimit-remaining"), 0);
    assert!((1_100..=1_200).contains(&header(&response, "retry-after")));
    let (_, problem) = problem(response).await;
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("3/h")), "{problem}");
    let free = world.get("/v1/views", &keys[1]).await;
    assert_eq!(free.status(), 200);
    assert!(!free.headers().contains_key("x-ratelimit-limit"));
}
