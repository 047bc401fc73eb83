//! `CREATE MATERIALIZED VIEW` to a [`View`].

use std::sync::Arc;

use sqlparser::ast::{
    CreateView, Expr, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Spanned,
    TableFactor, Value,
};
use sqlparser::tokenizer::{Location, Span};

use super::names::{self, Taken};
use super::options::Options;
use super::source::Written;
use super::table::Outline;
use super::{Report, aggregate, hash, placed, window};
use crate::budget::Limits;
use crate::expr::{Compiler, Fault, Scalar, Scope, is_aggregate};
use crate::stream::Stream;
use crate::view::{Dimension, Measure, Schedule, View, WindowColumn};
use crate::window::Window;

const OPTIONS: [&str; 4] = ["schedule", "time_zone", MAX_GROUPS, MAX_STATE_BYTES];
const MAX_GROUPS: &str = "max_groups";
const MAX_STATE_BYTES: &str = "max_state_bytes";

/// The streams that a view may read.
pub(super) struct Streams<'a> {
    pub known: &'a [Arc<Stream>],
    /// Streams whose definition has mistakes of its own.
    pub broken: &'a [Outline],
}

/// What a view reads.
struct Source<'a> {
    stream: Found<'a>,
    /// What the query calls it.
    qualifier: Ident,
    span: Span,
}

enum Found<'a> {
    Whole(Arc<Stream>),
    Broken(&'a Outline),
}

impl Source<'_> {
    fn scope(&self) -> Scope<'_> {
        let (stream, fields, event_time, whole) = match &self.stream {
            Found::Whole(stream) => (&stream.name, &stream.fields, Some(stream.event_time), true),
            Found::Broken(outline) => (&outline.name, &outline.fields, outline.event_time, false),
        };
        let event_time = event_time.map(|index| fields[index].name.as_str());
        Scope { owner: "stream", stream, fields, event_time, whole, qualifier: self.qualifier.clone() }
    }
}

pub(super) fn view(
    create: &CreateView,
    written: &Written,
    streams: &Streams<'_>,
    report: &mut Report<'_>,
) -> Option<View> {
    let before = report.problems.len();
    let start = written.start;
    let name_span = placed(create.name.span(), start);
    refuse_extras(create, name_span.start, report);
    let name = report.keep(names::object(&create.name, name_span, "view"));
    let mut options = Options::read(&create.options, &[MAX_GROUPS], start, report);
    let schedule = schedule(&mut options, report);
    let limits = limits(&mut options, report);
    options.finish(&OPTIONS, report);
    let select = select(&create.query, name_span.start, report)?;
    let source = source(select, streams, name_span.start, report)?;
    let mut compiler = Compiler::new(source.scope());
    let filter = select.selection.as_ref().map(|filter| compiler.condition(filter, "WHERE"));
    let items = items(select, &mut compiler, report);
    let keys = keys(select, &items, &mut compiler, report);
    for fault in std::mem::take(&mut compiler.faults) {
        report.fault(fault);
    }
    check_grouping(&items, &keys, report);
    let window = the_window(&items, &compiler.scope, name_span.start, report);
    let stream = match source.stream {
        Found::Whole(stream) => stream,
        Found::Broken(Outline { name, mistake, .. }) => {
            let message = format!(
                "stream {name} has a mistake at {mistake}: what depends on it cannot be checked before that is mended"
            );
            report.unchecked(source.span.start, message);
            return None;
        }
    };
    if report.problems.len() > before {
        return None;
    }
    let filter = match filter {
        Some(filter) => Some(filter?),
        None => None,
    };
    let (mut dimensions, mut measures) = (Vec::new(), Vec::new());
    for item in items {
        match item.kind {
            Kind::Dimension(Some(scalar)) => {
                dimensions.push(Dimension { name: item.name, scalar: *scalar });
            }
            Kind::Measure(Some(measure)) => measures.push(*measure),
            _ => {}
        }
    }
    let hash = String::new();
    let mut view = View {
        name: name?,
        stream,
        sql: written.text.clone(),
        hash,
        schedule,
        limits,
        filter,
        dimensions,
        window: window?,
        measures,
    };
    view.hash = hash::hash(&view);
    Some(view)
}

