//! When batch runs are due: cron expressions and their time zones as points in time.
//!
//! A schedule means the same here and in a system's cron: five fields, and of their notations only those that
//! every cron knows. There is no clock in here: `now` is always given.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::view::Schedule;

/// The schedules of a stream's views taken together: a run makes all of its views anew, so whichever is due, one run serves all.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    times: Vec<(Cron, Tz)>,
}

/// What to do at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A time has passed since the last run began.
    Now,
    /// The next time lies here (milliseconds since 1970-01-01).
    At(i64),
    /// Nothing is scheduled.
    Never,
}

impl Calendar {
    /// On a mistake says what was found and what is expected.
    pub fn of<'a>(schedules: impl IntoIterator<Item = &'a Schedule>) -> Result<Calendar, String> {
        let times = schedules.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Calendar { times })
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Whether a run is due `now`, given when the last one began. Times that passed together are one run.
    pub fn due(&self, last_began_ms: i64, now_ms: i64) -> Due {
        if self.previous(now_ms).is_some_and(|due| due > last_began_ms) {
            return Due::Now;
        }
        self.next(now_ms).map_or(Due::Never, Due::At)
    }

    /// The latest due time that is not after `now_ms`.
    pub fn previous(&self, now_ms: i64) -> Option<i64> {
        let now = DateTime::<Utc>::from_timestamp_millis(now_ms)?;
        let times = self
            .times
            .iter()
            .filter_map(|(cron, zone)| cron.find_previous_occurrence(&now.with_timezone(zone), true).ok());
        times.map(|time| time.timestamp_millis()).max()
    }

    /// The first due time after `now_ms`.
    pub fn next(&self, now_ms: i64) -> Option<i64> {
        let now = DateTime::<Utc>::from_timestamp_millis(now_ms)?;
        let times = self
            .times
            .iter()
            .filter_map(|(cron, zone)| cron.find_next_occurrence(&now.with_timezone(zone), false).ok());
        times.map(|time| time.timestamp_millis()).min()
    }
}

fn parse(schedule: &Schedule) -> Result<(Cron, Tz), String> {
    let zone = &schedule.time_zone;
    let zone: Tz = zone
        .parse()
        .map_err(|_| format!("unknown time zone '{zone}', expected an IANA name such as Europe/Berlin"))?;
    Ok((cron(&schedule.cron)?, zone))
}

/// A cron expression, in the notations that every cron knows.
pub(crate) fn cron(text: &str) -> Result<Cron, String> {
    let fields = text.split_whitespace().count();
    if !NICKNAMES.contains(&text) {
        if fields != 5 {
            return Err(format!(
                "schedule '{text}' has {fields} fields, expected five: minute hour day month weekday"
            ));
        }
        let numbers = NAMES.iter().fold(text.to_lowercase(), |text, name| text.replace(name, "1"));
        if let Some(other) =
            numbers.chars().find(|letter| !(letter.is_ascii_digit() || " ,-*/".contains(*letter)))
        {
            return Err(format!(
                "schedule '{text}': found '{other}', expected numbers, names of months and weekdays, and * , - /"
            ));
        }
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| format!("schedule '{text}': {error}"))
}

const NICKNAMES: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

const NAMES: [&str; 19] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun", "mon", "tue",
    "wed", "thu", "fri", "sat",
];
