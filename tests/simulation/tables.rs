//! An engine that folds in memory: files hold the name of a table, and the table lies here.
//!
//! What a run lands, makes anew, carries over, names and publishes is the batch layer's own doing. Only Polars'
//! recomputation and Parquet are stood in for, by the fold that the batch layer confirms them with.

use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::errors::ParquetError;
use polars::prelude::{DataFrame, IntoLazy, LazyFrame, PolarsResult};
use watershed_batch::engine::Engine;
use watershed_batch::{BatchError, Ledger, Provenance, Select};
use watershed_schemas::states::StateTable;
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;

/// Clones share the same tables.
#[derive(Clone, Debug, Default)]
pub struct Tables(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    events: Vec<DataFrame>,
    rows: Vec<RecordBatch>,
}

impl Tables {
    /// The rows of a view file.
    pub fn rows(&self, bytes: &Bytes) -> Option<RecordBatch> {
        let number = number(bytes, "rows ")?;
        self.0.lock().expect("nothing panics while it holds this lock").rows.get(number).cloned()
    }

    fn events(&self, bytes: &Bytes) -> DataFrame {
        let number = number(bytes, "events ").expect("an event file names its table");
        self.0.lock().expect("nothing panics while it holds this lock").events[number].clone()
    }
}

fn number(bytes: &Bytes, kind: &str) -> Option<usize> {
    std::str::from_utf8(bytes).ok()?.strip_prefix(kind)?.parse().ok()
}

impl Engine for Tables {
    fn write_events(&self, events: &DataFrame, _from: &Provenance) -> PolarsResult<Bytes> {
        let mut held = self.0.lock().expect("nothing panics while it holds this lock");
        held.events.push(events.clone());
        Ok(format!("events {}", held.events.len() - 1).into())
    }

    fn read_events(&self, _stream: &Stream, file: &Bytes) -> PolarsResult<LazyFrame> {
        Ok(self.events(file).lazy())
    }

    fn compute(
        &self,
        view: &Arc<View>,
        select: &Select,
        files: &[Bytes],
        _ledger: &mut Ledger,
    ) -> Result<RecordBatch, BatchError> {
        let mut states = StateTable::new(view.clone());
        for file in files {
            let folded = states.fold(&self.events(file));
            folded.map_err(|source| BatchError::Compute { view: view.name.clone(), source })?;
        }
        let rows = states.to_record_batch();
        let starts = rows.column(0).as_primitive::<TimestampMicrosecondType>();
        let selected = |start: i64| match select {
            Select::All => true,
            Select::Between { from, until } => *from <= start && start < *until,
            Select::Starts(starts) => starts.contains(&start),
        };
        let selected: BooleanArray = starts.values().iter().map(|start| Some(selected(*start))).collect();
        Ok(filter_record_batch(&rows, &selected).expect("the selection has a place for each row"))
    }

    fn write_rows(&self, _view: &View, rows: &RecordBatch) -> Result<Bytes, ParquetError> {
        let mut held = self.0.lock().expect("nothing panics while it holds this lock");
        held.rows.push(rows.clone());
        Ok(format!("rows {}", held.rows.len() - 1).into())
    }

    fn read_rows(&self, bytes: Bytes) -> Result<RecordBatch, ParquetError> {
        self.rows(&bytes).ok_or_else(|| ParquetError::General("no table of that name".to_string()))
    }
}