fn refuse_extras(create: &CreateView, start: Location, report: &mut Report<'_>) {
    if !create.materialized {
        report.at(start, "found CREATE VIEW, expected CREATE MATERIALIZED VIEW");
    }
    let extras = [
        (create.or_replace || create.or_alter, "OR REPLACE"),
        (create.temporary, "TEMPORARY"),
        (create.if_not_exists, "IF NOT EXISTS"),
        (!create.columns.is_empty(), "a list of columns"),
        (!create.cluster_by.is_empty(), "CLUSTER BY"),
    ];
    for (found, what) in extras {
        if found {
            report.at(
                start,
                format!(
                    "{what} is not supported; expected CREATE MATERIALIZED VIEW name WITH (…) AS SELECT …"
                ),
            );
        }
    }
}

fn schedule(options: &mut Options, report: &mut Report<'_>) -> Option<Schedule> {
    let cron = options.take("schedule");
    let zone = options.take("time_zone");
    let time_zone = match &zone {
        Some(entry) => entry.text.clone(),
        None => "UTC".to_string(),
    };
    if let Some(entry) = &zone {
        if cron.is_none() {
            report.at(entry.name.span.start, "time_zone belongs to a schedule, and there is none");
        }
        if entry.text.parse::<chrono_tz::Tz>().is_err() {
            let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let message = format!("unknown time zone '{}', expected an IANA name", entry.text);
            report.fault(Fault::unknown(entry.span, message, &entry.text, known));
        }
    }
    let cron = cron?;
    let checked = crate::schedule::cron(&cron.text).map_err(|message| Fault::new(cron.span, message));
    report.keep(checked).map(|_| Schedule { cron: cron.text, time_zone })
}

fn limits(options: &mut Options, report: &mut Report<'_>) -> Limits {
    let mut limit = |name: &str, expected: &str, parse: fn(&str) -> Option<u64>| {
        let entry = options.take(name)?;
        let parsed = parse(&entry.text).filter(|limit| *limit > 0);
        let message = || format!("{name}: found '{}', expected {expected}", entry.text);
        report.keep(parsed.ok_or_else(|| Fault::new(entry.span, message())))
    };
    let groups = limit(MAX_GROUPS, "a whole number, 1 or more", |text| text.parse().ok());
    let size = |text: &str| Some(text.parse::<bytesize::ByteSize>().ok()?.as_u64());
    let bytes = limit(MAX_STATE_BYTES, "a size such as '256MiB'", size);
    Limits { groups, bytes }
}

/// The one SELECT of the view; everything around it is refused.
fn select<'a>(query: &'a Query, start: Location, report: &mut Report<'_>) -> Option<&'a Select> {
    if let Some(with) = &query.with {
        report.at(placed(with.span(), start).start, "WITH is not supported: a view reads one stream");
    }
    if let Some(order_by) = &query.order_by {
        report.at(
            placed(order_by.span(), start).start,
            "ORDER BY is not supported in a view; order when querying",
        );
    }
    if let Some(limit) = &query.limit_clause {
        report.at(placed(limit.span(), start).start, "LIMIT is not supported in a view; limit when querying");
    }
    if let Some(fetch) = &query.fetch {
        report.at(placed(fetch.span(), start).start, "FETCH is not supported in a view; limit when querying");
    }
    let others = !query.locks.is_empty() || query.settings.is_some() || !query.pipe_operators.is_empty();
    if others || query.for_clause.is_some() || query.format_clause.is_some() {
        report.at(start, "expected SELECT … FROM stream WHERE … GROUP BY … and nothing after it");
    }
    let select = match &*query.body {
        SetExpr::Select(select) => select,
        other => {
            let place = placed(other.span(), start).start;
            report.at(
                place,
                "expected one SELECT; UNION, VALUES and nested queries are not supported in a view",
            );
            return None;
        }
    };
    let keyword = select.select_token.0.span.start;
    let clauses = [
        (select.distinct.is_some(), keyword, "DISTINCT is not supported; GROUP BY makes rows unique"),
        (select.top.is_some(), keyword, "TOP is not supported in a view; limit when querying"),
        (select.into.is_some(), keyword, "INTO is not supported in a view"),
        (!select.lateral_views.is_empty(), keyword, "LATERAL VIEW is not supported in a view"),
        (select.prewhere.is_some(), keyword, "PREWHERE is not supported; use WHERE"),
        (!select.named_window.is_empty(), keyword, "WINDOW is not supported in a view"),
        (
            !select.cluster_by.is_empty() || !select.sort_by.is_empty() || !select.distribute_by.is_empty(),
            keyword,
            "CLUSTER, SORT and DISTRIBUTE BY are not supported in a view",
        ),
        (!select.connect_by.is_empty(), keyword, "CONNECT BY is not supported in a view"),
    ];
    for (_, place, message) in clauses.into_iter().filter(|(found, ..)| *found) {
        report.at(place, message);
    }
    if let Some(having) = &select.having {
        report.at(
            placed(having.span(), keyword).start,
            "HAVING is not supported in a view; filter measures when querying, or events with WHERE",
        );
    }
    if let Some(qualify) = &select.qualify {
        report.at(placed(qualify.span(), keyword).start, "QUALIFY is not supported in a view");
    }
    Some(select)
}

