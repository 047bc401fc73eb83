//! Dates and times as numbers: proleptic Gregorian, days and microseconds since 1970-01-01, no zones.
//!
//! Day arithmetic is Howard Hinnant's (“chrono-Compatible Low-Level Date Algorithms”): valid for any
//! day that a timestamp can reach, which calendar types with bounded years are not.

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// Year, month and day of a day number.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number of a valid year, month and day.
pub(super) fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A part of a timestamp, as `extract` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    DayOfYear,
    /// Sunday is 0.
    DayOfWeek,
    /// Monday is 1, Sunday 7.
    IsoDayOfWeek,
    Hour,
    Minute,
    Second,
}

pub(super) const PARTS: [(&str, Part); 15] = [
    ("year", Part::Year),
    ("quarter", Part::Quarter),
    ("month", Part::Month),
    ("week", Part::Week),
    ("day", Part::Day),
    ("doy", Part::DayOfYear),
    ("dayofyear", Part::DayOfYear),
    ("dow", Part::DayOfWeek),
    ("dayofweek", Part::DayOfWeek),
    ("weekday", Part::DayOfWeek),
    ("isodow", Part::IsoDayOfWeek),
    ("hour", Part::Hour),
    ("minute", Part::Minute),
    ("second", Part::Second),
    ("weekofyear", Part::Week),
];

impl Part {
    pub fn of(self, micros: i64) -> i64 {
        let days = micros.div_euclid(DAY);
        let time = micros.rem_euclid(DAY);
        match self {
            Part::Year => civil(days).0,
            Part::Quarter => (civil(days).1 - 1) / 3 + 1,
            Part::Month => civil(days).1,
            Part::Week => {
                let thursday = days - (iso_day_of_week(days) - 1) + 3;
                (day_of_year(thursday) - 1) / 7 + 1
            }
            Part::Day => civil(days).2,
            Part::DayOfYear => day_of_year(days),
            Part::DayOfWeek => iso_day_of_week(days) % 7,
            Part::IsoDayOfWeek => iso_day_of_week(days),
            Part::Hour => time / HOUR,
            Part::Minute => time % HOUR / MINUTE,
            Part::Second => time % MINUTE / SECOND,
        }
    }
}

fn day_of_year(days: i64) -> i64 {
    days - day_number(civil(days).0, 1, 1) + 1
}

fn iso_day_of_week(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// What `date_trunc` cuts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

pub(crate) const UNITS: [(&str, Unit); 8] = [
    ("second", Unit::Second),
    ("minute", Unit::Minute),
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("quarter", Unit::Quarter),
    ("year", Unit::Year),
];

impl Unit {
    pub fn truncate(self, micros: i64) -> Option<i64> {
        let whole = |length: i64| micros.checked_sub(micros.rem_euclid(length));
        let days = micros.div_euclid(DAY);
        let start = |year: i64, month: i64| day_number(year, month, 1).checked_mul(DAY);
        let (year, month, _) = civil(days);
        match self {
            Unit::Second => whole(SECOND),
            Unit::Minute => whole(MINUTE),
            Unit::Hour => whole(HOUR),
            Unit::Day => whole(DAY),
            Unit::Week => (days - (iso_day_of_week(days) - 1)).checked_mul(DAY),
            Unit::Month => start(year, month),
            Unit::Quarter => start(year, (month - 1) / 3 * 3 + 1),
            Unit::Year => start(year, 1),
        }
    }
}

/// `micros` moved by months (to the month's last day where it is shorter), then days, then microseconds.
pub(super) fn shifted(micros: i64, months: i32, days: i32, rest: i64) -> Option<i64> {
    let mut day = micros.div_euclid(DAY);
    let time = micros.rem_euclid(DAY);
    if months != 0 {
        let (year, month, of_month) = civil(day);
        let total = year * 12 + (month - 1) + i64::from(months);
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
        day = day_number(year, month, of_month.min(days_in_month(year, month)));
    }
    (day + i64::from(days)).checked_mul(DAY)?.checked_add(time)?.checked_add(rest)
}
