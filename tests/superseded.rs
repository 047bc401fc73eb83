//! A view whose definition has changed (invariants `ONE_DEFINITION`, `COVER`): what it was goes on answering from the
//! version that was made so, and says so, until a version holds what it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use support::batch_world::{STREAM, VIEWS, project};
use support::live;
use support::whole::{Whole, cells, question};
use watershed_schemas::invariants;
use watershed_schemas::manifest::Version;
use watershed_schemas::superseded;
use watershed_schemas::view::View;
use watershed_speed::epoch::{Epoch, FoldKey};
use watershed_speed::wanted::{Definitions, Known, Published};

/// Fewer fields are read than before, and fewer events are counted.
const CHANGED: &str = "
CREATE MATERIALIZED VIEW hourly AS
SELECT site, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, sum(units) AS units
FROM readings WHERE units >= 0 GROUP BY site, hour;";

fn hourly(stream: &str, view: &str) -> Arc<View> {
    project(stream, &[view]).view("hourly").expect("the project has it").clone()
}

fn produce_some(whole: &mut Whole, numbers: std::ops::Range<i32>) {
    for number in numbers {
        whole.produce(
            number % 4,
            i64::from(number) * 7 % 50,
            ["a", "b"][number as usize % 2],
            i64::from(number % 9) - 4,
        );
    }
}