/// The stream in FROM, and what the query calls it.
fn source<'a>(
    select: &Select,
    streams: &Streams<'a>,
    start: Location,
    report: &mut Report<'_>,
) -> Option<Source<'a>> {
    let from = match select.from.as_slice() {
        [from] => from,
        [] => {
            report.at(select.select_token.0.span.start.max(start), "no FROM: expected the name of a stream");
            return None;
        }
        [_, second, ..] => {
            report.at(placed(second.span(), start).start, "a view reads one stream; joins are not supported");
            return None;
        }
    };
    for join in &from.joins {
        report.at(placed(join.span(), start).start, "joins are not supported: a view reads one stream");
    }
    let TableFactor::Table { name, alias, args: None, with_hints, version: None, sample: None, .. } =
        &from.relation
    else {
        report.at(
            placed(from.relation.span(), start).start,
            "expected the name of a stream; subqueries and table functions are not supported",
        );
        return None;
    };
    if !with_hints.is_empty() {
        report.at(placed(name.span(), start).start, "hints are not supported");
    }
    let span = placed(name.span(), start);
    let stream = find(name, streams, span, report)?;
    let name = match &stream {
        Found::Whole(stream) => &stream.name,
        Found::Broken(outline) => &outline.name,
    };
    let qualifier = alias.as_ref().map_or_else(|| Ident::new(name.clone()), |alias| alias.name.clone());
    Some(Source { stream, qualifier, span })
}

fn find<'a>(
    name: &ObjectName,
    streams: &Streams<'a>,
    span: Span,
    report: &mut Report<'_>,
) -> Option<Found<'a>> {
    let [part] = name.0.as_slice() else {
        report.at(span.start, format!("found {name}, expected the name of a stream"));
        return None;
    };
    let written = part.as_ident()?;
    let exact = streams.known.iter().find(|stream| stream.name == written.value);
    let found =
        exact.or_else(|| streams.known.iter().find(|stream| crate::expr::names(written, &stream.name)));
    if let Some(stream) = found {
        return Some(Found::Whole(stream.clone()));
    }
    let named = |outline: &&Outline| outline.name.trim_matches('"').eq_ignore_ascii_case(&written.value);
    if let Some(outline) = streams.broken.iter().find(named) {
        return Some(Found::Broken(outline));
    }
    let known = streams.known.iter().map(|stream| stream.name.as_str());
    let message = format!("unknown stream \"{}\"", written.value);
    report.fault(Fault::unknown(span, message, &written.value, known));
    None
}

/// A selected item. `None` inside a kind: it had mistakes.
struct Item {
    name: String,
    /// What GROUP BY may call it.
    alias: Option<Ident>,
    span: Span,
    kind: Kind,
}

enum Kind {
    Dimension(Option<Box<Scalar>>),
    Window(Option<Window>),
    Measure(Option<Box<Measure>>),
}

