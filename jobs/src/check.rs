//! `watershed check`: each view's plan, or every mistake.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::anyhow;
use watershed_schemas::measure::{ErrorBound, error_bound};
use watershed_schemas::schedule::Calendar;
use watershed_schemas::view::{Aggregate, Measure, View};

use crate::human::Size;
use crate::project::Place;
use crate::say;

pub fn check(place: &Place) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    for view in &workspace.project.views {
        Calendar::of(&view.schedule).map_err(|reason| anyhow!("view {}: {reason}", view.name))?;
        say::line(plan(view));
    }
    let (streams, views) = (workspace.project.streams.len(), workspace.project.views.len());
    say::line(format!(
        "{streams} {}, {views} {}: no mistakes",
        plural(streams, "stream"),
        plural(views, "view")
    ));
    Ok(ExitCode::SUCCESS)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_string() } else { format!("{word}s") }
}

/// What a view is, as the layers understand it: a line for each of its parts.
fn plan(view: &View) -> String {
    let stream = &view.stream;
    let mut lines = vec![
        ("reads", view.fields_read().join(", ")),
        (
            "window",
            format!("{}: {} of {}", view.window.name, view.window.window.length(), stream.event_time().name),
        ),
    ];
    lines.extend(view.filter.iter().map(|filter| ("only where", filter.text.clone())));
    let dimensions = view.dimensions.iter().map(|dimension| {
        let (name, scalar) = (&dimension.name, &dimension.scalar);
        ("by", format!("{name} {} = {}", scalar.data_type, scalar.text))
    });
    lines.extend(dimensions);
    lines.extend(view.measures.iter().map(|measure| ("measure", self::measure(measure))));
    let schedule = match &view.schedule {
        Some(schedule) => format!("{} ({})", schedule.cron, schedule.time_zone),
        None => "none: published when something calls `watershed batch run`".to_string(),
    };
    lines.push(("schedule", schedule));
    let groups = view.limits.groups.map(|groups| format!("{groups} groups"));
    let bytes = view.limits.bytes.map(|bytes| format!("{} of states", Size(bytes)));
    let budget: Vec<String> = groups.into_iter().chain(bytes).collect();
    if !budget.is_empty() {
        lines.push(("live budget", budget.join(", ")));
    }
    lines.push(("definition", view.hash.chars().take(16).collect()));
    let mut text = format!("{} over stream {} (topic {})\n", view.name, stream.name, stream.topic);
    for (index, (part, line)) in lines.iter().enumerate() {
        let repeated = index > 0 && lines[index - 1].0 == *part;
        writeln!(text, "  {:<11} {line}", if repeated { "" } else { part }).expect("a String takes any text");
    }
    text
}

/// `p95_delay double = quantile_cont(dep_delay, 0.95), live within 1 % of the value`
fn measure(measure: &Measure) -> String {
    let argument = measure.argument.as_ref().map_or("*", |argument| argument.text.as_str());
    let call = match &measure.aggregate {
        Aggregate::Count => format!("count({argument})"),
        Aggregate::Sum => format!("sum({argument})"),
        Aggregate::Avg => format!("avg({argument})"),
        Aggregate::Min => format!("min({argument})"),
        Aggregate::Max => format!("max({argument})"),
        Aggregate::StddevSamp => format!("stddev_samp({argument})"),
        Aggregate::VarSamp => format!("var_samp({argument})"),
        Aggregate::CountDistinct => format!("count(DISTINCT {argument})"),
        Aggregate::Quantile(q) => format!("quantile_cont({argument}, {q})"),
        Aggregate::TopK(k) => format!("approx_top_k({argument}, {k})"),
        Aggregate::First => format!("first({argument}) by event time"),
        Aggregate::Last => format!("last({argument}) by event time"),
    };
    let filter = measure.filter.as_ref().map_or(String::new(), |filter| format!(" where {}", filter.text));
    let exactness = match error_bound(measure) {
        None => "exact".to_string(),
        Some(ErrorBound { kind: "count", bound, .. }) => {
            format!("live within {} % of all occurrences", percent(bound))
        }
        Some(ErrorBound { bound, .. }) => format!("live within {} % of the value", percent(bound)),
    };
    format!("{} {} = {call}{filter}, {exactness}", measure.name, measure.result_type)
}

fn percent(share: f64) -> f64 {
    (share * 1e5).round() / 1e3
}
