//! What is produced and asked, and the oracle: plain counting, with nothing of the platform in it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use ::support::live;
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_schemas::project::Project;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;

use super::fate::Fate;
use super::fault::Fault;

pub const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// 2026-03-01T00:00:00Z, in microseconds.
pub const FIRST_DAY: i64 = 1_772_323_200_000_000;
pub const CITIES: [&str; 4] = ["Lima", "Nowhere", "Oslo", "Pune"];
pub const VIEWS: [&str; 2] = ["rides_hourly", "rides_daily"];

const HOURLY: &str = "CREATE MATERIALIZED VIEW rides_hourly AS
SELECT city, tumble(at, INTERVAL '1 hour') AS hour,
       count(*) AS rides, sum(seconds) AS seconds, min(seconds) AS shortest, max(seconds) AS longest
FROM rides GROUP BY city, hour;";

/// The cities that the daily view leaves out, by definition.
const LEFT_OUT: [&str; 2] = ["Nowhere", "Oslo"];

/// What a process was started with: views differ between definitions.
#[derive(Clone, Debug)]
pub struct Definition {
    pub number: usize,
    pub project: Arc<Project>,
    pub views: BTreeMap<String, Arc<View>>,
}

/// The definitions there are. They are read once.
pub fn definition(number: usize) -> Definition {
    static READ: OnceLock<Vec<Definition>> = OnceLock::new();
    let read = READ.get_or_init(|| {
        let definition = |(number, city): (usize, &&str)| {
            let daily = format!(
                "CREATE MATERIALIZED VIEW rides_daily AS
                 SELECT tumble(at, INTERVAL '1 day') AS day, count(seconds) AS timed, sum(seconds) AS seconds
                 FROM rides WHERE city <> '{city}' GROUP BY day;"
            );
            let project = live::project(&[HOURLY, &daily]);
            Definition { number, views: live::views(&project), project: Arc::new(project) }
        };
        LEFT_OUT.iter().enumerate().map(definition).collect()
    });
    read[number].clone()
}

/// The definition in which a view has this hash.
pub fn defined(view: &str, hash: &str) -> Option<Definition> {
    (0..definitions()).map(definition).find(|of| of.views[view].hash == hash)
}

pub fn definitions() -> usize {
    LEFT_OUT.len()
}

/// A ride, or what could not become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ride {
    pub at: i64,
    pub city: &'static str,
    pub seconds: Option<i64>,
}

impl Ride {
    pub fn random(fate: &Fate) -> Ride {
        let day = if fate.fault(Fault::LateRecord, 7) { 0 } else { 1 };
        let minutes = fate.within(0..6 * 60);
        let seconds = (!fate.one_in(9)).then(|| fate.within(-100..5_000));
        let at = FIRST_DAY + day * DAY + minutes * 60_000_000;
        Ride { at, city: CITIES[fate.below(CITIES.len())], seconds }
    }

    pub fn payload(&self) -> String {
        let minutes = (self.at - FIRST_DAY) / 60_000_000;
        let (day, hour, minute) = (1 + minutes / 1_440, minutes / 60 % 24, minutes % 60);
        let seconds = self.seconds.map_or("null".to_string(), |seconds| seconds.to_string());
        format!(
            r#"{{"at":"2026-03-0{day}T{hour:02}:{minute:02}:00Z","city":"{}","driver":null,"seconds":{seconds}}}"#,
            self.city
        )
    }
}

/// What a partition ever held: retention does not reach it.
pub type History = Vec<(Offset, Option<Ride>)>;

/// How many rides and how many other records lie in these ranges.
pub fn count(history: &History, ranges: &[OffsetRange]) -> (u64, u64) {
    let within = history.iter().filter(|(offset, _)| ranges.iter().any(|range| range.contains(*offset)));
    within.fold((0, 0), |(rides, others), (_, ride)| match ride {
        Some(_) => (rides + 1, others),
        None => (rides, others + 1),
    })
}