fn items(select: &Select, compiler: &mut Compiler<'_>, report: &mut Report<'_>) -> Vec<Item> {
    let mut taken = Taken::default();
    let mut items = Vec::new();
    for selected in &select.projection {
        let (expr, alias) = match selected {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            other => {
                let place = placed(other.span(), select.select_token.0.span.start).start;
                report.at(place, format!("found {other}, expected named columns and aggregates"));
                continue;
            }
        };
        let span = placed(expr.span(), select.select_token.0.span.start);
        let (name, name_span) = match (alias, column_name(expr, compiler)) {
            (Some(alias), _) => (alias.value.clone(), alias.span),
            (None, Some(name)) => (name, span),
            (None, None) => {
                report.at(span.start, format!("{expr} has no name; write {expr} AS name"));
                (String::new(), span)
            }
        };
        let kind = kind(expr, &name, compiler);
        if !name.is_empty() || alias.is_some() {
            let is_window = matches!(kind, Kind::Window(_));
            report.keep(
                names::view_column(&name, name_span, is_window).and_then(|()| taken.take(&name, name_span)),
            );
        }
        let alias = alias.cloned().or_else(|| (!name.is_empty()).then(|| Ident::new(name.clone())));
        items.push(Item { name, alias, span, kind });
    }
    items
}

fn kind(expr: &Expr, name: &str, compiler: &mut Compiler<'_>) -> Kind {
    if let Expr::Nested(inner) = expr {
        return kind(inner, name, compiler);
    }
    if let Some(window) = window::window(expr, &compiler.scope) {
        return Kind::Window(window.map_err(|fault| compiler.faults.push(fault)).ok());
    }
    match expr {
        Expr::Function(function) if is_aggregate(&function.name.to_string()) => {
            Kind::Measure(aggregate::measure(name, function, compiler).map(Box::new))
        }
        _ => Kind::Dimension(compiler.column(expr).map(Box::new)),
    }
}

/// A plain column keeps its name, as the stream spells it.
fn column_name(expr: &Expr, compiler: &Compiler<'_>) -> Option<String> {
    let written = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => parts.last()?,
        _ => return None,
    };
    let fields = compiler.scope.fields;
    let known = fields.iter().find(|field| crate::expr::names(written, &field.name));
    Some(known.map_or_else(|| written.value.clone(), |field| field.name.clone()))
}

/// Which items GROUP BY names.
fn keys(select: &Select, items: &[Item], compiler: &mut Compiler<'_>, report: &mut Report<'_>) -> Vec<bool> {
    let start = select.select_token.0.span.start;
    let (exprs, modifiers) = match &select.group_by {
        GroupByExpr::All(modifiers) => (None, modifiers),
        GroupByExpr::Expressions(exprs, modifiers) => (Some(exprs), modifiers),
    };
    if !modifiers.is_empty() {
        report.at(
            placed(select.group_by.span(), start).start,
            "ROLLUP, CUBE and TOTALS are not supported; roll up when querying",
        );
    }
    let Some(exprs) = exprs else {
        return items.iter().map(|item| !matches!(item.kind, Kind::Measure(_))).collect();
    };
    let mut grouped = vec![false; items.len()];
    for expr in exprs {
        let span = placed(expr.span(), start);
        match key(expr, items, compiler) {
            Ok(index) if matches!(items[index].kind, Kind::Measure(_)) => {
                report.at(span.start, format!("{expr} is an aggregate, which cannot be grouped by"));
            }
            Ok(index) => {
                grouped[index] = true;
                if is_ambiguous(expr, &items[index], &compiler.scope) {
                    let (stream, position) = (compiler.scope.stream, index + 1);
                    report.at(
                        span.start,
                        format!(
                            "{expr} is ambiguous: a column of stream {stream}, and the name of another selected item; \
                             name the item otherwise, or write {position} to group by it"
                        ),
                    );
                }
            }
            Err(Some(message)) => {
                report.at(span.start, message);
                // What it would have grouped is unknown.
                if matches!(expr, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_)) {
                    grouped.fill(true);
                }
            }
            Err(None) => {}
        }
    }
    grouped
}

