//! Questions: what is understood, what is refused and in which words, and how time is cut.

mod zones;

use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::value::Value;
use watershed_schemas::window::{Length, Window};
use watershed_serving::grain::{self, Buckets, Grain};
use watershed_serving::plan::{Column, Plan, plan};
use watershed_serving::query::{Accuracy, Fill, Filter, Literal, Order, Query, Requirement};
use watershed_serving::refusal::{Place, Reason, Refusal};

use crate::support::serving::{DAY, HOUR, NEW_YEAR, hourly, project};

fn from_json(body: &str) -> Result<Query, Refusal> {
    Query::from_json(body.as_bytes())
}

fn from_url(parameters: &[(&str, &str)]) -> Result<Query, Refusal> {
    let parameters: Vec<_> =
        parameters.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Query::from_parameters("trips_hourly", &parameters)
}

fn planned(query: Query) -> Result<Plan, Refusal> {
    plan(&query, &hourly())
}

#[test]
fn every_key_of_a_body_is_understood() {
    let query = from_json(
        r#"{ "view": "trips_hourly", "measures": ["trips", "middle"], "group_by": ["city"],
             "where": { "line": [1, 2], "city": { "not": ["Oslo", null] } },
             "from": "2013-01-01T00:00:00Z", "to": "2013-02-01T00:00:00+01:00",
             "grain": "1 day", "time_zone": "America/New_York", "fill": "zero",
             "order_by": ["-trips", "city"], "limit": 100, "cursor": null,
             "accuracy": "exact", "require": ["complete", "exact", "fresh:250ms"], "as_of": 7,
             "include": ["provenance"] }"#,
    )
    .unwrap();
    let number = |number: i64| Literal::Json(number.into());
    let expected = Query {
        measures: Some(vec!["trips".into(), "middle".into()]),
        group_by: Some(vec!["city".into()]),
        filters: vec![
            Filter {
                dimension: "city".into(),
                negated: true,
                values: vec![Literal::Json("Oslo".into()), Literal::Null],
            },
            Filter { dimension: "line".into(), negated: false, values: vec![number(1), number(2)] },
        ],
        from: Some(NEW_YEAR),
        to: Some(NEW_YEAR + 31 * DAY - HOUR),
        grain: Some(Grain::Every(Length::Micros(DAY))),
        time_zone: chrono_tz::America::New_York,
        fill: Fill::Zero,
        order_by: vec![
            Order { column: "trips".into(), descending: true },
            Order { column: "city".into(), descending: false },
        ],
        limit: Some(100),
        accuracy: Accuracy::Exact,
        require: vec![
            Requirement::Complete,
            Requirement::Exact,
            Requirement::Fresh(std::time::Duration::from_millis(250)),
        ],
        as_of: Some(watershed_schemas::manifest::Version(7)),
        provenance: true,
        ..Query::of("trips_hourly")
    };
    assert_eq!(query, expected);
}

#[test]
fn a_url_asks_what_the_same_body_asks() {
    let body = from_json(
        r#"{"view":"trips_hourly","measures":["trips","riders"],"group_by":[],"from":"2013-01-01T00:00:00+01:00",
            "grain":"all","order_by":["-trips"],"limit":5,"require":["complete"]}"#,
    );
    let url = from_url(&[
        ("measures", "trips,riders"),
        ("group_by", ""),
        ("from", "2013-01-01T00:00:00 01:00"),
        ("grain", "all"),
        ("order_by", "-trips"),
        ("limit", "5"),
        ("require", "complete"),
        ("format", "csv"),
    ]);
    assert_eq!(url.unwrap(), body.unwrap());
}

#[test]
fn a_url_names_filters_by_dimension() {
    let query =
        from_url(&[("where.city", "Oslo,Lima"), ("where.line.not", "3"), ("where.city.is", "null")]).unwrap();
    let text = |text: &str| Literal::Text(text.into());
    assert_eq!(
        query.filters,
        [
            Filter {
                dimension: "city".into(),
                negated: false,
                values: vec![text("Oslo"), text("Lima"), Literal::Null]
            },
            Filter { dimension: "line".into(), negated: true, values: vec![text("3")] },
        ]
    );
}

