//! What the speed layer decides, case by case: events and times in, commands out, and nothing in between.

use std::sync::Arc;
use std::time::Duration;

use ::support::live::{self, HOURLY};
use watershed_schemas::invariants;
use watershed_schemas::log::{LogError, NotNext, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_speed::following::{Command, Event, Following};
use watershed_speed::opening::Found;
use watershed_speed::replaying::{Missing, ReplayError, Replaying};
use watershed_speed::stretch::Refused;
use watershed_speed::wanted::{Known, Published, Wanted, wanted};

const RETRY: Duration = Duration::from_millis(100);

/// What happens to a follower, and what it asks for in turn.
struct Story {
    following: Following,
}

impl Story {
    fn new() -> Self {
        Story { following: Following::new(live::views(&live::project(&[HOURLY])), RETRY) }
    }

    /// A follower of partition 0, opened at the log's start, which is 0.
    fn open() -> Self {
        let mut story = Story::new();
        story.at(0, heed(None), &["heed", "replay"]);
        story.at(0, Event::Assigned(vec![Partition(0)]), &["await 0", "look 0 #1"]);
        story.at(0, looked(1, range(0, 50)), &["open 0 at 0"]);
        story.at(0, started(), &["replay"]);
        story
    }

    #[track_caller]
    fn at(&mut self, milliseconds: u64, event: Event, expected: &[&str]) {
        let told = format!("{event:?}");
        let commands = self.following.on(event, Duration::from_millis(milliseconds));
        let commands: Vec<String> = commands.iter().map(shown).collect();
        assert_eq!(commands, expected, "at {milliseconds} ms, {told}");
    }
}

/// A command in few words; of a reason only what comes before the first colon and comma.
pub fn shown(command: &Command) -> String {
    let list = |partitions: &[Partition]| {
        partitions.iter().map(Partition::to_string).collect::<Vec<_>>().join(" and ")
    };
    let brief = |reason: &str| reason.split([':', ',']).next().unwrap_or_default().to_string();
    match command {
        Command::Await(partition) => format!("await {partition}"),
        Command::Look { partition, look } => format!("look {partition} #{look}"),
        Command::Open(epochs) => format!("open {} at {}", epochs.partition(), epochs.live()),
        Command::Start { partition, live } => format!("start {partition} at {live}"),
        Command::Fold(runs) => {
            let shown = runs.iter().map(|run| format!("{} {}", run.partition, run.range()));
            format!("fold {}", shown.collect::<Vec<_>>().join(" and "))
        }
        Command::Heed(_) => "heed".to_string(),
        Command::Stick { partition, reason } => format!("stick {partition}: {}", brief(reason)),
        Command::Release(partitions) => format!("release {}", list(partitions)),
        Command::Replay => "replay".to_string(),
        Command::Tell(source, Some(trouble)) => format!("{source:?} in trouble: {}", brief(trouble)),
        Command::Tell(source, None) => format!("{source:?} well"),
        Command::Pause(pause) => format!("pause {pause:?}"),
    }
}

/// The folds that are wanted when the newest version's watershed is this, or when there is no version.
fn heed(watershed: Option<i64>) -> Event {
    Event::Wanted(Arc::new(folds_at(watershed)))
}

fn folds_at(watershed: Option<i64>) -> Wanted {
    let views = live::views(&live::project(&[HOURLY]));
    let hashes = views.iter().map(|(name, view)| (name.clone(), view.hash.clone())).collect();
    let manifest = |offset| live::manifest(1, &live::offsets(&[(0, offset)]), &views);
    let newest = watershed.map(|offset| Published::from(&manifest(offset)));
    wanted(&hashes, &Known { newest, ..Known::default() }, 0)
}

fn looked(look: u64, held: OffsetRange) -> Event {
    let found = Found { partition: Partition(0), held, topic_id: None, checkpoints: Vec::new() };
    Event::Looked { partition: Partition(0), look, found: Ok(found) }
}

fn started() -> Event {
    Event::Started { partition: Partition(0), result: Ok(()) }
}

fn not_started() -> Event {
    Event::Started { partition: Partition(0), result: Err(away()) }
}

fn away() -> LogError {
    LogError::Unavailable { brokers: "memory".to_string(), reason: "away".to_string() }
}

fn folded(live: i64) -> Event {
    Event::Folded { partition: Partition(0), live: Offset(live) }
}

fn range(from: i64, until: i64) -> OffsetRange {
    OffsetRange::new(Offset(from), Offset(until))
}

/// What a reader that stood at `from` found nothing in, up to `position`.
fn records(from: i64, position: i64) -> Records {
    let mut records = Records::new(Partition(0), Offset(from));
    records.position = position;
    records
}

fn delivered(from: i64, position: i64) -> Event {
    Event::Delivered(vec![records(from, position)])
}

#[test]
fn of_what_is_delivered_together_each_run_is_judged_on_its_own() {
    let mut story = Story::open();
    let other = |from, position| {
        let mut records = records(from, position);
        records.partition = 1;
        records
    };
    // One of a partition that is not ours any more, one that comes next, and one that does not.
    story.at(1, Event::Delivered(vec![other(0, 5), records(0, 10)]), &["fold 0 [0, 10)"]);
    story.at(1, folded(10), &[]);
    story.at(2, Event::Assigned(vec![Partition(1)]), &["await 1", "look 1 #2"]);
    let found =
        Found { partition: Partition(1), held: range(0, 50), topic_id: None, checkpoints: Vec::new() };
    story.at(2, Event::Looked { partition: Partition(1), look: 2, found: Ok(found) }, &["open 1 at 0"]);
    story.at(2, Event::Started { partition: Partition(1), result: Ok(()) }, &["replay"]);
    story.at(3, Event::Delivered(vec![other(0, 5), records(10, 20)]), &["fold 1 [0, 5) and 0 [10, 20)"]);
    story.at(3, folded(20), &[]);
    story.at(3, Event::Folded { partition: Partition(1), live: Offset(5) }, &[]);
    let astray = Event::Delivered(vec![records(25, 30), other(5, 9)]);
    story.at(4, astray, &["Partition(Partition(0)) in trouble: invariant cover", "fold 1 [5, 9)"]);
}

#[test]
fn a_partition_is_looked_up_and_opened_and_followed_from_where_its_folds_end() {
    let mut story = Story::new();
    story.at(0, Event::Subscribed, &["Log well"]);
    story.at(0, heed(Some(20)), &["heed", "replay"]);
    story.at(1, Event::Assigned(vec![Partition(0)]), &["await 0", "look 0 #1"]);
    assert!(story.following.is_opening());
    story.at(2, delivered(0, 9), &[]);
    story.at(3, looked(1, range(5, 50)), &["open 0 at 20"]);
    story.at(4, started(), &["replay"]);
    assert!(!story.following.is_opening());
    story.at(5, delivered(20, 30), &["fold 0 [20, 30)"]);
    story.at(5, folded(30), &[]);
    story.at(6, delivered(30, 31), &["fold 0 [30, 31)"]);
    story.at(7, Event::Revoked(vec![Partition(0)]), &["release 0"]);
    story.at(8, delivered(31, 32), &[]);
}

#[test]
fn nothing_is_opened_before_it_is_known_what_is_wanted() {
    let mut story = Story::new();
    story.at(0, Event::Assigned(vec![Partition(0)]), &["await 0", "look 0 #1"]);
    story.at(1, looked(1, range(0, 50)), &[]);
    story.at(200, Event::Tick, &[]);
    assert!(story.following.is_opening());
    story.at(300, heed(Some(7)), &["heed", "replay", "open 0 at 7"]);
}

#[test]
fn a_look_that_an_earlier_assignment_asked_for_is_not_heeded() {
    let mut story = Story::new();
    story.at(0, heed(None), &["heed", "replay"]);
    story.at(0, Event::Assigned(vec![Partition(0)]), &["await 0", "look 0 #1"]);
    story.at(1, Event::Revoked(vec![Partition(0)]), &["release 0"]);
    story.at(2, looked(1, range(0, 50)), &[]);
    story.at(3, Event::Assigned(vec![Partition(0)]), &["await 0", "look 0 #2"]);
    story.at(4, looked(1, range(0, 50)), &[]);
    story.at(5, looked(2, range(3, 50)), &["open 0 at 3"]);
    story.at(6, looked(2, range(4, 50)), &[]);
}

#[test]
fn a_delivery_that_begins_elsewhere_is_not_folded_and_the_position_is_asked_for_again() {
    for elsewhere in [(3, 5), (5, 6), (11, 15), (11, 11), (0, 10)] {
        let mut story = Story::open();
        story.at(1, delivered(0, 10), &["fold 0 [0, 10)"]);
        story.at(1, folded(10), &[]);
        let refused = format!("Partition(Partition(0)) in trouble: invariant {}", invariants::COVER);
        story.at(2, delivered(elsewhere.0, elsewhere.1), &[refused.as_str()]);
        // Even what would fit is not trusted before the log has been asked.
        story.at(3, delivered(10, 12), &[]);
        story.at(101, Event::Tick, &[]);
        story.at(102, Event::Tick, &["start 0 at 10"]);
        story.at(103, started(), &["Partition(Partition(0)) well"]);
        story.at(104, delivered(10, 12), &["fold 0 [10, 12)"]);
    }
}

#[test]
fn a_delivery_that_the_folds_refuse_is_asked_for_again() {
    let mut story = Story::open();
    story.at(1, delivered(0, 10), &["fold 0 [0, 10)"]);
    let refused = Refused::OtherPartition { expected: Partition(0), found: Partition(1) };
    let trouble = format!("Partition(Partition(0)) in trouble: invariant {}", invariants::COVER);
    story.at(1, Event::Refused { partition: Partition(0), refused }, &[trouble.as_str()]);
    story.at(101, Event::Tick, &["start 0 at 0"]);
}

#[test]
fn an_empty_delivery_is_folded_too_for_it_moves_the_position_over_a_hole() {
    let mut story = Story::open();
    story.at(1, delivered(0, 40), &["fold 0 [0, 40)"]);
    story.at(1, folded(40), &[]);
    story.at(2, delivered(40, 41), &["fold 0 [40, 41)"]);
}

#[test]
fn a_log_that_holds_more_and_delivers_nothing_for_long_is_asked_again() {
    let mut story = Story::open();
    let ends = |end| Event::Ends(live::offsets(&[(0, end)]));
    story.at(1, ends(0), &[]);
    story.at(10, ends(5), &[]);
    story.at(1_009, ends(9), &[]);
    story.at(1_010, Event::Tick, &["start 0 at 0"]);
    story.at(1_010, started(), &["Partition(Partition(0)) well"]);
    // Patience begins anew with the next news, and ends with whatever is folded.
    story.at(1_020, ends(9), &[]);
    story.at(2_019, delivered(0, 4), &["fold 0 [0, 4)"]);
    story.at(2_019, folded(4), &[]);
    story.at(2_020, Event::Tick, &[]);
    story.at(2_100, ends(9), &[]);
    story.at(3_099, delivered(4, 9), &["fold 0 [4, 9)"]);
    story.at(3_099, folded(9), &[]);
    // News from before is no reason, nor is a log that ends where it was folded to.
    story.at(3_100, ends(5), &[]);
    story.at(3_200, ends(9), &[]);
    story.at(5_000, Event::Tick, &[]);
    // What is asked again anyway is not asked twice.
    story.at(5_100, ends(12), &[]);
    let trouble = format!("Partition(Partition(0)) in trouble: invariant {}", invariants::COVER);
    story.at(6_050, delivered(11, 12), &[trouble.as_str()]);
    story.at(6_100, Event::Tick, &[]);
    story.at(6_150, Event::Tick, &["start 0 at 9"]);
    story.at(6_151, Event::Tick, &[]);
}

#[test]
fn an_offset_that_the_log_holds_after_all_is_asked_for_again_and_the_folds_stay() {
    let mut story = Story::open();
    let claimed = || Event::OutOfRange { partition: Partition(0), needed: Offset(0), held: range(0, 50) };
    story.at(1, claimed(), &[]);
    story.at(101, Event::Tick, &["start 0 at 0"]);
    story.at(102, not_started(), &["Partition(Partition(0)) in trouble: kafka at memory"]);
    story.at(103, delivered(0, 1), &[]);
    story.at(202, Event::Tick, &["start 0 at 0"]);
    story.at(202, started(), &["Partition(Partition(0)) well"]);
    story.at(203, delivered(0, 1), &["fold 0 [0, 1)"]);
}

#[test]
fn an_offset_that_the_log_has_lost_stops_the_partition_until_it_can_be_opened_without_a_hole() {
    let mut story = Story::open();
    let lost = Event::OutOfRange { partition: Partition(0), needed: Offset(0), held: range(30, 50) };
    story.at(1, lost, &["stick 0: gap at partition 0"]);
    assert!(!story.following.is_opening(), "it waits for nothing that is about to come");
    story.at(2, delivered(0, 10), &[]);
    story.at(100, Event::Tick, &[]);
    story.at(101, Event::Tick, &["look 0 #2"]);
    // A version says that its folds need what the log lost, then one that they do not.
    story.at(102, heed(Some(20)), &["heed", "replay"]);
    story.at(103, looked(2, range(30, 50)), &["stick 0: gap at partition 0"]);
    story.at(104, heed(Some(40)), &["heed", "replay", "look 0 #3"]);
    story.at(105, looked(3, range(30, 50)), &["open 0 at 40"]);
}

#[test]
fn a_partition_that_cannot_be_looked_up_or_started_is_tried_again() {
    let mut story = Story::new();
    story.at(0, heed(None), &["heed", "replay"]);
    story.at(0, Event::Assigned(vec![Partition(0)]), &["await 0", "look 0 #1"]);
    let failed = Event::Looked { partition: Partition(0), look: 1, found: Err("store away".to_string()) };
    story.at(1, failed, &["stick 0: store away"]);
    story.at(101, Event::Tick, &["look 0 #2"]);
    story.at(102, looked(2, range(0, 50)), &["open 0 at 0"]);
    story.at(103, not_started(), &["stick 0: kafka at memory"]);
    story.at(203, Event::Tick, &["look 0 #3"]);
}

#[test]
fn folds_that_were_left_half_way_answer_no_more_and_are_made_anew() {
    let mut story = Story::open();
    let broken =
        |partition| Event::Broken { partition: Partition(partition), reason: "broke off".to_string() };
    story.at(1, broken(7), &[]);
    story.at(1, broken(0), &["stick 0: broke off"]);
    story.at(101, Event::Tick, &["look 0 #2"]);
}

#[test]
fn a_failing_log_is_left_alone_for_longer_and_longer_until_it_is_heard_of_again() {
    let mut story = Story::open();
    let trouble = "Log in trouble: kafka at memory";
    for (at, pause) in [(0, "pause 20ms"), (20, "pause 40ms"), (60, "pause 80ms"), (140, "pause 100ms")] {
        story.at(at, Event::Failed(away()), &[trouble, pause]);
    }
    // Silence is not news, unless the log has answered since by another way.
    let idle = |answered_at| Event::Idle { answered_at: Duration::from_millis(answered_at) };
    story.at(240, idle(140), &[]);
    story.at(250, idle(141), &["Log well"]);
    story.at(260, idle(141), &[]);
    story.at(270, Event::Failed(away()), &[trouble, "pause 20ms"]);
    story.at(290, delivered(0, 1), &["Log well", "fold 0 [0, 1)"]);
}

#[test]
fn a_node_is_current_only_when_all_its_partitions_are_open_and_at_the_end() {
    let mut story = Story::open();
    let reached = |story: &Story, end| story.following.has_reached(&live::offsets(&[(0, end)]));
    assert!(reached(&story, 0) && !reached(&story, 1));
    story.at(1, delivered(0, 10), &["fold 0 [0, 10)"]);
    assert!(!reached(&story, 10), "what is not folded is not claimed");
    story.at(1, folded(10), &[]);
    assert!(reached(&story, 10) && !reached(&story, 11));
    story.at(2, Event::Assigned(vec![Partition(1)]), &["await 1", "look 1 #2"]);
    assert!(!reached(&story, 10), "another partition is still being opened");
    story.at(3, Event::Revoked(vec![Partition(0), Partition(1)]), &["release 0 and 1"]);
    assert!(story.following.has_reached(&Offsets::new()));
}

fn missing(partition: i32, from: i64, until: i64) -> Missing {
    Missing { partition: Partition(partition), range: range(from, until) }
}

#[test]
fn the_shortest_missing_range_is_replayed_first_and_one_that_fails_is_put_off() {
    let mut replaying = Replaying::new(RETRY);
    let (long, short, other) = (missing(0, 0, 50), missing(1, 10, 20), missing(2, 5, 35));
    let at = Duration::from_millis;
    let all = [long, short, other];
    assert_eq!(replaying.next(all, at(0)), Some(short));
    replaying.failed(&short, at(0));
    assert_eq!(replaying.next(all, at(1)), Some(other));
    replaying.failed(&other, at(1));
    assert_eq!(replaying.next(all, at(2)), Some(long));
    replaying.failed(&long, at(2));
    assert_eq!(replaying.next(all, at(99)), None);
    assert_eq!(replaying.next(all, at(100)), Some(short));
    // What lies behind a range that was put off is another range.
    replaying.failed(&short, at(100));
    assert_eq!(replaying.next([missing(1, 15, 20)], at(101)), Some(missing(1, 15, 20)));
    assert_eq!(replaying.next([], at(102)), None);
}

#[test]
fn a_read_that_begins_elsewhere_is_not_replayed() {
    let mut replaying = Replaying::new(RETRY);
    let wanted = missing(0, 10, 20);
    for found in [range(12, 20), range(9, 20), range(20, 20)] {
        let read = replaying.read(&wanted, &records(found.from.0, found.until.0), Duration::ZERO);
        let expected = NotNext { partition: Partition(0), expected: Offset(10), found };
        match read.expect_err("it begins elsewhere") {
            ReplayError::Refused(Refused::NotNext(refused)) => assert_eq!(refused, expected),
            other => panic!("{other}"),
        }
    }
    let read = replaying.read(&wanted, &records(10, 14), Duration::ZERO);
    assert_eq!(read.expect("it comes next"), Some(range(10, 14)));
}

#[test]
fn a_range_of_which_nothing_comes_is_given_up_in_the_end() {
    let mut replaying = Replaying::new(RETRY);
    let (wanted, other, at) = (missing(0, 10, 20), missing(1, 10, 20), Duration::from_millis);
    let mut read = |of: &Missing, position: i64, milliseconds: u64| {
        let mut records = records(of.range.from.0, position);
        records.partition = of.partition.0;
        replaying.read(of, &records, at(milliseconds))
    };
    assert_eq!(read(&wanted, 10, 5).expect("it may yet come"), None);
    assert_eq!(read(&wanted, 10, 1_004).expect("it may yet come"), None);
    let silent = read(&wanted, 10, 1_005).expect_err("it never comes");
    assert!(matches!(silent, ReplayError::Silent { from: Offset(10) }), "{silent}");
    // Patience begins anew elsewhere, and behind whatever came.
    assert_eq!(read(&other, 10, 1_006).expect("it may yet come"), None);
    assert_eq!(read(&other, 11, 1_007).expect("it came"), Some(range(10, 11)));
    assert_eq!(read(&other, 10, 2_500).expect("it may yet come"), None);
}