/// The item that a key names; a mistake that is not among the compiler's faults is told.
fn key(expr: &Expr, items: &[Item], compiler: &mut Compiler<'_>) -> Result<usize, Option<String>> {
    match expr {
        Expr::Nested(inner) => return key(inner, items, compiler),
        Expr::Value(value) => {
            let Value::Number(text, _) = &value.value else {
                return Err(Some(format!("found {expr}, expected a group key")));
            };
            let position = text.parse::<usize>().ok().filter(|position| (1..=items.len()).contains(position));
            return position.map(|position| position - 1).ok_or_else(|| {
                Some(format!("GROUP BY {text}: expected a position from 1 to {}", items.len()))
            });
        }
        Expr::Identifier(name) => {
            let called = |item: &Item| item.alias.as_ref().is_some_and(|alias| same(name, alias));
            if let Some(index) = items.iter().position(called) {
                return Ok(index);
            }
        }
        Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => {
            let message = "ROLLUP, CUBE and GROUPING SETS are not supported; roll up when querying";
            return Err(Some(message.to_string()));
        }
        _ => {}
    }
    let missing = || Some(format!("group key {expr} is not selected; add it to SELECT"));
    if let Some(window) = window::window(expr, &compiler.scope) {
        let window = window.map_err(|fault| Some(fault.message))?;
        let same = |item: &Item| matches!(&item.kind, Kind::Window(Some(selected)) if *selected == window);
        return items.iter().position(same).ok_or_else(missing);
    }
    let Some(scalar) = compiler.scalar(expr) else { return Err(None) };
    let same =
        |item: &Item| matches!(&item.kind, Kind::Dimension(Some(selected)) if selected.sql == scalar.sql);
    items.iter().position(same).ok_or_else(missing)
}

/// True where a key names an item as a field is named that the item is not: other databases take the field, so
/// whoever reads the view may expect either.
fn is_ambiguous(key: &Expr, item: &Item, scope: &Scope<'_>) -> bool {
    let name = match key {
        Expr::Nested(inner) => return is_ambiguous(inner, item, scope),
        Expr::Identifier(name) => name,
        _ => return false,
    };
    let exact = scope.fields.iter().find(|field| field.name == name.value);
    let alike = || scope.fields.iter().find(|field| crate::expr::names(name, &field.name));
    let Some(field) = exact.or_else(alike) else { return false };
    match &item.kind {
        Kind::Dimension(Some(scalar)) => scalar.sql != crate::expr::quoted(&field.name),
        Kind::Window(Some(_)) => true,
        _ => false,
    }
}

fn same(written: &Ident, alias: &Ident) -> bool {
    if written.quote_style.is_some() || alias.quote_style.is_some() {
        return written.value == alias.value
            || (written.quote_style.is_none() && crate::expr::names(written, &alias.value));
    }
    written.value.eq_ignore_ascii_case(&alias.value)
}

fn check_grouping(items: &[Item], grouped: &[bool], report: &mut Report<'_>) {
    let ungrouped = items.iter().zip(grouped).filter(|(item, grouped)| !**grouped && !item.name.is_empty());
    for (item, _) in ungrouped {
        if matches!(item.kind, Kind::Dimension(Some(_)) | Kind::Window(Some(_))) {
            let message = format!("\"{}\" is neither an aggregate nor in GROUP BY", item.name);
            report.at(item.span.start, message);
        }
    }
}

fn the_window(
    items: &[Item],
    scope: &Scope<'_>,
    start: Location,
    report: &mut Report<'_>,
) -> Option<WindowColumn> {
    // Without a known event time, what is a window cannot be told from what is none.
    let event_time = scope.event_time?;
    let mut windows = items.iter().filter_map(|item| match item.kind {
        Kind::Window(window) => Some((item, window)),
        _ => None,
    });
    let first = windows.next();
    for (item, _) in windows {
        report.at(item.span.start, "a view has one window; ask for coarser grains when querying");
    }
    match first {
        Some((item, window)) => window.map(|window| WindowColumn { name: item.name.clone(), window }),
        None => {
            report.at(
                start,
                format!("no window: select and group by tumble({event_time}, INTERVAL '1 hour') AS name"),
            );
            None
        }
    }
}