#[test]
fn what_is_wrong_with_a_body_is_said_with_its_place_and_the_nearest_name() {
    for (body, detail, position, did_you_mean) in [
        ("{\"view\": ", "the body is not JSON", Some((1, 9)), None),
        ("[]", "found a list, expected an object", None, None),
        ("{}", "the key \"view\" is missing", None, None),
        ("{\"view\":\"v\",\n \"mesures\":[]}", "unknown key \"mesures\"", Some((2, 2)), Some("measures")),
        ("{\"view\":\"v\",\"limit\":-1}", "limit: found -1, expected a whole number", Some((1, 13)), None),
        (
            "{\"view\":\"v\",\"grain\":\"1 dya\"}",
            "grain \"1 dya\" is not a length of time",
            Some((1, 21)),
            None,
        ),
        ("{\"view\":\"v\",\"fill\":\"zeros\"}", "fill \"zeros\" is unknown", Some((1, 20)), Some("zero")),
        (
            "{\"view\":\"v\",\"time_zone\":\"Europe/Berln\"}",
            "unknown time zone",
            Some((1, 25)),
            Some("Europe/Berlin"),
        ),
        ("{\"view\":\"v\",\"from\":\"yesterday\"}", "from \"yesterday\" is not a time", Some((1, 20)), None),
        (
            "{\"view\":\"v\",\"to\":\"+12000-01-01\"}",
            "to \"+12000-01-01\" is not a time",
            Some((1, 18)),
            None,
        ),
        ("{\"view\":\"v\",\"require\":[\"fresh\"]}", "fresh needs a duration", Some((1, 24)), None),
        (
            "{\"view\":\"v\",\"where\":{\"city\":{\"nto\":[]}}}",
            "condition on \"city\" is not understood",
            Some((1, 22)),
            None,
        ),
        (
            "{\"view\":\"v\",\"from\":\"2013-01-02\",\"to\":\"2013-01-01\"}",
            "to lies before from",
            Some((1, 33)),
            None,
        ),
    ] {
        let refusal = from_json(body).unwrap_err();
        assert_eq!(refusal.reason, Reason::WrongQuestion, "{body}");
        assert!(refusal.detail.contains(detail), "{body}: {}", refusal.detail);
        let place = position.map(|(line, column)| Place::Text { line, column });
        assert_eq!(refusal.place, place, "{body}");
        assert_eq!(refusal.did_you_mean.as_deref(), did_you_mean, "{body}");
    }
}

#[test]
fn an_unknown_parameter_is_refused_with_the_nearest_one() {
    let refusal = from_url(&[("mesure", "trips")]).unwrap_err();
    assert_eq!(refusal.did_you_mean.as_deref(), Some("measures"));
    let refusal = from_url(&[("where.city.is", "nul")]).unwrap_err();
    assert!(refusal.detail.contains("expected null or not_null"));
}

#[test]
fn grains_are_read_in_words_and_in_iso_8601() {
    let micros = |micros| Some(Grain::Every(Length::Micros(micros)));
    let months = |months| Some(Grain::Every(Length::Months(months)));
    for (text, expected) in [
        ("all", Some(Grain::All)),
        ("1 day", micros(DAY)),
        ("hour", micros(HOUR)),
        ("15 minutes", micros(HOUR / 4)),
        ("2 Weeks", micros(14 * DAY)),
        ("quarter", months(3)),
        ("1 year", months(12)),
        ("PT1H", micros(HOUR)),
        ("PT15M", micros(HOUR / 4)),
        ("P1M", months(1)),
        ("P1D", micros(DAY)),
        ("0 days", None),
        ("-1 day", None),
        ("1 fortnight", None),
        ("99999999 years", None),
        ("P", None),
        ("PT", None),
        ("", None),
        ("1", None),
    ] {
        assert_eq!(grain::parse(text), expected, "{text}");
    }
}

#[test]
fn nothing_named_means_everything_in_the_views_own_order() {
    let plan = planned(Query::of("trips_hourly")).unwrap();
    let names: Vec<&str> = plan.columns().into_iter().map(|column| plan.name(column)).collect();
    assert_eq!(names, ["hour", "city", "line", "trips", "fares", "cheapest", "dearest", "riders", "middle"]);
    assert!(plan.keeps_cells());
}

#[test]
fn all_time_has_no_window_column() {
    let plan = planned(Query { grain: Some(Grain::All), ..Query::of("trips_hourly") }).unwrap();
    assert_eq!(plan.columns()[0], Column::Dimension(0));
    assert!(!plan.keeps_cells());
}

