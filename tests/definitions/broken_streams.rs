//! Views over streams whose own definition has mistakes: all that can be said of them is said, and nothing else.

use super::*;

/// What is said of the view, its own mistakes first, then what it says of its stream.
fn told(schema: &str, view: &str) -> (Vec<String>, Vec<String>) {
    let parsed = Project::parse(&[file("schemas/s.sql", schema)], &[file("jobs/v.sql", view)]);
    let problems = parsed.expect_err("the stream has mistakes");
    let views = problems.iter().filter(|problem| problem.position.file == "jobs/v.sql");
    let (mistakes, unchecked): (Vec<_>, Vec<_>) =
        views.partition(|problem| problem.kind == ProblemKind::Mistake);
    let shown = |problems: Vec<&Problem>| problems.iter().map(ToString::to_string).collect();
    (shown(mistakes), shown(unchecked))
}

/// One column has a type that does not exist.
const BROKEN: &str = "CREATE TABLE s (t TIMESTAMP NOT NULL, city TEXT, fare INTEGR, seats INTEGER)
  WITH (event_time = 't');";

fn view(rest: &str) -> String {
    format!("CREATE MATERIALIZED VIEW v AS SELECT tumble(t, INTERVAL '1 hour') AS hour,\n{rest}")
}

#[test]
fn a_view_without_mistakes_of_its_own_says_only_what_it_waits_for() {
    let (mistakes, unchecked) = told(BROKEN, &view("city, sum(fare) AS fares FROM s GROUP BY hour, city"));
    assert_eq!(mistakes, Vec::<String>::new());
    let expected = "jobs/v.sql:2:31: stream s has a mistake at schemas/s.sql:1:55: \
                    what depends on it cannot be checked before that is mended";
    assert_eq!(unchecked, [expected]);
}

#[test]
fn mistakes_that_do_not_depend_on_the_broken_column_are_told() {
    let cases = [
        ("upper(seats) AS c, count(*) AS n FROM s GROUP BY hour, c", "jobs/v.sql:2:7: upper() wants text"),
        (
            "summ(fare) AS n FROM s GROUP BY hour",
            "jobs/v.sql:2:1: unknown function summ(), did you mean \"sum\"?",
        ),
        ("sum(fare, seats) AS n FROM s GROUP BY hour", "jobs/v.sql:2:1: sum() wants 1 argument, found 2"),
        ("quantile_cont(fare, 2) AS n FROM s GROUP BY hour", "a number between 0 and 1"),
        ("city, count(*) AS n FROM s GROUP BY hour", "\"city\" is neither an aggregate nor in GROUP BY"),
        ("count(*) FROM s GROUP BY hour", "has no name; write"),
        ("count(*) AS n FROM s GROUP BY hour, seats", "group key seats is not selected"),
        ("count(*) AS n FROM s WHERE fare = 1 AND city > 2 GROUP BY hour", "jobs/v.sql:2:"),
        ("count(*) AS n FROM s GROUP BY hour HAVING n > 1", "HAVING is not supported"),
        (
            "tumble(city, INTERVAL '1 day') AS day, count(*) AS n FROM s GROUP BY ALL",
            "expected the event time \"t\"",
        ),
    ];
    for (rest, expected) in cases {
        let (mistakes, unchecked) = told(BROKEN, &view(rest));
        assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{rest}\n{mistakes:#?}");
        assert_eq!(unchecked.len(), 1, "{rest}\n{unchecked:#?}");
    }
}

#[test]
fn what_may_be_right_once_the_stream_is_mended_is_no_mistake() {
    let cases = [
        "fare, count(*) AS n FROM s GROUP BY hour, fare",
        "upper(fare) AS c, count(*) AS n FROM s GROUP BY hour, c",
        "fare + seats AS c, count(*) AS n FROM s WHERE fare > 0 GROUP BY hour, fare + seats",
        "max(nowhere) FILTER (WHERE fare IN (1, 2)) AS n FROM s GROUP BY 1",
        "case when fare > 1 then 'a' else city end AS c, count(*) AS n FROM s AS x GROUP BY ALL",
    ];
    for rest in cases {
        let (mistakes, unchecked) = told(BROKEN, &view(rest));
        assert_eq!((mistakes.as_slice(), unchecked.len()), (&[][..], 1), "{rest}");
    }
}

#[test]
fn without_a_known_event_time_any_column_may_be_it() {
    for schema in [
        "CREATE TABLE s (t TIMESTAMP NOT NULL, city TEXT)",
        "CREATE TABLE s (t TIMESTAMP, city TEXT) WITH (event_time = 't')",
        "CREATE TABLE s (t TIMESTAMP NOT NULL, city TEXT WITH (event_time = 't')",
        "CREATE TABLE s (t TIMESTAMP NOT NULL, city TEXT) WITH (event_time = 't",
    ] {
        for rest in ["city, count(*) AS n FROM s GROUP BY ALL", "count(*) AS n FROM s GROUP BY hour"] {
            let (mistakes, unchecked) = told(schema, &view(rest));
            assert_eq!((mistakes.as_slice(), unchecked.len()), (&[][..], 1), "{schema}\n{rest}");
        }
        let sql = "CREATE MATERIALIZED VIEW v AS SELECT tumble(t, INTERVAL '0 hours') AS hour, summ(x) AS n FROM s GROUP BY hour";
        let (mistakes, unchecked) = told(schema, sql);
        assert_eq!((mistakes.len(), unchecked.len()), (2, 1), "{schema}\n{mistakes:#?}");
    }
}

#[test]
fn a_file_that_breaks_off_is_read_up_to_there() {
    let whole = "CREATE TABLE a (t TIMESTAMP NOT NULL) WITH (event_time = 't');\n";
    let schema = format!("{whole}CREATE TABLE b (t TIMESTAMP NOT NULL) WITH (event_time = 't);");
    let over = |stream: &str| {
        format!(
            "CREATE MATERIALIZED VIEW v_{stream} AS SELECT tumble(t, INTERVAL '1 hour') AS hour, count(*) AS n FROM {stream} GROUP BY hour;\n"
        )
    };
    let (mistakes, unchecked) = told(&schema, &(over("a") + &over("b")));
    assert_eq!(mistakes, Vec::<String>::new());
    assert_eq!(unchecked.len(), 1, "{unchecked:#?}");
    assert!(unchecked[0].contains("stream b has a mistake at schemas/s.sql:2:"), "{unchecked:#?}");
}
