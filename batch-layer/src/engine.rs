//! What computes and what encodes: Polars and Parquet, behind one small trait.
//!
//! Which events land, which windows are made anew and what becomes visible when is decided elsewhere, whatever
//! the engine. So a simulator can live through runs by the hundred thousand with an engine that folds in memory.

use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::errors::ParquetError;
use polars::prelude::{DataFrame, LazyFrame, PolarsResult};
use watershed_schemas::events::scan;
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;

use crate::accuracy::Ledger;
use crate::event_files::{self, Provenance};
use crate::groups::Select;
use crate::{BatchError, cells, view_files};

pub trait Engine: fmt::Debug + Send + Sync {
    /// Events or dead letters as a file's bytes.
    fn write_events(&self, events: &DataFrame, from: &Provenance) -> PolarsResult<Bytes>;

    /// What an event file holds.
    fn read_events(&self, stream: &Stream, file: &Bytes) -> PolarsResult<LazyFrame>;

    /// The selected windows' rows out of event files, sorted by key: `window_start`, `window_end`, the dimensions, the
    /// exact measures, the states. What is learnt of the sketches' accuracy goes into the ledger.
    fn compute(
        &self,
        view: &Arc<View>,
        select: &Select,
        files: &[Bytes],
        ledger: &mut Ledger,
    ) -> Result<RecordBatch, BatchError>;

    /// A view's rows as a file's bytes.
    fn write_rows(&self, view: &View, rows: &RecordBatch) -> Result<Bytes, ParquetError>;

    /// All rows of a view file.
    fn read_rows(&self, bytes: Bytes) -> Result<RecordBatch, ParquetError>;
}

/// The engine of every real run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polars;

impl Engine for Polars {
    fn write_events(&self, events: &DataFrame, from: &Provenance) -> PolarsResult<Bytes> {
        event_files::encode(events, from)
    }

    fn read_events(&self, stream: &Stream, file: &Bytes) -> PolarsResult<LazyFrame> {
        scan(stream, std::slice::from_ref(file))
    }

    fn compute(
        &self,
        view: &Arc<View>,
        select: &Select,
        files: &[Bytes],
        ledger: &mut Ledger,
    ) -> Result<RecordBatch, BatchError> {
        cells::compute(view, select, files, ledger)
    }

    fn write_rows(&self, view: &View, rows: &RecordBatch) -> Result<Bytes, ParquetError> {
        view_files::encode(view, rows)
    }

    fn read_rows(&self, bytes: Bytes) -> Result<RecordBatch, ParquetError> {
        view_files::decode(bytes)
    }
}
