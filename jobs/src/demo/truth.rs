//! What an answer over `flight_delays` must say, by plain loops over the flights: nothing here is the product's.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde_json::{Value, json};

use super::sample::Flight;

const HOUR: i64 = 3_600_000_000;
/// Averages may differ by what the order of addition costs.
const ROUNDING: f64 = 1e-9;
/// A distinct count lies within its bound most of the time; it lies within this many bounds practically always.
const DISTINCT_BOUNDS: f64 = 3.0;

/// A question, and how to answer it without the product.
pub struct Question {
    pub name: &'static str,
    pub grain: Grain,
    /// The dimensions asked for, in this order.
    pub by: Vec<Dimension>,
    /// Only these carriers; empty for all.
    pub carriers: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    Hour,
    Day,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    Carrier,
    Origin,
}

impl Dimension {
    fn name(self) -> &'static str {
        match self {
            Dimension::Carrier => "carrier",
            Dimension::Origin => "origin",
        }
    }
}

/// A row's window (microseconds; 0 where time is folded away) and dimension values.
type Key = (i64, Vec<String>);

#[derive(Default)]
struct Cell<'a> {
    flights: u64,
    late: u64,
    delays: Vec<f64>,
    aircraft: BTreeSet<&'a str>,
    destinations: BTreeMap<&'a str, u64>,
}

impl Question {
    pub fn body(&self) -> Value {
        let grain = match self.grain {
            Grain::Hour => "1 hour",
            Grain::Day => "1 day",
            Grain::All => "all",
        };
        let by: Vec<&str> = self.by.iter().map(|dimension| dimension.name()).collect();
        let mut body = json!({ "view": "flight_delays", "grain": grain, "group_by": by });
        if !self.carriers.is_empty() {
            body["where"] = json!({ "carrier": self.carriers });
        }
        body
    }

    fn cells<'a>(&self, flights: &[&'a Flight]) -> BTreeMap<Key, Cell<'a>> {
        let mut cells: BTreeMap<Key, Cell<'a>> = BTreeMap::new();
        for flight in flights {
            if !self.carriers.is_empty() && !self.carriers.contains(&flight.carrier.as_str()) {
                continue;
            }
            let window = match self.grain {
                Grain::Hour => flight.time_hour - flight.time_hour.rem_euclid(HOUR),
                Grain::Day => flight.time_hour - flight.time_hour.rem_euclid(24 * HOUR),
                Grain::All => 0,
            };
            let dimension = |dimension: &Dimension| match dimension {
                Dimension::Carrier => flight.carrier.clone(),
                Dimension::Origin => flight.origin.clone(),
            };
            let cell = cells.entry((window, self.by.iter().map(dimension).collect())).or_default();
            cell.flights += 1;
            cell.late += u64::from(flight.dep_delay.is_some_and(|delay| delay > 15.0));
            cell.delays.extend(flight.dep_delay);
            cell.aircraft.extend(flight.tailnum.as_deref());
            *cell.destinations.entry(&flight.dest).or_default() += 1;
        }
        cells
    }

    /// Everything in an answer that is not what the flights say. Also gives the number of cells compared.
    pub fn check(&self, answer: &Value, flights: &[&Flight]) -> (usize, Vec<String>) {
        let mut cells = self.cells(flights);
        let mut wrong = Vec::new();
        let mut compared = 0;
        let bounds = Bounds::of(answer);
        for row in answer["data"].as_array().into_iter().flatten() {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_string();
            let window = match self.grain {
                Grain::All => 0,
                _ => DateTime::parse_from_rfc3339(&text("hour"))
                    .map_or(i64::MIN, |time| time.timestamp_micros()),
            };
            let key: Key = (window, self.by.iter().map(|dimension| text(dimension.name())).collect());
            let Some(mut cell) = cells.remove(&key) else {
                wrong.push(format!("{}: row {row} has no flights, or comes twice", self.name));
                continue;
            };
            for (measure, holds, expected) in cell.verdicts(row, &bounds) {
                compared += 1;
                if !holds {
                    wrong.push(format!(
                        "{}: {key:?}: {measure} is {}, expected {expected}",
                        self.name, row[measure]
                    ));
                }
            }
        }
        wrong.extend(cells.keys().map(|key| format!("{}: row {key:?} is missing", self.name)));
        (compared, wrong)
    }
}

