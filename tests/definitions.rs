//! SQL definitions: what they mean, and what is said of each mistake, where.

mod broken_streams;
mod depth;
mod projects;

use std::time::Duration;

use watershed_schemas::budget::Limits;
use watershed_schemas::problem::{Problem, ProblemKind};
use watershed_schemas::project::{Defaults, Project, SourceFile};
use watershed_schemas::stream::TimestampFormat;
use watershed_schemas::types::DataType;
use watershed_schemas::view::{Aggregate, Schedule, View};
use watershed_schemas::window::{Length, Window};

const FLIGHTS: &str = "CREATE TABLE flights (
  time_hour TIMESTAMP NOT NULL,
  carrier   TEXT NOT NULL,
  origin    TEXT,
  tailnum   TEXT,
  dep_delay DOUBLE,
  seats     INTEGER,
  fare      DECIMAL(9,2),
  booked    DATE,
  boarded   TIMESTAMP
) WITH (topic = 'flights.v1', format = 'json', event_time = 'time_hour');";

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_string(), text: text.to_string() }
}

fn project(schema: &str, view: &str) -> Result<Project, Vec<String>> {
    let jobs = if view.is_empty() { Vec::new() } else { vec![file("jobs/v.sql", view)] };
    let parsed = Project::parse(&[file("schemas/s.sql", schema)], &jobs);
    parsed.map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn view(sql: &str) -> View {
    let project = project(FLIGHTS, sql).unwrap_or_else(|problems| panic!("{sql}\n{problems:#?}"));
    View::clone(&project.views[0])
}

/// A view with one measure (or more), over windows of an hour.
fn measuring(measures: &str) -> View {
    view(&format!(
        "CREATE MATERIALIZED VIEW v AS SELECT tumble(time_hour, INTERVAL '1 hour') AS hour, {measures} \
         FROM flights GROUP BY hour"
    ))
}

/// A view whose window is written so.
fn windowed(window: &str) -> Window {
    view(&format!(
        "CREATE MATERIALIZED VIEW v AS SELECT {window} AS w, count(*) AS n FROM flights GROUP BY w"
    ))
    .window
    .window
}

fn problems(schema: &str, view: &str) -> Vec<String> {
    project(schema, view).expect_err("the definition has mistakes")
}

/// The one problem of a view that begins with its hour: `SELECT tumble(…) AS hour,\n<rest>`.
fn problem(rest: &str) -> String {
    let found = problems(
        FLIGHTS,
        &format!(
            "CREATE MATERIALIZED VIEW v AS SELECT tumble(time_hour, INTERVAL '1 hour') AS hour,\n{rest}"
        ),
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

#[test]
fn a_stream_is_read_with_its_types_topic_and_event_time() {
    let project = project(FLIGHTS, "").expect("it parses");
    let stream = &project.streams[0];
    assert_eq!((stream.name.as_str(), stream.topic.as_str()), ("flights", "flights.v1"));
    assert_eq!(stream.event_time().name, "time_hour");
    assert_eq!(stream.max_future, Duration::from_secs(86_400));
    let types: Vec<String> = stream.fields.iter().map(|field| field.data_type.to_string()).collect();
    let expected =
        ["timestamp", "text", "text", "text", "double", "integer", "decimal(9,2)", "date", "timestamp"];
    assert_eq!(types, expected);
    let not_null: Vec<bool> = stream.fields.iter().map(|field| field.not_null).collect();
    assert_eq!(not_null, [true, true, false, false, false, false, false, false, false]);
}

#[test]
fn types_go_by_all_their_names() {
    let schema = "CREATE TABLE s (t TIMESTAMP NOT NULL, a INT, b INTEGER, c BIGINT, d DOUBLE PRECISION, e NUMERIC(4), \
                  f VARCHAR, g STRING, h BOOL, i DECIMAL(38,38)) WITH (event_time = 't')";
    let project = project(schema, "").expect("it parses");
    let types: Vec<DataType> =
        project.streams[0].fields.iter().map(|field| field.data_type.clone()).collect();
    use DataType::{BigInt, Boolean, Decimal, Double, Integer, Text, Timestamp};
    let (e, i) = (Decimal { precision: 4, scale: 0 }, Decimal { precision: 38, scale: 38 });
    assert_eq!(types, [Timestamp, Integer, Integer, BigInt, Double, e, Text, Text, Boolean, i]);
    assert_eq!(project.streams[0].topic, "s", "the topic is named as the stream unless it says otherwise");
}

#[test]
fn timestamps_are_written_as_the_stream_or_the_column_says() {
    let schema = "CREATE TABLE s (t TIMESTAMP NOT NULL, u TIMESTAMP, v TIMESTAMP)
        WITH (event_time = 'T', timestamp_format = 'epoch_millis', \"timestamp_format.u\" = 'epoch_seconds', max_future = '2 hours')";
    let project = project(schema, "").expect("it parses");
    let stream = &project.streams[0];
    let formats: Vec<TimestampFormat> = stream.fields.iter().map(|field| field.timestamp_format).collect();
    use TimestampFormat::{EpochMillis, EpochSeconds};
    assert_eq!(formats, [EpochMillis, EpochSeconds, EpochMillis]);
    assert_eq!(stream.max_future, Duration::from_secs(7_200));
    assert_eq!(stream.event_time, 0, "names match whatever their case");
}

#[test]
fn settings_decide_how_far_in_the_future_events_may_lie() {
    let defaults = Defaults { max_future: Duration::from_secs(5) };
    let project = Project::parse_with(&[file("s.sql", FLIGHTS)], &[], &defaults).expect("it parses");
    assert_eq!(project.streams[0].max_future, Duration::from_secs(5));
}

#[test]
fn a_view_is_read_with_filter_dimensions_window_measures_and_schedule() {
    let view = view(
        "-- how late flights leave
        CREATE MATERIALIZED VIEW delays WITH (schedule = '*/15 * * * *', time_zone = 'America/New_York') AS
        SELECT carrier, upper(origin) AS airport, tumble(time_hour, INTERVAL '1 hour') AS hour,
               count(*) AS flights, count(*) FILTER (WHERE dep_delay > 15) AS late, avg(dep_delay) AS mean_delay
        FROM flights f WHERE f.tailnum IS NOT NULL
        GROUP BY carrier, airport, hour;",
    );
    assert_eq!(view.name, "delays");
    assert!(view.sql.starts_with("CREATE MATERIALIZED VIEW delays") && view.sql.ends_with("airport, hour"));
    let schedule = Schedule { cron: "*/15 * * * *".to_string(), time_zone: "America/New_York".to_string() };
    assert_eq!(view.schedule, Some(schedule));
    let names: Vec<&str> = view.dimensions.iter().map(|dimension| dimension.name.as_str()).collect();
    assert_eq!(names, ["carrier", "airport"]);
    assert_eq!(view.dimensions[1].scalar.text, "upper(origin)");
    assert_eq!(view.window.name, "hour");
    assert_eq!(view.window.window, Window::Tumble(Length::Micros(3_600_000_000)));
    let measures: Vec<&str> = view.measures.iter().map(|measure| measure.name.as_str()).collect();
    assert_eq!(measures, ["flights", "late", "mean_delay"]);
    assert!(view.measures[0].argument.is_none() && view.measures[1].filter.is_some());
    assert_eq!(view.filter.as_ref().map(|filter| filter.sql.as_str()), Some("(\"tailnum\" IS NOT NULL)"));
    assert_eq!(view.fields_read(), ["time_hour", "carrier", "origin", "tailnum", "dep_delay"]);
}

#[test]
fn every_aggregate_is_known_by_its_names_with_the_type_of_its_result() {
    use Aggregate::{
        Avg, Count, CountDistinct, First, Last, Max, Min, Quantile, StddevSamp, Sum, TopK, VarSamp,
    };
    use DataType::{BigInt, Date, Double, Integer, Text};
    let total = DataType::Decimal { precision: 38, scale: 2 };
    let cases = [
        ("count(*)", Count, BigInt),
        ("count(1)", Count, BigInt),
        ("COUNT(tailnum)", Count, BigInt),
        ("sum(seats)", Sum, BigInt),
        ("sum(fare)", Sum, total),
        ("sum(dep_delay)", Sum, Double),
        ("avg(seats)", Avg, Double),
        ("mean(seats)", Avg, Double),
        ("min(booked)", Min, Date),
        ("max(carrier)", Max, Text),
        ("stddev(fare)", StddevSamp, Double),
        ("stddev_samp(fare)", StddevSamp, Double),
        ("variance(seats)", VarSamp, Double),
        ("var_samp(seats)", VarSamp, Double),
        ("count(DISTINCT tailnum)", CountDistinct, BigInt),
        ("approx_count_distinct(tailnum)", CountDistinct, BigInt),
        ("quantile_cont(dep_delay, 0.95)", Quantile(0.95), Double),
        ("median(seats)", Quantile(0.5), Double),
        ("percentile_cont(0.9) WITHIN GROUP (ORDER BY fare)", Quantile(0.9), Double),
        ("percentile_cont(0.75) WITHIN GROUP (ORDER BY fare DESC)", Quantile(0.25), Double),
        ("approx_top_k(origin, 3)", TopK(3), DataType::TopK(Box::new(Text))),
        ("first(seats)", First, Integer),
        ("first_value(seats)", First, Integer),
        ("last_value(origin)", Last, Text),
    ];
    for (sql, aggregate, result) in cases {
        let view = measuring(&format!("{sql} AS value"));
        assert_eq!(
            (&view.measures[0].aggregate, &view.measures[0].result_type),
            (&aggregate, &result),
            "{sql}"
        );
    }
}

#[test]
fn windows_go_by_three_names_and_any_length() {
    let hour = Window::Tumble(Length::Micros(3_600_000_000));
    for same in [
        "tumble(time_hour, INTERVAL '1 hour')",
        "TUMBLE(Time_Hour, INTERVAL '60 minutes')",
        "date_trunc('hour', time_hour)",
        "time_bucket(INTERVAL '1 hour', flights.time_hour)",
        "tumble(time_hour, INTERVAL '1' HOUR)",
        "tumble(time_hour, INTERVAL 1 HOUR)",
    ] {
        assert_eq!(windowed(same), hour, "{same}");
    }
    assert_eq!(windowed("tumble(time_hour, INTERVAL '1 second')"), Window::Tumble(Length::Micros(1_000_000)));
    assert_eq!(
        windowed("tumble(time_hour, INTERVAL '1 day 12 hours')"),
        Window::Tumble(Length::Micros(129_600_000_000))
    );
    assert_eq!(windowed("date_trunc('week', time_hour)"), Window::Tumble(Length::Micros(604_800_000_000)));
    assert_eq!(windowed("date_trunc('quarter', time_hour)"), Window::Tumble(Length::Months(3)));
    assert_eq!(windowed("time_bucket(INTERVAL '2 years', time_hour)"), Window::Tumble(Length::Months(24)));
    assert_eq!(windowed("tumble(time_hour, INTERVAL '100 years')"), Window::Tumble(Length::Months(1_200)));
}

#[test]
fn keys_are_grouped_by_name_position_expression_or_all() {
    let ways = [
        "carrier, airport, hour",
        "1, 2, 3",
        "ALL",
        "carrier, upper( origin ), tumble(time_hour, INTERVAL '60 minutes')",
    ];
    let hashes = ways.map(|keys| {
        view(&format!(
            "CREATE MATERIALIZED VIEW v AS SELECT carrier, upper(origin) AS airport, \
             tumble(time_hour, INTERVAL '1 hour') AS hour, count(*) AS n FROM flights GROUP BY {keys}"
        ))
        .hash
    });
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn a_key_that_is_a_field_and_the_name_of_another_item_is_ambiguous() {
    let expected = |column: u32, name: &str, position: u32| {
        format!(
            "jobs/v.sql:2:{column}: {name} is ambiguous: a column of stream flights, and the name of another selected \
             item; name the item otherwise, or write {position} to group by it"
        )
    };
    let found = problem("upper(origin) AS origin, count(*) AS n FROM flights GROUP BY hour, origin");
    assert_eq!(found, expected(68, "origin", 2));
    let found = problem("carrier AS \"origin\", count(*) AS n FROM flights GROUP BY (\"origin\"), 1");
    assert_eq!(found, expected(59, "(\"origin\")", 2));
    let windows = "CREATE MATERIALIZED VIEW v AS SELECT date_trunc('day', time_hour) AS time_hour,\n\
                   count(*) AS n FROM flights GROUP BY time_hour";
    assert_eq!(problems(FLIGHTS, windows), [expected(37, "time_hour", 1)]);
    // The field itself, and what is grouped by in other words, is as clear as before.
    for (item, key) in [
        ("origin", "origin"),
        ("origin AS \"Origin\"", "Origin"),
        ("flights.origin AS origin", "ORIGIN"),
        ("upper(origin) AS origin", "upper(origin)"),
        ("upper(origin) AS origin", "2"),
        ("upper(origin) AS airport", "airport"),
    ] {
        view(&format!(
            "CREATE MATERIALIZED VIEW v AS SELECT tumble(time_hour, INTERVAL '1 hour') AS hour, {item}, count(*) AS n \
             FROM flights GROUP BY hour, {key}"
        ));
    }
}

#[test]
fn the_hash_is_of_the_meaning_and_not_of_the_text() {
    let hash = |sql: &str| view(sql).hash;
    let original = hash(
        "CREATE MATERIALIZED VIEW v WITH (schedule = '5 4 * * *') AS SELECT carrier, tumble(time_hour, INTERVAL '1 hour') AS hour,
         count(*) FILTER (WHERE dep_delay > 15) AS late FROM flights GROUP BY 1, 2",
    );
    let same = hash(
        "create materialized view v as /* nightly */ select CARRIER, date_trunc('hour', time_hour) as hour,
           Count( * ) filter (where (DEP_DELAY) > 15) as late -- fifteen minutes
         from FLIGHTS group by all",
    );
    assert_eq!(original, same);
    for (what, other) in [
        ("filter", "WHERE dep_delay > 16) AS late FROM flights"),
        ("name", "WHERE dep_delay > 15) AS very_late FROM flights"),
        ("events", "WHERE dep_delay > 15) AS late FROM flights WHERE seats > 0"),
    ] {
        let other = hash(&format!(
            "CREATE MATERIALIZED VIEW v AS SELECT carrier, tumble(time_hour, INTERVAL '1 hour') AS hour, \
             count(*) FILTER ({other} GROUP BY 1, 2"
        ));
        assert_ne!(original, other, "{what}");
    }
    let retyped = FLIGHTS.replace("dep_delay DOUBLE", "dep_delay DECIMAL(5,1)");
    let sql = "CREATE MATERIALIZED VIEW v AS SELECT tumble(time_hour, INTERVAL '1 hour') AS hour, avg(dep_delay) AS d FROM flights GROUP BY 1";
    let other = project(&retyped, sql).expect("it parses").views[0].hash.clone();
    assert_ne!(hash(sql), other, "a field's type");
    let widened = FLIGHTS.replace("booked    DATE", "booked TIMESTAMP");
    let other = project(&widened, sql).expect("it parses").views[0].hash.clone();
    assert_eq!(hash(sql), other, "a field that the view does not read");
}

#[test]
fn quoted_names_are_exact_and_others_are_not() {
    let schema =
        "CREATE TABLE s (\"Time\" TIMESTAMP NOT NULL, \"Two Words\" INTEGER) WITH (event_time = 'Time')";
    let sql = |column: &str| {
        format!(
            "CREATE MATERIALIZED VIEW v AS SELECT tumble(TIME, INTERVAL '1 hour') AS h, sum({column}) AS n FROM S GROUP BY h"
        )
    };
    let parsed = project(schema, &sql("\"Two Words\"")).expect("it parses");
    assert_eq!(parsed.views[0].fields_read(), ["Time", "Two Words"]);
    let found = problems(schema, &sql("\"two words\""));
    assert_eq!(
        found,
        ["jobs/v.sql:1:80: unknown column \"two words\" of stream s, did you mean \"Two Words\"?"]
    );
}

#[test]
fn a_slip_of_the_finger_is_named_where_it_is() {
    let cases = [
        (
            "sum(dep_dely) AS total FROM flights GROUP BY hour",
            "jobs/v.sql:2:5: unknown column \"dep_dely\" of stream flights, did you mean \"dep_delay\"?",
        ),
        (
            "uper(carrier) AS c, count(*) AS n FROM flights GROUP BY hour, 2",
            "jobs/v.sql:2:1: unknown function uper(), did you mean \"upper\"?",
        ),
        (
            "cuont(*) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:1: unknown function cuont(), did you mean \"count\"?",
        ),
        (
            "count(*) AS n FROM flight GROUP BY hour",
            "jobs/v.sql:2:20: unknown stream \"flight\", did you mean \"flights\"?",
        ),
        (
            "max(CAST(carrier AS INTEGR)) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:21: unknown type INTEGR, did you mean \"integer\"?",
        ),
        (
            "max(date_part('huor', boarded)) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:15: unknown date part \"huor\", did you mean \"hour\"?",
        ),
        (
            "max(boarded + INTERVAL '1 huor') AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:24: unknown unit \"huor\" in an interval, did you mean \"hour\"?",
        ),
        (
            "max(boarded + INTERVAL '1.5 hours') AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:24: found interval '1.5 hours', expected whole numbers with units such as '1 hour 30 minutes'",
        ),
        (
            "max(boarded + INTERVAL '999999999 years') AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:24: interval '999999999 years' is too long",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(problem(sql), expected);
    }
}

#[test]
fn what_does_not_fit_its_place_is_said_with_both_types() {
    let cases = [
        (
            "max(lower(dep_delay)) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:11: lower() wants text, found double",
        ),
        ("sum(carrier) AS n FROM flights GROUP BY hour", "jobs/v.sql:2:5: sum() wants a number, found text"),
        ("max(carrier + 1) AS n FROM flights GROUP BY hour", "jobs/v.sql:2:5: + wants numbers, found text"),
        (
            "count(*) AS n FROM flights WHERE carrier GROUP BY hour",
            "jobs/v.sql:2:34: WHERE wants boolean, found text",
        ),
        (
            "count(*) FILTER (WHERE seats) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:24: FILTER wants boolean, found integer",
        ),
        (
            "count(*) AS n FROM flights WHERE seats > carrier GROUP BY hour",
            "jobs/v.sql:2:42: found text beside integer; cast one of them",
        ),
        (
            "count(*) AS n FROM flights WHERE boarded > 'noon' GROUP BY hour",
            "jobs/v.sql:2:44: cannot read 'noon' as timestamp",
        ),
        (
            "count(*) AS n FROM flights WHERE seats = 1.5 AND TRUE OR seats GROUP BY hour",
            "jobs/v.sql:2:58: OR wants boolean, found integer",
        ),
        (
            "max(CAST(booked AS DOUBLE)) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:10: date cannot be cast to double",
        ),
        (
            "max(substr(carrier)) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:12: substr() wants 2 or 3 arguments, found 1",
        ),
        (
            "quantile_cont(seats, 95) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:22: quantile_cont() wants a number between 0 and 1, found 95",
        ),
        (
            "approx_top_k(origin, 0) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:22: approx_top_k() wants a whole number from 1 to 100, found 0",
        ),
        (
            "max(fare // 2) AS n FROM flights GROUP BY hour",
            "jobs/v.sql:2:5: // divides integers, found decimal(9,2); use /, or round and cast",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(problem(sql), expected);
    }
}

#[test]
fn what_a_view_cannot_do_is_said_with_what_it_can() {
    let cases = [
        ("count(*) AS n FROM flights GROUP BY hour HAVING count(*) > 1", "HAVING is not supported in a view"),
        (
            "count(*) AS n FROM flights GROUP BY hour ORDER BY n",
            "ORDER BY is not supported in a view; order when querying",
        ),
        (
            "count(*) AS n FROM flights GROUP BY hour LIMIT 5",
            "LIMIT is not supported in a view; limit when querying",
        ),
        (
            "count(*) AS n FROM flights JOIN flights g ON TRUE GROUP BY hour",
            "joins are not supported: a view reads one stream",
        ),
        (
            "count(*) AS n FROM flights, flights g GROUP BY hour",
            "a view reads one stream; joins are not supported",
        ),
        (
            "count(*) AS n FROM (SELECT 1) GROUP BY hour",
            "expected the name of a stream; subqueries and table functions",
        ),
        (
            "count(*) AS n FROM flights WHERE seats IN (SELECT 1) GROUP BY hour",
            "subqueries are not supported in a view",
        ),
        ("sum(DISTINCT seats) AS n FROM flights GROUP BY hour", "only count(DISTINCT x) is"),
        (
            "sum(seats) / 2 AS n FROM flights GROUP BY hour",
            "is an aggregate: it stands alone as a selected item",
        ),
        (
            "count(*) AS n FROM flights GROUP BY ROLLUP (hour)",
            "ROLLUP, CUBE and GROUPING SETS are not supported",
        ),
        ("count(*) OVER () AS n FROM flights GROUP BY hour", "OVER is not supported"),
        ("string_agg(origin) AS n FROM flights GROUP BY hour", "aggregate string_agg() is not supported"),
        (
            "quantile(seats, 0.5) AS n FROM flights GROUP BY hour",
            "expected one of count, sum, avg, min, max, stddev_samp",
        ),
        ("count(*) FROM flights GROUP BY hour", "count(*) has no name; write count(*) AS name"),
        (
            "origin, count(*) AS n FROM flights GROUP BY hour",
            "\"origin\" is neither an aggregate nor in GROUP BY",
        ),
        (
            "count(*) AS n FROM flights GROUP BY hour, origin",
            "group key origin is not selected; add it to SELECT",
        ),
        ("count(*) AS n FROM flights GROUP BY hour, n", "n is an aggregate, which cannot be grouped by"),
        (
            "date_trunc('day', time_hour) AS day, count(*) AS n FROM flights GROUP BY ALL",
            "a view has one window",
        ),
        ("count(*) AS a__b FROM flights GROUP BY hour", "contains __, which is reserved for states"),
        ("count(*) AS _n FROM flights GROUP BY hour", "begins with _, which is reserved"),
        ("count(*) AS window_end FROM flights GROUP BY hour", "is reserved for the window's bounds"),
        ("count(*) AS HOUR FROM flights GROUP BY 1", "column \"HOUR\" is defined twice"),
        ("max('a') AS n FROM flights GROUP BY hour", "a constant: expected a column of stream flights in it"),
        (
            "max(current_timestamp) AS n FROM flights GROUP BY hour",
            "functions of time would change with every run",
        ),
    ];
    for (sql, expected) in cases {
        let found = problem(sql);
        assert!(
            found.starts_with("jobs/v.sql:") && found.contains(expected),
            "{sql}\nfound    {found}\nexpected {expected}"
        );
    }
}

#[test]
fn a_window_is_asked_for_and_must_be_whole() {
    let found = |select: &str| {
        let sql = format!("CREATE MATERIALIZED VIEW v AS SELECT {select} FROM flights GROUP BY ALL");
        problems(FLIGHTS, &sql).join("\n")
    };
    let cases = [
        (
            "carrier, count(*) AS n",
            "no window: select and group by tumble(time_hour, INTERVAL '1 hour') AS name",
        ),
        ("tumble(boarded, INTERVAL '1 hour') AS h", "found boarded, expected the event time \"time_hour\""),
        ("tumble(time_hour, INTERVAL '100 milliseconds') AS h", "a whole number of seconds long"),
        ("tumble(time_hour, INTERVAL '1 month 1 day') AS h", "some months or some seconds long, not both"),
        ("tumble(time_hour, INTERVAL '101 years') AS h", "a window is at most 100 years long"),
        ("tumble(time_hour, INTERVAL '40000 days') AS h", "a window is at most 100 years long"),
        ("hop(time_hour, INTERVAL '1 hour', INTERVAL '2 hours') AS h", "hop() windows are not supported"),
    ];
    for (select, expected) in cases {
        assert!(found(select).contains(expected), "{select}\nfound {}", found(select));
    }
}

#[test]
fn schedules_are_checked() {
    let found = |options: &str| {
        let sql = format!(
            "CREATE MATERIALIZED VIEW v WITH ({options}) AS SELECT tumble(time_hour, INTERVAL '1 hour') AS h, count(*) AS n FROM flights GROUP BY h"
        );
        problems(FLIGHTS, &sql).join("\n")
    };
    let cases = [
        ("schedule = '* * * *'", "has 4 fields, expected five"),
        ("schedule = '61 * * * *'", "schedule '61 * * * *'"),
        (
            "schedule = '0 0 * * *', time_zone = 'Europe/Berln'",
            "unknown time zone 'Europe/Berln', expected an IANA name, did you mean \"Europe/Berlin\"?",
        ),
        ("time_zone = 'UTC'", "time_zone belongs to a schedule"),
        (
            "shedule = '0 0 * * *'",
            "unknown option shedule, expected schedule, time_zone, max_groups, max_state_bytes, did you mean \"schedule\"?",
        ),
    ];
    for (options, expected) in cases {
        assert!(found(options).contains(expected), "{options}\nfound {}", found(options));
    }
}

#[test]
fn limits_of_live_states_are_read_and_are_no_part_of_a_views_identity() {
    let with = |options: &str| {
        let sql = format!(
            "CREATE MATERIALIZED VIEW v {options} AS SELECT tumble(time_hour, INTERVAL '1 hour') AS h, count(*) AS n FROM flights GROUP BY h"
        );
        let project = Project::parse(&[file("schemas/flights.sql", FLIGHTS)], &[file("jobs/v.sql", &sql)]);
        project.map(|project| project.views[0].clone()).map_err(|problems| problems[0].to_string())
    };
    let plain = with("").expect("it is sound");
    assert_eq!(plain.limits, Limits::default());
    let limited = with("WITH (max_groups = 100000, max_state_bytes = '256MiB')").expect("it is sound");
    assert_eq!(limited.limits, Limits { groups: Some(100_000), bytes: Some(256 << 20) });
    assert_eq!(limited.hash, plain.hash);
    let quoted = with("WITH (schedule = '0 * * * *', MAX_GROUPS = '7')").expect("it is sound");
    assert_eq!(quoted.limits, Limits { groups: Some(7), bytes: None });
    let cases = [
        (
            "WITH (max_groups = 0)",
            "jobs/v.sql:1:47: max_groups: found '0', expected a whole number, 1 or more",
        ),
        ("WITH (max_groups = 1.5)", "found '1.5', expected a whole number"),
        ("WITH (max_groups = 'many')", "found 'many', expected a whole number"),
        (
            "WITH (max_state_bytes = 'much')",
            "max_state_bytes: found 'much', expected a size such as '256MiB'",
        ),
        ("WITH (max_state_bytes = 5)", "option max_state_bytes: found 5, expected text in single quotes"),
        ("WITH (max_group = 5)", "option max_group: found 5, expected text in single quotes"),
        ("WITH (max_group = '5')", "unknown option max_group, expected schedule, time_zone, max_groups"),
    ];
    for (options, expected) in cases {
        let found = with(options).expect_err("a mistake");
        assert!(found.contains(expected), "{options}\nfound {found}");
    }
}

#[test]
fn mistakes_of_a_stream_are_named_where_they_are() {
    let cases = [
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL)",
            "schemas/s.sql:1:14: no event time: expected WITH (event_time = 'column')",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP) WITH (event_time = 't')",
            "schemas/s.sql:1:49: event time \"t\" is timestamp, expected timestamp not null",
        ),
        (
            "CREATE TABLE s (time TIMESTAMP NOT NULL) WITH (event_time = 'tmie')",
            "schemas/s.sql:1:61: unknown column \"tmie\", did you mean \"time\"?",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL, a TXT) WITH (event_time = 't')",
            "schemas/s.sql:1:41: unknown type TXT, did you mean \"text\"?",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL, a FLOAT) WITH (event_time = 't')",
            "schemas/s.sql:1:39: type FLOAT is not supported",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL, a DECIMAL(39,2)) WITH (event_time = 't')",
            "precision is 1 to 38",
        ),
        ("CREATE TABLE s (t TIMESTAMP NOT NULL, a DECIMAL) WITH (event_time = 't')", "wants its digits"),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL, T TEXT) WITH (event_time = 't')",
            "schemas/s.sql:1:39: column \"T\" is defined twice",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL, _a TEXT) WITH (event_time = 't')",
            "column name \"_a\" begins with _",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL, a__b TEXT) WITH (event_time = 't')",
            "column name \"a__b\" contains __",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL) WITH (event_tme = 't', event_time = 't')",
            "unknown option event_tme",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL) WITH (event_time = 't', format = 'avro')",
            "format 'avro' is not supported, expected 'json'",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL) WITH (event_time = 't', timestamp_format = 'epoch_milis')",
            "did you mean \"epoch_millis\"?",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL) WITH (event_time = 't', topic = 'a b')",
            "topic 'a b' is not a Kafka topic name",
        ),
        ("CREATE TABLE s (t TIMESTAMP NOT NULL) WITH (event_time = 't', max_future = 'soon')", "max_future"),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL DEFAULT 1) WITH (event_time = 't')",
            "DEFAULT 1 is not supported",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL WITH (event_time = 't')",
            "schemas/s.sql:1:38: found WITH, expected",
        ),
        ("CREATE VIEW s AS SELECT 1", "schemas/s.sql:1:1: expected CREATE TABLE in a schema file"),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL) WITH (event_time = 't'); CREATE TABLE S (t TIMESTAMP NOT NULL) WITH (event_time = 't')",
            "schemas/s.sql:1:77: stream S is defined twice",
        ),
        (
            "CREATE TABLE s (t TIMESTAMP NOT NULL) WITH (event_time = 't",
            "schemas/s.sql:1:58: unterminated string literal",
        ),
    ];
    for (schema, expected) in cases {
        let found = problems(schema, "");
        assert_eq!(found.len(), 1, "{schema}\n{found:#?}");
        let expected = if expected == "max_future" { "found interval 'soon'" } else { expected };
        assert!(found[0].contains(expected), "{schema}\nfound    {}\nexpected {expected}", found[0]);
    }
}
