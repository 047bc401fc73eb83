//! When batch runs are due.

use chrono::DateTime;
use watershed_schemas::schedule::{Calendar, Due};
use watershed_schemas::view::Schedule;

fn calendar(schedules: &[(&str, &str)]) -> Result<Calendar, String> {
    let schedules: Vec<Schedule> = (schedules.iter())
        .map(|(cron, zone)| Schedule { cron: cron.to_string(), time_zone: zone.to_string() })
        .collect();
    Calendar::of(&schedules)
}

fn ms(time: &str) -> i64 {
    DateTime::parse_from_rfc3339(time).expect("a time").timestamp_millis()
}

#[test]
fn a_time_that_passed_since_the_last_run_is_due_now() {
    let hourly = calendar(&[("0 * * * *", "UTC")]).expect("a schedule");
    let due = hourly.due(ms("2026-03-01T10:30:00Z"), ms("2026-03-01T11:00:00Z"));
    assert_eq!(due, Due::Now);
}

#[test]
fn a_run_that_began_at_the_due_time_is_not_repeated() {
    let hourly = calendar(&[("0 * * * *", "UTC")]).expect("a schedule");
    let due = hourly.due(ms("2026-03-01T11:00:00Z"), ms("2026-03-01T11:00:00.500Z"));
    assert_eq!(due, Due::At(ms("2026-03-01T12:00:00Z")));
}

#[test]
fn many_missed_times_are_one_run() {
    let often = calendar(&[("*/5 * * * *", "UTC"), ("0 3 * * *", "UTC")]).expect("schedules");
    let now = ms("2026-03-05T12:02:00Z");
    assert_eq!(often.due(ms("2026-03-01T00:00:00Z"), now), Due::Now);
    assert_eq!(often.due(now, now), Due::At(ms("2026-03-05T12:05:00Z")));
}

#[test]
fn the_earliest_of_several_schedules_decides() {
    let both = calendar(&[("0 6 * * *", "UTC"), ("30 5 * * *", "UTC")]).expect("schedules");
    assert_eq!(both.next(ms("2026-03-05T00:00:00Z")), Some(ms("2026-03-05T05:30:00Z")));
    assert_eq!(both.previous(ms("2026-03-05T05:59:00Z")), Some(ms("2026-03-05T05:30:00Z")));
}

#[test]
fn times_follow_the_zone_through_daylight_saving() {
    let morning = calendar(&[("30 6 * * *", "Europe/Berlin")]).expect("a schedule");
    assert_eq!(morning.next(ms("2026-03-28T06:00:00Z")), Some(ms("2026-03-29T04:30:00Z")));
    assert_eq!(morning.next(ms("2026-10-24T06:00:00Z")), Some(ms("2026-10-25T05:30:00Z")));
}

#[test]
fn a_time_that_the_clock_skips_or_repeats_is_due_once() {
    let night = calendar(&[("30 2 * * *", "Europe/Berlin")]).expect("a schedule");
    for (from, until) in
        [("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z")]
    {
        let (mut at, until, mut times) = (ms(from), ms(until), 0);
        while let Some(next) = night.next(at).filter(|next| *next < until) {
            times += 1;
            at = next;
        }
        assert_eq!(times, 1, "between {from} and {until}");
    }
}

#[test]
fn a_day_that_never_comes_is_never_due() {
    let never = calendar(&[("0 0 31 2 *", "UTC")]).expect("a schedule");
    assert_eq!(never.due(0, ms("2026-03-01T00:00:00Z")), Due::Never);
    assert_eq!(Calendar::default().due(0, ms("2026-03-01T00:00:00Z")), Due::Never);
}

#[test]
fn only_what_every_cron_knows_is_a_schedule() {
    for (cron, zone, word) in [
        ("* * * *", "UTC", "expected five"),
        ("0 0 * * * *", "UTC", "expected five"),
        ("@reboot", "UTC", "expected five"),
        ("0 0 L * *", "UTC", "found 'l'"),
        ("61 * * * *", "UTC", "61 * * * *"),
        ("0 0 * * *", "Mars/Olympus", "time zone"),
    ] {
        let problem = calendar(&[(cron, zone)]).expect_err(cron);
        assert!(problem.contains(word), "{cron}: {problem}");
    }
    calendar(&[("@daily", "UTC")]).expect("a nickname");
    calendar(&[("0,30 9-17/2 1 jan,JUL mon-fri", "America/New_York")])
        .expect("names, lists, ranges and steps");
}