/// By sketched measure: how wrong the answer says that it may be. 0 is exact.
struct Bounds {
    p95_delay: f64,
    aircraft: f64,
    busiest: f64,
}

impl Bounds {
    fn of(answer: &Value) -> Bounds {
        let bound = |name: &str| {
            let mut columns = answer["meta"].as_array().into_iter().flatten();
            let column = columns.find(|column| column["name"] == name && column["exact"] == false);
            column.map_or(0.0, |column| column["error"]["bound"].as_f64().unwrap_or_default())
        };
        Bounds { p95_delay: bound("p95_delay"), aircraft: bound("aircraft"), busiest: bound("busiest") }
    }
}

impl Cell<'_> {
    /// Per measure: whether the row says what it must, and what that is.
    fn verdicts(&mut self, row: &Value, bounds: &Bounds) -> Vec<(&'static str, bool, String)> {
        self.delays.sort_by(f64::total_cmp);
        let mean =
            (!self.delays.is_empty()).then(|| self.delays.iter().sum::<f64>() / self.delays.len() as f64);
        let number = |name: &str| row[name].as_f64();
        let aircraft = self.aircraft.len() as f64;
        let aircraft_holds = number("aircraft").is_some_and(|found| {
            (found - aircraft).abs()
                <= (DISTINCT_BOUNDS * bounds.aircraft * aircraft).max(if bounds.aircraft > 0.0 {
                    1.0
                } else {
                    0.0
                })
        });
        vec![
            ("flights", row["flights"].as_u64() == Some(self.flights), self.flights.to_string()),
            ("late", row["late"].as_u64() == Some(self.late), self.late.to_string()),
            ("mean_delay", near(number("mean_delay"), mean), format!("{mean:?}")),
            (
                "p95_delay",
                self.quantile_holds(number("p95_delay"), bounds.p95_delay),
                format!("{:?}", self.quantile()),
            ),
            ("aircraft", aircraft_holds, format!("{aircraft}")),
            ("busiest", self.busiest_holds(&row["busiest"], bounds.busiest), format!("{:?}", self.busiest())),
        ]
    }

    /// The neighbours of the 95th percentile among the sorted delays, and where it lies between them.
    fn neighbours(&self) -> Option<(f64, f64, f64)> {
        let last = self.delays.len().checked_sub(1)?;
        let position = 0.95 * last as f64;
        let below = position.floor();
        let (low, high) = (self.delays[below as usize], self.delays[(position.ceil() as usize).min(last)]);
        Some((low, high, position - below))
    }

    fn quantile(&self) -> Option<f64> {
        self.neighbours().map(|(low, high, share)| low + (high - low) * share)
    }

    /// A sketch promises a value near one of the neighbours, relative to it.
    fn quantile_holds(&self, found: Option<f64>, bound: f64) -> bool {
        match (found, self.neighbours()) {
            (found, Some((low, high, _))) if bound > 0.0 => found.is_some_and(|found| {
                found >= low - bound * low.abs() - ROUNDING && found <= high + bound * high.abs() + ROUNDING
            }),
            (found, _) => near(found, self.quantile()),
        }
    }

    fn busiest(&self) -> Vec<(&str, u64)> {
        let mut busiest: Vec<(&str, u64)> =
            self.destinations.iter().map(|(dest, flights)| (*dest, *flights)).collect();
        busiest.sort_by_key(|(dest, flights)| (std::cmp::Reverse(*flights), *dest));
        busiest.truncate(3);
        busiest
    }

    /// Exactly the three busiest; of a sketch, destinations whose counts are right within the bound.
    fn busiest_holds(&self, found: &Value, bound: f64) -> bool {
        let found: Vec<(&str, u64)> = (found.as_array().into_iter().flatten())
            .map(|item| {
                (item["value"].as_str().unwrap_or_default(), item["count"].as_u64().unwrap_or_default())
            })
            .collect();
        if bound == 0.0 {
            return found == self.busiest();
        }
        let slack = bound * self.flights as f64;
        found.len() == self.busiest().len()
            && found.iter().all(|(dest, count)| {
                self.destinations
                    .get(dest)
                    .is_some_and(|truth| (*truth as f64 - *count as f64).abs() <= slack)
            })
    }
}

fn near(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (None, None) => true,
        (Some(found), Some(expected)) => (found - expected).abs() <= ROUNDING * expected.abs().max(1.0),
        _ => false,
    }
}