#[test]
fn names_that_the_view_does_not_have_are_unknown_names() {
    let query = Query::of("trips_hourly");
    for (query, did_you_mean) in [
        (Query { measures: Some(vec!["tripz".into()]), ..query.clone() }, Some("trips")),
        (Query { group_by: Some(vec!["citty".into()]), ..query.clone() }, Some("city")),
        (
            Query { order_by: vec![Order { column: "farse".into(), descending: true }], ..query.clone() },
            Some("fares"),
        ),
        (Query { measures: Some(vec!["altitude".into()]), ..query.clone() }, None),
    ] {
        let refusal = planned(query).unwrap_err();
        assert_eq!(refusal.reason, Reason::UnknownName);
        assert_eq!(refusal.did_you_mean.as_deref(), did_you_mean, "{}", refusal.detail);
    }
}

#[test]
fn a_question_against_its_view_is_refused_with_what_is_wrong() {
    let query = Query::of("trips_hourly");
    let filter = |dimension: &str, value| {
        let values = vec![Literal::Json(value)];
        vec![Filter { dimension: dimension.to_string(), negated: false, values }]
    };
    let order = Order { column: "trips".into(), descending: true };
    for (query, detail) in [
        (Query { group_by: Some(vec!["hour".into()]), ..query.clone() }, "use \"grain\""),
        (Query { group_by: Some(vec!["city".into(), "city".into()]), ..query.clone() }, "occurs twice"),
        (Query { order_by: vec![order.clone(), order], ..query.clone() }, "occurs twice in order_by"),
        (
            Query {
                measures: Some(vec![]),
                group_by: Some(vec![]),
                grain: Some(Grain::All),
                ..query.clone()
            },
            "would have no columns",
        ),
        (Query { filters: filter("city", 1.into()), ..query.clone() }, "found 1, expected a text"),
        (
            Query { filters: filter("line", "one".into()), ..query.clone() },
            "found \"one\", expected a whole number",
        ),
        (
            Query { filters: filter("line", 1.5.into()), ..query.clone() },
            "found 1.5, expected a whole number",
        ),
        (
            Query { grain: grain::parse("90 minutes"), ..query.clone() },
            "a grain of 90 minutes is not made of whole windows",
        ),
        (
            Query { grain: grain::parse("1 day"), time_zone: chrono_tz::Asia::Kolkata, ..query.clone() },
            "a view with windows of 30 minutes would serve",
        ),
    ] {
        let refusal = planned(query).unwrap_err();
        assert_eq!(refusal.reason, Reason::WrongQuestion);
        assert!(refusal.detail.contains(detail), "{}", refusal.detail);
    }
}

#[test]
fn a_decimal_is_compared_exactly_and_refused_where_its_dimension_cannot_hold_it() {
    let file = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
    let schema = "CREATE TABLE rides (at TIMESTAMP NOT NULL, fare DECIMAL(6,2))
                  WITH (topic = 'rides', format = 'json', event_time = 'at');";
    let job = "CREATE MATERIALIZED VIEW by_fare AS
               SELECT fare, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS rides
               FROM rides GROUP BY fare, hour;";
    let project = Project::parse(&[file("schemas/rides.sql", schema)], &[file("jobs/by_fare.sql", job)]);
    let project = project.unwrap_or_else(|problems| panic!("{problems:?}"));
    let view = project.view("by_fare").unwrap();
    let planned = |text: &str| {
        let values = vec![Literal::Text(text.to_string())];
        let filters = vec![Filter { dimension: "fare".into(), negated: false, values }];
        plan(&Query { filters, ..Query::of("by_fare") }, view)
            .map(|plan| plan.scope.conditions[0].values.clone())
    };
    assert_eq!(planned("-12.5").unwrap(), [Value::Decimal(-1250, 2)]);
    assert_eq!(planned("9999.990").unwrap(), [Value::Decimal(999_999, 2)]);
    for beyond in ["10000.00", "-10000", "0.001", "1e3", "170141183460469231731687303715884105728"] {
        let refusal = planned(beyond).unwrap_err();
        assert!(refusal.detail.contains("expected a decimal number"), "{}", refusal.detail);
    }
}

#[test]
fn daily_windows_serve_no_days_of_another_zone() {
    let project = project();
    let view = project.view("trips_daily").unwrap();
    let query = Query {
        grain: grain::parse("1 day"),
        time_zone: chrono_tz::America::New_York,
        ..Query::of("trips_daily")
    };
    let refusal = plan(&query, view).unwrap_err();
    assert!(refusal.detail.contains("a view with windows of 1 hour would serve"), "{}", refusal.detail);
    // Where the zone's clock shows UTC all along, they do.
    let iceland = Query { time_zone: chrono_tz::Atlantic::Reykjavik, ..query };
    assert!(plan(&iceland, view).is_ok());
}

