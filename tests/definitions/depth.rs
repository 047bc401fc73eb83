//! Expressions that are too deep to be compiled.

use super::{measuring, problem};

#[test]
fn an_expression_that_is_too_deep_is_refused_at_its_place_and_overflows_no_stack() {
    let chain = |operand: &str, operator: &str, count: usize| vec![operand; count].join(operator);
    let filtered = |filter: String| format!("count(*) AS n FROM flights WHERE {filter} GROUP BY hour");
    for (sql, place) in [
        (format!("sum({}) AS n FROM flights GROUP BY hour", chain("seats", " + ", 10_000)), "2:5"),
        (format!("max({}) AS n FROM flights GROUP BY hour", chain("origin", " || ", 10_000)), "2:5"),
        (filtered(chain("seats > 0", " AND ", 10_000)), "2:34"),
        (filtered(chain("(seats > 0)", "\n OR ", 9_999)), "2:35"),
    ] {
        let found = problem(&sql);
        let expected =
            format!("jobs/v.sql:{place}: found an expression 10001 levels deep, expected at most 200: ");
        assert!(found.starts_with(&expected), "{found}");
        assert!(found.contains("write x IN (…)") && found.contains("in parentheses"), "{found}");
    }
    let whens = chain("WHEN seats = 1 THEN 2", " ", 5_000);
    let found = problem(&format!("sum(CASE {whens} END) AS n FROM flights GROUP BY hour"));
    assert!(found.starts_with("jobs/v.sql:2:15: found an expression 5003 levels deep"), "{found}");
    for (opening, closing) in [("(", ")"), ("abs(", ")"), ("- ", "")] {
        let nested = format!("{}seats{}", opening.repeat(5_000), closing.repeat(5_000));
        let found = problem(&format!("sum({nested}) AS n FROM flights GROUP BY hour"));
        assert!(found.starts_with("jobs/v.sql:2:"), "{found}");
        assert!(found.contains("nested too deeply, expected at most 50 levels"), "{found}");
    }
    // As the message says: parts in parentheses, and lists.
    let half = chain("seats", " + ", 150);
    measuring(&format!("sum(({half}) + ({half})) AS n"));
    measuring(&format!("count(*) FILTER (WHERE fare IN ({})) AS n", chain("1.5", ", ", 5_000)));
}
