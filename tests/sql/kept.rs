//! What workers hold from one statement to the next is what a statement is to see, and nothing else.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use watershed_schemas::budget::Limits;

use super::World;
use super::answers::{TIMEOUT, random_trips};
use crate::support::serving::{DAY, HOUR, NEW_YEAR, Trip, offsets, trip};

const BELOW: i64 = 200;

/// A trip of the last windows that there are.
fn newest(random: &mut ChaCha8Rng) -> Trip {
    let at = NEW_YEAR + 4 * DAY + random.random_range(0..3) * HOUR;
    let city = ["Oslo", "Lima"][random.random_range(0..2)];
    trip(at, city, random.random_range(0..3), random.random_range(0..500), "eve")
}

impl World {
    fn go_live(&self, below: i64, above: &[Trip]) {
        let watershed = offsets(&[(0, below), (1, 0)]);
        self.live.open(&watershed, &[(0, above.to_vec()), (1, Vec::new())]);
        self.live.reach(offsets(&[(0, below + above.len() as i64), (1, 0)]));
    }

    /// Both ways to ask say the same.
    async fn agrees(&self, place: &str) {
        for (view, order) in [("trips_hourly", "hour, city, line"), ("trips_daily", "day, city")] {
            let asked: Json =
                self.post("/v1/query", &json!({ "view": view })).await.json().await.expect("JSON");
            let answer = self.sql(&format!("SELECT * FROM {view} ORDER BY {order}")).await;
            assert_eq!(answer["data"], asked["data"], "{place}, {view}");
            assert_eq!(answer["meta"], asked["meta"], "{place}, {view}");
            assert_eq!(answer["answer"]["live"], asked["answer"]["live"], "{place}, {view}");
            assert_eq!(answer["answer"]["complete"], asked["answer"]["complete"], "{place}, {view}");
        }
    }
}

/// Invariant `COVER`: a table that was handed over for one statement is not what it was for the next, once the view is not.
#[tokio::test]
async fn a_table_that_is_held_follows_its_view() {
    for seed in 0..5 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let world = World::empty(TIMEOUT, 1 + seed as usize % 2).await;
        let mut below = random_trips(&mut random, BELOW as usize);
        world.publish(1, &[(0, BELOW), (1, 0)], &below).await;
        world.go_live(BELOW, &[]);
        world.until_version(1).await;
        let (mut above, mut version) = (Vec::new(), 1);
        for turn in 0..25 {
            let place = format!("seed {seed}, turn {turn}");
            match random.random_range(0..10) {
                0 => above.extend(random_trips(&mut random, 2)),
                1 => {
                    below.append(&mut above);
                    version += 1;
                    let watershed = below.len() as i64;
                    // The epoch is there before the version.
                    world.live.open(&offsets(&[(0, watershed), (1, 0)]), &[(0, Vec::new()), (1, Vec::new())]);
                    world.publish(version, &[(0, watershed), (1, 0)], &below).await;
                    world.until_version(version).await;
                }
                2..5 => {}
                _ => above.push(newest(&mut random)),
            }
            world.go_live(below.len() as i64, &above);
            let columns = ["count(*)", "sum(trips)", "max(middle)", "count(DISTINCT city)"];
            let columns = columns[random.random_range(0..columns.len())];
            world
                .sql(&format!("SELECT {columns} FROM trips_hourly WHERE EXISTS (FROM batch.trips_daily)"))
                .await;
            world.agrees(&place).await;
            let batch = world.sql("SELECT sum(trips) AS n FROM batch.trips_hourly").await;
            assert_eq!(batch["data"][0]["n"], below.len(), "{place}");
            let all = world.sql("SELECT sum(trips) AS n FROM trips_hourly").await;
            assert_eq!(all["data"][0]["n"], below.len() + above.len(), "{place}");
            let events = world.sql("SELECT count(*) AS n FROM events.trips").await;
            assert_eq!(events["data"][0]["n"], below.len(), "{place}");
        }
    }
}

#[tokio::test]
async fn live_records_of_any_window_and_groups_beyond_a_budget_are_followed() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let world = World::empty(TIMEOUT, 1).await;
    let below = random_trips(&mut random, BELOW as usize);
    world.publish(1, &[(0, BELOW), (1, 0)], &below).await;
    world.go_live(BELOW, &[]);
    world.until_version(1).await;
    world.live.limit(Limits { groups: Some(3), bytes: None });
    let mut above = Vec::new();
    for turn in 0..12 {
        above.push(if turn % 3 == 0 { random_trips(&mut random, 1).remove(0) } else { newest(&mut random) });
        world.go_live(BELOW, &above);
        let asked = json!({ "view": "trips_hourly", "grain": "all", "group_by": [], "measures": ["trips"] });
        let asked: Json = world.post("/v1/query", &asked).await.json().await.expect("JSON");
        let sum = world.sql("SELECT sum(trips) AS n FROM trips_hourly").await;
        let missing = sum["answer"]["overflow"]["undecided_records"].as_i64().unwrap_or_default();
        let found = sum["data"][0]["n"].as_i64().expect("a number");
        assert_eq!(found + missing, BELOW + above.len() as i64, "turn {turn}: {sum}");
        assert_eq!(asked["data"][0]["trips"], BELOW + above.len() as i64, "turn {turn}");
    }
}

#[tokio::test]
async fn a_worker_that_was_ended_is_followed_by_one_that_holds_nothing_yet() {
    let world = World::new(Duration::from_secs(1), 1).await;
    let sum = async || world.sql("SELECT sum(trips) AS n FROM trips_hourly").await["data"][0]["n"].clone();
    assert_eq!(sum().await, 6);
    let endless = "SELECT sum(a.trips) FROM trips_hourly a, range(1000000000) b, range(1000000000) c";
    let (status, problem) = world.refused(endless).await;
    assert_eq!(status, 413, "{problem}");
    assert_eq!(sum().await, 6);
    let (status, _) = world.refused("SELECT no_column FROM trips_hourly").await;
    assert_eq!(status, 400);
    assert_eq!(sum().await, 6);
}