fn instant(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

/// Every hour's bucket, as the distinct buckets with the number of hours in each.
fn lengths(length: Length, zone: chrono_tz::Tz, from: &str, hours: i64) -> Vec<(i64, i64)> {
    let buckets = Buckets::Every { length, zone };
    let mut lengths: Vec<(i64, i64)> = Vec::new();
    for hour in 0..hours {
        let start = buckets.start(instant(from) + hour * HOUR);
        match lengths.last_mut() {
            Some((last, count)) if *last == start => *count += 1,
            _ => lengths.push((start, 1)),
        }
    }
    // What `next` says is where the next bucket begins.
    for pair in lengths.windows(2) {
        assert_eq!(buckets.next(pair[0].0), Some(pair[1].0), "{length} in {zone} after {}", pair[0].0);
    }
    lengths
}

#[test]
fn a_day_in_new_york_has_23_hours_in_spring_and_25_in_autumn() {
    let day = Length::Micros(DAY);
    let spring = lengths(day, chrono_tz::America::New_York, "2013-03-09T05:00:00Z", 24 + 23 + 24);
    assert_eq!(
        spring,
        [
            (instant("2013-03-09T00:00:00-05:00"), 24),
            (instant("2013-03-10T00:00:00-05:00"), 23),
            (instant("2013-03-11T00:00:00-04:00"), 24),
        ]
    );
    let autumn = lengths(day, chrono_tz::America::New_York, "2013-11-02T04:00:00Z", 24 + 25 + 24);
    assert_eq!(autumn.iter().map(|(_, hours)| *hours).collect::<Vec<_>>(), [24, 25, 24]);
}

#[test]
fn an_hour_that_clocks_show_twice_is_two_hours_but_six_hours_around_it_are_one_bucket() {
    let zone = chrono_tz::America::New_York;
    // Clocks go back from 02:00 to 01:00 on 2013-11-03.
    let hours = lengths(Length::Micros(HOUR), zone, "2013-11-03T04:00:00Z", 6);
    assert!(hours.iter().all(|(_, hours)| *hours == 1));
    assert_eq!(hours.len(), 6);
    let six = lengths(Length::Micros(6 * HOUR), zone, "2013-11-03T04:00:00Z", 7);
    assert_eq!(six, [(instant("2013-11-03T00:00:00-04:00"), 7)]);
}

#[test]
fn a_day_whose_midnight_was_skipped_begins_when_clocks_went_forward() {
    // In São Paulo clocks went from 00:00 to 01:00 on 2013-10-20.
    let days =
        lengths(Length::Micros(DAY), chrono_tz::America::Sao_Paulo, "2013-10-19T03:00:00Z", 24 + 23 + 24);
    assert_eq!(
        days,
        [
            (instant("2013-10-19T00:00:00-03:00"), 24),
            (instant("2013-10-20T01:00:00-02:00"), 23),
            (instant("2013-10-21T00:00:00-02:00"), 24),
        ]
    );
}

#[test]
fn a_day_whose_midnight_comes_twice_is_one_day() {
    // In Havana clocks go back from 01:00 to 00:00 on 2013-11-03.
    let days = lengths(Length::Micros(DAY), chrono_tz::America::Havana, "2013-11-02T04:00:00Z", 24 + 25 + 24);
    assert_eq!(days.iter().map(|(_, hours)| *hours).collect::<Vec<_>>(), [24, 25, 24]);
}

#[test]
fn months_follow_the_calendar_of_the_zone() {
    let months =
        lengths(Length::Months(1), chrono_tz::Europe::Berlin, "2013-02-28T23:00:00Z", 31 * 24 - 1 + 24);
    assert_eq!(
        months,
        [(instant("2013-03-01T00:00:00+01:00"), 31 * 24 - 1), (instant("2013-04-01T00:00:00+02:00"), 24),]
    );
}

#[test]
fn a_window_of_the_view_is_a_bucket_of_its_own_length_in_utc() {
    let query = Query { grain: grain::parse("1 hour"), ..Query::of("trips_hourly") };
    let stored = Window::Tumble(Length::Micros(HOUR));
    assert_eq!(planned(query).unwrap().buckets, Buckets::Stored(stored));
}
