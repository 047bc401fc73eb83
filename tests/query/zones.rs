//! Buckets in any zone against what its clock shows: chrono-tz is asked for every stored window.

use chrono::{Datelike as _, NaiveDateTime, TimeZone as _, Timelike as _};
use chrono_tz::Tz;
use proptest::prelude::*;
use watershed_schemas::window::{Length, Window};
use watershed_serving::grain::{Buckets, unserved};

use crate::support::serving::{DAY, HOUR};

const QUARTER: i64 = HOUR / 4;
/// Longer than any bucket here, on either side.
const AROUND: i64 = 100;

fn shown(zone: Tz, instant: i64) -> NaiveDateTime {
    let utc = chrono::DateTime::from_timestamp_micros(instant).expect("a usual time").naive_utc();
    zone.from_utc_datetime(&utc).naive_local()
}

/// What the clock shows in all of a bucket, as its name.
fn name(length: Length, shown: NaiveDateTime) -> NaiveDateTime {
    let midnight = shown.date().and_hms_opt(0, 0, 0).expect("every day has a midnight");
    match length {
        Length::Months(months) => {
            let month = (shown.year() * 12 + shown.month0() as i32).div_euclid(months) * months;
            let first =
                chrono::NaiveDate::from_ymd_opt(month.div_euclid(12), month.rem_euclid(12) as u32 + 1, 1);
            first.and_then(|first| first.and_hms_opt(0, 0, 0)).expect("every month has a first day")
        }
        Length::Micros(length) if length == 7 * DAY => {
            midnight - chrono::TimeDelta::days(shown.weekday().num_days_from_monday().into())
        }
        Length::Micros(length) => {
            let since = i64::from(shown.num_seconds_from_midnight()) * 1_000_000;
            midnight + chrono::TimeDelta::microseconds(since - since % length)
        }
    }
}

fn zones() -> impl Strategy<Value = Tz> {
    (0..chrono_tz::TZ_VARIANTS.len()).prop_map(|index| chrono_tz::TZ_VARIANTS[index])
}

fn lengths() -> impl Strategy<Value = Length> {
    let micros =
        [QUARTER, HOUR / 2, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 6 * HOUR, 8 * HOUR, 12 * HOUR, DAY, 7 * DAY];
    let months = [1, 3, 12].map(Length::Months);
    prop::sample::select(micros.map(Length::Micros).into_iter().chain(months).collect::<Vec<_>>())
}

/// A quarter of an hour between 1980 and 2030.
fn quarters() -> impl Strategy<Value = i64> {
    (10 * 365 * 96..60 * 365 * 96_i64).prop_map(|quarter| quarter * QUARTER)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Two windows are in one bucket exactly if the zone's clock names them alike, but for short buckets whose name comes
    /// twice when clocks are set back.
    #[test]
    fn a_bucket_holds_the_windows_that_the_clock_names_alike(zone in zones(), length in lengths(), at in quarters()) {
        let buckets = Buckets::Every { length, zone };
        let start = buckets.start(at);
        let short = matches!(length, Length::Micros(length) if length <= HOUR);
        prop_assert!(start <= at);
        for step in -AROUND..AROUND {
            let other = at + step * QUARTER;
            let alike = name(length, shown(zone, at)) == name(length, shown(zone, other));
            let together = buckets.start(other) == start;
            prop_assert!(!together || alike, "{length} in {zone}: {at} and {other} are one bucket");
            prop_assert!(together || !alike || short, "{length} in {zone}: {at} and {other} are two buckets");
        }
    }

    /// Buckets follow each other without a gap: each begins where the one before it ends.
    #[test]
    fn buckets_cover_time(zone in zones(), length in lengths(), at in quarters()) {
        let buckets = Buckets::Every { length, zone };
        let start = buckets.start(at);
        let next = buckets.next(start).expect("there is always another");
        prop_assert!(start <= at && at < next, "{length} in {zone}: {start} {at} {next}");
        prop_assert_eq!(buckets.start(start), start);
        prop_assert_eq!(buckets.start(next), next);
        // The last window before it still belongs to this bucket, where windows begin with it.
        if next % QUARTER == 0 && next - QUARTER >= start {
            prop_assert_eq!(buckets.start(next - QUARTER), start);
        }
    }

    /// What is served begins with a stored window; what is refused does not, somewhere in the range.
    #[test]
    fn a_grain_is_served_exactly_where_its_buckets_are_unions_of_windows(
        zone in zones(), length in lengths(), stored in prop::sample::select(vec![QUARTER, HOUR / 2, HOUR, 2 * HOUR]), from in quarters(),
    ) {
        let window = Window::Tumble(Length::Micros(stored));
        let until = from + 400 * DAY;
        let refused = unserved(length, zone, window, from, until);
        prop_assume!(length.is_union_of(&Length::Micros(stored)));
        let buckets = Buckets::Every { length, zone };
        let starts = (0..).map(|step| from + step * 7 * DAY).take_while(|at| *at < until).map(|at| buckets.start(at));
        let apart = starts.filter(|start| *start >= from).find(|start| start % stored != 0);
        match refused {
            None => prop_assert_eq!(apart, None, "{} in {}", length, zone),
            Some(told) => prop_assert!(told.contains("would serve"), "{told}"),
        }
    }
}
