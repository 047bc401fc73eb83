//! The tables that a statement may name, and which of them one who asks is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_schemas::project::Project;
use watershed_schemas::sql_worker::TableName;
use watershed_schemas::stream::{OFFSET_COLUMN, PARTITION_COLUMN, Stream, TIMESTAMP_COLUMN};
use watershed_schemas::types::DataType;
use watershed_schemas::view::View;
use watershed_security::{Denied, Grant, Views};

use super::names::{Named, Names};
use crate::ask::Serving;
use crate::refusal::{Reason, Refusal};

pub const BATCH: &str = "batch";
pub const EVENTS: &str = "events";

/// A table that a statement names, as it is known here.
#[derive(Clone, Debug)]
pub enum Known {
    /// Batch and live.
    Merged(Arc<View>),
    /// The newest version alone.
    Batch(Arc<View>),
    /// The master dataset of the newest version.
    Events(Arc<Stream>),
}

impl Known {
    pub fn name(&self) -> TableName {
        let (schema, name) = match self {
            Known::Merged(view) => (None, &view.name),
            Known::Batch(view) => (Some(BATCH), &view.name),
            Known::Events(stream) => (Some(EVENTS), &stream.name),
        };
        TableName { schema: schema.map(str::to_string), name: name.clone() }
    }

    /// Whether a grant shows anything of the table. Events tell more than any view does, so they are for those who see all
    /// views.
    pub fn given(&self, grant: &Grant, project: &Project) -> Result<(), Denied> {
        match self {
            Known::Merged(view) | Known::Batch(view) => grant.cells(view).map(drop),
            Known::Events(_) if grant.views != Views::All => Err(Denied::Unknown),
            Known::Events(stream) => grant.events(project, stream).map(drop),
        }
    }

    pub fn stream(&self) -> &str {
        match self {
            Known::Merged(view) | Known::Batch(view) => &view.stream.name,
            Known::Events(stream) => &stream.name,
        }
    }

    /// All columns that the table has, whether or not they are handed over.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Known::Merged(view) | Known::Batch(view) => cell_columns(view),
            Known::Events(stream) => event_columns(stream).into_iter().map(|(name, _)| name).collect(),
        }
    }
}

/// Finds the tables that a statement names, each once. What a grant does not name is as unknown as what there is not;
/// `place` says where in the statement such a one stands.
pub fn known(
    serving: &Serving,
    grant: &Grant,
    names: &Names,
    place: impl Fn(Refusal, Option<usize>) -> Refusal,
) -> Result<Vec<Known>, Refusal> {
    let mut tables: BTreeMap<TableName, Known> = BTreeMap::new();
    for named in &names.tables {
        let known = find(serving, named).ok_or(Denied::Unknown);
        let known = known.and_then(|known| known.given(grant, &serving.streams.project).map(|()| known));
        let known = known.map_err(|denied| {
            let refusal = match denied {
                Denied::Unknown => unknown(serving, grant, named),
                Denied::Forbidden(reason) => Refusal::new(Reason::Forbidden, reason),
            };
            place(refusal, named.position)
        })?;
        tables.insert(known.name(), known);
    }
    Ok(tables.into_values().collect())
}

fn find(serving: &Serving, named: &Named) -> Option<Known> {
    let table = named.table()?;
    let project = &serving.streams.project;
    // Names are told apart as DuckDB does: not by case.
    let view = || project.views.iter().find(|view| view.name.eq_ignore_ascii_case(&table.name)).cloned();
    match table.schema.as_deref() {
        None => view().map(Known::Merged),
        Some(BATCH) => view().map(Known::Batch),
        Some(EVENTS) => {
            let mut streams = project.streams.iter();
            streams.find(|stream| stream.name.eq_ignore_ascii_case(&table.name)).cloned().map(Known::Events)
        }
        Some(_) => None,
    }
}

fn unknown(serving: &Serving, grant: &Grant, named: &Named) -> Refusal {
    let project = &serving.streams.project;
    let views =
        project.views.iter().flat_map(|view| [Known::Merged(view.clone()), Known::Batch(view.clone())]);
    let events = project.streams.iter().cloned().map(Known::Events);
    let given = views.chain(events).filter(|table| table.given(grant, project).is_ok());
    let all: Vec<String> = given.map(|table| shown(&table.name())).collect();
    Refusal::unknown_name("table", &named.shown(), all.iter().map(String::as_str))
}

/// `batch.flight_delays`
pub fn shown(table: &TableName) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}

/// A view's columns.
pub fn cell_columns(view: &View) -> Vec<&str> {
    let dimensions = view.dimensions.iter().map(|dimension| dimension.name.as_str());
    let measures = view.measures.iter().map(|measure| measure.name.as_str());
    std::iter::once(view.window.name.as_str()).chain(dimensions).chain(measures).collect()
}

/// An event's fields, and what it has beside them.
pub fn event_columns(stream: &Stream) -> Vec<(&str, DataType)> {
    let fields = stream.fields.iter().map(|field| (field.name.as_str(), field.data_type.clone()));
    let own = [
        (PARTITION_COLUMN, DataType::Integer),
        (OFFSET_COLUMN, DataType::BigInt),
        (TIMESTAMP_COLUMN, DataType::Timestamp),
    ];
    fields.chain(own).collect()
}