/// The block of an answer says by which rule it counts.
fn by_definition(block: &Json, units: i64) -> bool {
    block["definition"].is_string() || units >= 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_definition_answers_until_a_version_holds_the_new_one_and_every_answer_says_which_it_is() {
    let mut whole = Whole::start().await;
    produce_some(&mut whole, 0..100);
    let first = whole.world.publish().await.manifest;
    produce_some(&mut whole, 100..150);
    let before = whole.until_current().await;
    assert_eq!(before["answer"]["definition"], json!(null));

    whole.define(STREAM, &[CHANGED]).await;
    whole.counts = by_definition;
    let after = whole.until_current().await;
    let old = json!(first.views["hourly"].hash);
    assert_eq!((&after["answer"]["definition"], cells(&after)), (&old, cells(&before)));
    // It stays live, though no view of the project reads what it reads.
    produce_some(&mut whole, 150..200);
    let live = whole.until_current().await;
    assert_eq!((&live["answer"]["definition"], &live["answer"]["version"]), (&old, &json!(1)));
    let all =
        json!({ "view": "hourly", "group_by": [], "grain": "all", "measures": ["high", "mean", "dearest"] });
    let (status, answer) = whole.ask(&all).await;
    assert_eq!((status, &answer["data"][0]["dearest"]), (200, &json!("12.50")), "{answer}");

    let second = whole.world.publish().await.manifest;
    let new = whole.until_current().await;
    assert_eq!((&new["answer"]["definition"], &new["answer"]["version"]), (&json!(null), &json!(2)));
    assert_ne!(cells(&new), cells(&live));
    assert!(second.views["hourly"].sql.contains("units >= 0"), "it can be compiled again");
    // A retained version is asked in its own definition.
    let mut as_of = question();
    as_of["as_of"] = json!(1);
    let answer = whole.check(&as_of).await.expect("it is retained");
    assert_eq!(answer["answer"]["definition"], old);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_to_a_version_of_the_old_definition_is_answered_in_it() {
    let mut whole = Whole::start().await;
    produce_some(&mut whole, 0..100);
    whole.world.publish().await;
    whole.define(STREAM, &[CHANGED]).await;
    whole.counts = by_definition;
    produce_some(&mut whole, 100..150);
    whole.world.publish().await;
    whole.until_current().await;
    whole.trim_what_has_landed().await;
    let back = whole.rollback(1).await;
    let answer = whole.until_current().await;
    assert_eq!(answer["answer"]["definition"], json!(back.views["hourly"].hash));
    whole.world.publish().await;
    let answer = whole.until_current().await;
    assert_eq!((&answer["answer"]["definition"], &answer["answer"]["version"]), (&json!(null), &json!(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_means_nothing_any_more_is_passed_over_and_the_new_one_is_live_from_the_origin() {
    let mut whole = Whole::start().await;
    produce_some(&mut whole, 0..100);
    whole.world.publish().await;
    let fewer = STREAM.replace("units  BIGINT,\n  price  DECIMAL(10,2)", "units  BIGINT");
    assert_ne!(fewer, STREAM);
    whole.define(&fewer, &[CHANGED]).await;
    whole.counts = |_, units| units >= 0;
    let answer = live::eventually("the new definition is live", || async {
        let (status, answer) = whole.ask(&question()).await;
        // Partitions are opened one after another, and each is read again from its beginning.
        (status == 200 && answer["answer"]["complete"] == true).then_some(answer)
    });
    let answer = answer.await;
    assert_eq!((&answer["answer"]["version"], &answer["answer"]["definition"]), (&json!(null), &json!(null)));
    whole.check(&question()).await.expect("it goes on answering");
}

#[test]
fn a_definition_is_compiled_again_only_to_what_it_was() {
    let (old, new) = (hourly(STREAM, VIEWS[0]), hourly(STREAM, CHANGED));
    let again = superseded::view(&new, &old.hash, &old.sql).expect("the stream has not changed");
    assert_eq!(
        (&again.hash, again.measures.len()),
        (&old.hash, old.measures.len()),
        "{}",
        invariants::ONE_DEFINITION
    );
    assert!(superseded::is_name(&again.name) && !superseded::is_name(&new.name));
    assert_eq!((superseded::view_of(&again.name), superseded::view_of("hourly")), ("hourly", "hourly"));
    assert!(superseded::view(&new, &new.hash, &new.sql).is_none(), "it is the view's own");
    assert!(superseded::view(&new, &old.hash, "").is_none(), "it was not kept");
    assert!(superseded::view(&new, &old.hash, &new.sql).is_none(), "it is another one");
    // A field has another type now, so the same text means something else.
    let other = hourly(&STREAM.replace("price  DECIMAL(10,2)", "price  DOUBLE"), CHANGED);
    assert!(superseded::view(&other, &old.hash, &old.sql).is_none());
}

#[test]
fn epochs_are_wanted_in_the_definitions_that_versions_hold() {
    let (old, new) = (hourly(STREAM, VIEWS[0]), hourly(STREAM, CHANGED));
    let named = |view: &Arc<View>| BTreeMap::from([(view.name.clone(), view.clone())]);
    let published = |version: u64, at: i64, view: &Arc<View>| {
        Published::from(&live::manifest(version, &live::offsets(&[(0, at)]), &named(view)))
    };
    let mut definitions = Definitions::new(named(&new));
    let mut keys =
        |known: &Known| -> Vec<FoldKey> { definitions.wanted(known, 0).open.into_iter().collect() };
    let at = |offset: i64| Epoch::At(live::offsets(&[(0, offset)]));
    let old_name = superseded::name("hourly", &old.hash);
    let mut known = Known { newest: Some(published(2, 50, &old)), ..Known::default() };
    known.intents = vec![live::intent(3, &live::offsets(&[(0, 90)]), 1)];
    assert_eq!(
        keys(&known),
        [at(50).of(&old_name), at(90).of("hourly")],
        "the run is about to make the new one"
    );
    let known = Known { newest: Some(published(3, 90, &new)), previous: known.newest, intents: Vec::new() };
    assert_eq!(keys(&known), [at(50).of(&old_name), at(90).of("hourly")]);
    let known = Known { newest: Some(published(4, 99, &new)), previous: known.newest, intents: Vec::new() };
    assert_eq!(keys(&known), [at(90).of("hourly"), at(99).of("hourly")], "nobody answers in the old one");
    assert_eq!(known.newest.map(|newest| newest.version), Some(Version(4)));
}
