//! `CREATE TABLE` to a [`Stream`].

use std::time::Duration;

use sqlparser::ast::{ColumnDef, ColumnOption, CreateTable, Spanned};
use sqlparser::tokenizer::Location;

use super::names::{self, Taken};
use super::options::{Entry, Options};
use super::{Report, placed};
use crate::expr::{Fault, Interval, sql_data_type};
use crate::problem::Position;
use crate::project::Defaults;
use crate::stream::{Field, Format, Stream, TimestampFormat};
use crate::types::DataType;

const OPTIONS: [&str; 6] =
    ["topic", "format", "event_time", "timestamp_format", "\"timestamp_format.<column>\"", "max_future"];
const TIMESTAMP_FORMATS: [(&str, TimestampFormat); 4] = [
    ("text", TimestampFormat::Text),
    ("epoch_seconds", TimestampFormat::EpochSeconds),
    ("epoch_millis", TimestampFormat::EpochMillis),
    ("epoch_micros", TimestampFormat::EpochMicros),
];

/// A stream whose definition has mistakes, as far as it could be read.
pub(super) struct Outline {
    pub name: String,
    /// The columns whose types are known.
    pub fields: Vec<Field>,
    pub event_time: Option<usize>,
    /// The first of the mistakes.
    pub mistake: Position,
}

impl Outline {
    /// What is known of a definition that could not be parsed.
    pub fn unread(name: String, mistake: Position) -> Self {
        Outline { name, fields: Vec::new(), event_time: None, mistake }
    }
}

pub(super) fn stream(
    create: &CreateTable,
    start: Location,
    defaults: &Defaults,
    report: &mut Report<'_>,
) -> Result<Stream, Outline> {
    let before = report.problems.len();
    refuse_extras(create, start, report);
    let name_span = placed(create.name.span(), start);
    let name = report.keep(names::object(&create.name, name_span, "stream"));
    let mut options = Options::read(&create.table_options, &[], start, report);
    let mut fields = fields(&create.columns, report);
    timestamp_formats(&mut fields, create.columns.len(), &mut options, report);
    let topic = topic(options.take("topic"), name.as_deref(), report);
    if let Some(entry) = options.take("format")
        && !entry.text.eq_ignore_ascii_case("json")
    {
        report.at(entry.span.start, format!("format '{}' is not supported, expected 'json'", entry.text));
    }
    let event_time = event_time(options.take("event_time"), &fields, name_span.start, report);
    let max_future = match options.take("max_future") {
        Some(entry) => report.keep(duration(&entry)),
        None => Some(defaults.max_future),
    };
    options.finish(&OPTIONS, report);
    let fields = fields.into_iter().map(|(field, _)| field).collect();
    match (name, topic, event_time, max_future, report.first_since(before)) {
        (Some(name), Some(topic), Some(event_time), Some(max_future), None) => {
            Ok(Stream { name, topic, format: Format::Json, fields, event_time, max_future })
        }
        (name, _, event_time, _, mistake) => Err(Outline {
            name: name.unwrap_or_else(|| create.name.to_string()),
            fields,
            event_time,
            mistake: mistake.unwrap_or_else(|| report.position(start)),
        }),
    }
}

fn refuse_extras(create: &CreateTable, start: Location, report: &mut Report<'_>) {
    let extras = [
        (create.or_replace, "OR REPLACE"),
        (create.temporary, "TEMPORARY"),
        (create.external, "EXTERNAL"),
        (create.if_not_exists, "IF NOT EXISTS"),
        (create.query.is_some(), "AS SELECT"),
        (create.like.is_some(), "LIKE"),
        (!create.constraints.is_empty(), "a table constraint"),
        (create.partition_by.is_some(), "PARTITION BY"),
    ];
    for (found, what) in extras {
        if found {
            report.at(
                start,
                format!("{what} is not supported; expected CREATE TABLE name (columns) WITH (options)"),
            );
        }
    }
}

type Placed = (Field, Location);

fn fields(columns: &[ColumnDef], report: &mut Report<'_>) -> Vec<Placed> {
    let mut taken = Taken::default();
    let mut fields = Vec::new();
    for column in columns {
        let name = &column.name;
        report.keep(names::column(&name.value, name.span).and_then(|()| taken.take(&name.value, name.span)));
        let not_null = column.options.iter().any(|option| option.option == ColumnOption::NotNull);
        for option in &column.options {
            if !matches!(option.option, ColumnOption::NotNull | ColumnOption::Null) {
                let place = placed(option.span(), name.span.start).start;
                report.at(
                    place,
                    format!("{} is not supported; a column is a name, a type and NOT NULL", option.option),
                );
            }
        }
        if let Some(data_type) = report.keep(sql_data_type(&column.data_type, name.span)) {
            let timestamp_format = TimestampFormat::default();
            fields.push((
                Field { name: name.value.clone(), data_type, not_null, timestamp_format },
                name.span.start,
            ));
        }
    }
    fields
}

