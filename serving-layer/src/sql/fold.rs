//! A view's cells as rows of a table.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use watershed_schemas::keys::{Keys, UNKNOWN};
use watershed_schemas::measure::{ErrorBound, error_bound};
use watershed_schemas::scope::Scope;
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;
use watershed_security::RowFilter;

use super::handed::HandedColumn;
use crate::format::array;
use crate::grain::Buckets;
use crate::merge::{self, Selection, Source};
use crate::overflow::Told;
use crate::versions::LoadedView;

/// Both halves of a view.
#[derive(Clone)]
pub struct Cells {
    pub view: Arc<View>,
    pub batch: Arc<LoadedView>,
    pub live: Vec<Arc<StateTable>>,
}

/// Rows of a view.
pub struct Folded {
    pub rows: RecordBatch,
    pub columns: Vec<HandedColumn>,
    pub overflow: Option<Told>,
}

impl Cells {
    /// Where windows begin that live records have reached or soon may. Windows before it are the version's alone, and their
    /// rows stay what they are however far the live half comes, until it reaches back behind here.
    pub fn settled_until(&self) -> i64 {
        let live = self.live.iter().flat_map(|table| table.keys.windows()).copied();
        let newest =
            self.batch.files.iter().filter_map(|file| file.cells.windows).map(|(_, last)| last).max();
        live.chain(newest).min().unwrap_or(i64::MIN)
    }

    /// How many cells a fold of some windows may look at.
    pub fn reached(&self, windows: &Range<i64>) -> usize {
        let reached = self.batch.files.iter().map(|file| &file.cells).filter(|cells| {
            cells.windows.is_some_and(|(first, last)| first < windows.end && windows.start <= last)
        });
        let below: usize = reached.map(|cells| cells.table.cells()).sum();
        below + self.live.iter().map(|table| table.cells()).sum::<usize>()
    }

    /// The cells of some windows that a filter passes, merged by the view's own windows and dimensions. Whoever may see some
    /// rows only is to get no others from here: there is no other way to a worker.
    pub fn fold(
        &self,
        windows: Range<i64>,
        wanted: &BTreeSet<String>,
        filter: Option<&RowFilter>,
    ) -> Result<Folded, ArrowError> {
        let view = self.view.as_ref();
        let is_wanted = |name: &str| wanted.contains(name);
        let dimensions: Vec<usize> = (0..view.dimensions.len()).collect();
        let measures: Vec<usize> =
            (0..view.measures.len()).filter(|measure| is_wanted(&view.measures[*measure].name)).collect();
        let below = self.batch.files.iter().map(|file| &file.cells);
        let below = below.map(|cells| Source {
            table: &cells.table,
            exact: Some(&cells.exact),
            sorted: cells.sorted,
        });
        let above = self.live.iter().map(|table| Source { table, exact: None, sorted: false });
        let sources: Vec<Source<'_>> = below.chain(above).collect();
        let masks = filter.map(|rows| {
            let tables: Vec<&Keys> = sources.iter().map(|source| &source.table.keys).collect();
            let rows = rows.over_view(view).map_err(external)?;
            rows.cells(view, &tables).map_err(external)
        });
        let masks = masks.transpose()?;
        let scope = Scope { from: windows.start, to: windows.end, ..Scope::default() };
        let selection = Selection {
            view,
            scope: &scope,
            masks: masks.as_deref(),
            buckets: Buckets::Stored(view.window.window),
            dimensions: &dimensions,
            measures: &measures,
        };
        let groups = merge::merge(&sources, &selection);
        let all: Vec<u32> = (0..groups.len() as u32).collect();
        let (mut fields, mut arrays, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |name: &str, column: ArrayRef, exact: Option<bool>, error: Option<ErrorBound>| {
            fields.push(Field::new(name, column.data_type().clone(), true));
            columns.push(HandedColumn {
                name: name.to_string(),
                bytes: column.get_array_memory_size(),
                exact,
                error,
            });
            arrays.push(column);
        };
        if is_wanted(&view.window.name) {
            let starts = TimestampMicrosecondArray::from_iter_values(groups.keys.windows().iter().copied());
            add(&view.window.name, Arc::new(starts), None, None);
        }
        for (index, dimension) in view.dimensions.iter().enumerate() {
            if is_wanted(&dimension.name) {
                let values: Vec<&Value> = groups.keys.dictionary(index).iter().collect();
                let values = array(&dimension.scalar.data_type, &values)?;
                // Of an overflow group nobody knows the values.
                let known = |code: u32| (code != UNKNOWN).then_some(code);
                let codes: UInt32Array = groups.keys.codes(index).map(known).collect();
                add(&dimension.name, take(&values, &codes, None)?, None, None);
            }
        }
        for (place, measure) in measures.iter().enumerate() {
            let measure = &view.measures[*measure];
            let mut exact = !groups.overflow.is_undecided();
            let finish = |group: &u32| match groups.finish(*group, place) {
                Some(finished) => {
                    exact &= finished.exact;
                    finished.value
                }
                None => Value::Null,
            };
            let values: Vec<Value> = all.iter().map(finish).collect();
            let values: Vec<&Value> = values.iter().collect();
            // A sketch's bound holds for the records that it has seen.
            let bound = (!exact && groups.overflow.told().is_none()).then(|| error_bound(measure)).flatten();
            add(&measure.name, array(&measure.result_type, &values)?, Some(exact), bound);
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        Ok(Folded { rows, columns, overflow: groups.overflow.told() })
    }
}

pub fn external(error: impl std::error::Error + Send + Sync + 'static) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}