/// A question about a view.
#[derive(Clone, Debug)]
pub struct Question {
    pub view: &'static str,
    pub definition: usize,
    /// Windows that start in here.
    pub windows: Option<(i64, i64)>,
    /// This city only, or every other one. Of the hourly view.
    pub city: Option<(&'static str, bool)>,
    /// All windows as one.
    pub folded: bool,
    /// Whether cities are told apart. Of the hourly view.
    pub by_city: bool,
}

impl Question {
    /// All that a view says.
    pub fn whole(view: &'static str, definition: usize) -> Question {
        Question { view, definition, windows: None, city: None, folded: false, by_city: true }
    }

    pub fn random(definition: usize, fate: &Fate) -> Question {
        let view = VIEWS[fate.below(VIEWS.len())];
        let mut question = Question::whole(view, definition);
        if fate.one_in(3) {
            let from = FIRST_DAY + fate.within(0..30) * HOUR;
            question.windows = Some((from, from + fate.within(1..30) * HOUR));
        }
        question.folded = fate.one_in(3);
        if view == VIEWS[0] {
            question.by_city = !fate.one_in(3);
            question.city = fate.one_in(3).then(|| (CITIES[fate.below(CITIES.len())], fate.one_in(2)));
        }
        question
    }

    /// What the answer must say if it is made of these ranges: window, city and measures, in this order.
    pub fn answer(&self, of: &BTreeMap<Partition, (&History, Vec<OffsetRange>)>) -> Vec<Vec<Value>> {
        let hourly = self.view == VIEWS[0];
        let mut groups: BTreeMap<(i64, &str), Counted> = BTreeMap::new();
        let records = of.values().flat_map(|(history, ranges)| {
            let within = |offset: Offset| ranges.iter().any(|range| range.contains(offset));
            history.iter().filter(move |(offset, _)| within(*offset))
        });
        for ride in records.filter_map(|(_, ride)| *ride) {
            let length = if hourly { HOUR } else { DAY };
            let start = ride.at - ride.at.rem_euclid(length);
            let passes = match hourly {
                true => self.city.is_none_or(|(city, only)| (ride.city == city) == only),
                false => ride.city != LEFT_OUT[self.definition],
            };
            let within = self.windows.is_none_or(|(from, until)| from <= start && start < until);
            if passes && within {
                let bucket = if self.folded { 0 } else { start };
                let city = if hourly && self.by_city { ride.city } else { "" };
                groups.entry((bucket, city)).or_default().add(ride.seconds);
            }
        }
        groups.into_iter().map(|(key, counted)| self.row(key, &counted, hourly)).collect()
    }

    fn row(&self, (bucket, city): (i64, &str), counted: &Counted, hourly: bool) -> Vec<Value> {
        let mut row = Vec::new();
        if !self.folded {
            row.push(Value::Timestamp(bucket));
        }
        if hourly && self.by_city {
            row.push(Value::Text(city.into()));
        }
        let number = |value: Option<i64>| value.map_or(Value::Null, Value::Integer);
        let sum = number((counted.timed > 0).then_some(counted.seconds));
        match hourly {
            true => row.extend([
                Value::Integer(counted.rides),
                sum,
                number(counted.shortest),
                number(counted.longest),
            ]),
            false => row.extend([Value::Integer(counted.timed), sum]),
        }
        row
    }
}

#[derive(Default)]
struct Counted {
    rides: i64,
    timed: i64,
    seconds: i64,
    shortest: Option<i64>,
    longest: Option<i64>,
}

impl Counted {
    fn add(&mut self, seconds: Option<i64>) {
        self.rides += 1;
        let Some(seconds) = seconds else { return };
        self.timed += 1;
        self.seconds += seconds;
        self.shortest = Some(self.shortest.map_or(seconds, |shortest| shortest.min(seconds)));
        self.longest = Some(self.longest.map_or(seconds, |longest| longest.max(seconds)));
    }
}