fn timestamp_formats(fields: &mut [Placed], declared: usize, options: &mut Options, report: &mut Report<'_>) {
    if let Some(entry) = options.take("timestamp_format")
        && let Some(format) = report.keep(timestamp_format(&entry))
    {
        for (field, _) in fields.iter_mut().filter(|(field, _)| field.data_type == DataType::Timestamp) {
            field.timestamp_format = format;
        }
    }
    for (column, entry) in options.take_prefixed("timestamp_format.") {
        let format = report.keep(timestamp_format(&entry));
        match find(fields, &column) {
            Some(index) if fields[index].0.data_type == DataType::Timestamp => {
                fields[index].0.timestamp_format = format.unwrap_or_default();
            }
            Some(index) => {
                let found = &fields[index].0.data_type;
                report
                    .at(entry.name.span.start, format!("column \"{column}\" is {found}, expected timestamp"));
            }
            // A column whose type is wrong was reported already.
            None if fields.len() < declared => {}
            None => report.fault(unknown_column(&column, fields, entry.name.span)),
        }
    }
}

fn timestamp_format(entry: &Entry) -> Result<TimestampFormat, Fault> {
    let known = TIMESTAMP_FORMATS.iter().find(|(name, _)| entry.text.eq_ignore_ascii_case(name));
    known.map(|(_, format)| *format).ok_or_else(|| {
        let names = TIMESTAMP_FORMATS.map(|(name, _)| name);
        let message = format!("unknown timestamp format '{}', expected {}", entry.text, names.join(", "));
        Fault::unknown(entry.span, message, &entry.text, names)
    })
}

fn topic(entry: Option<Entry>, name: Option<&str>, report: &mut Report<'_>) -> Option<String> {
    let Some(entry) = entry else { return name.map(str::to_string) };
    let letters = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    let valid = (1..=249).contains(&entry.text.len())
        && entry.text.chars().all(letters)
        && !matches!(entry.text.as_str(), "." | "..");
    if !valid {
        let message = format!(
            "topic '{}' is not a Kafka topic name: expected letters, digits, '.', '_' and '-'",
            entry.text
        );
        report.at(entry.span.start, message);
        return None;
    }
    Some(entry.text)
}

fn event_time(
    entry: Option<Entry>,
    fields: &[Placed],
    start: Location,
    report: &mut Report<'_>,
) -> Option<usize> {
    let Some(entry) = entry else {
        report.at(start, "no event time: expected WITH (event_time = 'column'), a TIMESTAMP NOT NULL column");
        return None;
    };
    let Some(index) = find(fields, &entry.text) else {
        report.fault(unknown_column(&entry.text, fields, entry.span));
        return None;
    };
    let (field, _) = &fields[index];
    if field.data_type != DataType::Timestamp || !field.not_null {
        let found = format!("{}{}", field.data_type, if field.not_null { " not null" } else { "" });
        report.at(
            entry.span.start,
            format!("event time \"{}\" is {found}, expected timestamp not null", field.name),
        );
        return None;
    }
    Some(index)
}

fn find(fields: &[Placed], name: &str) -> Option<usize> {
    let exact = fields.iter().position(|(field, _)| field.name == name);
    exact.or_else(|| fields.iter().position(|(field, _)| field.name.eq_ignore_ascii_case(name)))
}

fn unknown_column(name: &str, fields: &[Placed], span: sqlparser::tokenizer::Span) -> Fault {
    let known = fields.iter().map(|(field, _)| field.name.as_str());
    Fault::unknown(span, format!("unknown column \"{name}\""), name, known)
}

fn duration(entry: &Entry) -> Result<Duration, Fault> {
    let expected = || {
        Fault::new(entry.span, format!("found '{}', expected a length of time such as '1 day'", entry.text))
    };
    let interval = Interval::parse(&entry.text).map_err(|message| Fault::new(entry.span, message))?;
    let micros = i64::from(interval.days)
        .checked_mul(86_400_000_000)
        .and_then(|days| days.checked_add(interval.micros));
    match micros {
        Some(micros) if interval.months == 0 && micros >= 0 => Ok(Duration::from_micros(micros as u64)),
        _ => Err(expected()),
    }
}
