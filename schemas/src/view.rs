//! A view: a standing aggregate over one stream.

use std::sync::Arc;

use crate::budget::Limits;
use crate::expr::Scalar;
use crate::stream::Stream;
use crate::types::DataType;
use crate::window::Window;

/// What `CREATE MATERIALIZED VIEW` declares, resolved against its stream.
#[derive(Clone, Debug)]
pub struct View {
    pub name: String,
    pub stream: Arc<Stream>,
    /// The statement as written.
    pub sql: String,
    /// SHA-256 (hex) over everything that decides the view's contents: stream fields used, filter,
    /// dimensions, window, measures. Renaming a file, changing the schedule or the limits leaves it alone.
    pub hash: String,
    /// A cron expression (five fields) and its time zone, checked when parsed.
    pub schedule: Option<Schedule>,
    /// What its live states may take on a speed node, where that is not left to the node's settings. No part of the
    /// hash: it decides how finely live records are told apart, not what the view is.
    pub limits: Limits,
    pub filter: Option<Scalar>,
    pub dimensions: Vec<Dimension>,
    pub window: WindowColumn,
    pub measures: Vec<Measure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub cron: String,
    /// An IANA name; `UTC` unless the view says otherwise.
    pub time_zone: String,
}

/// A grouping key other than the window.
#[derive(Clone, Debug)]
pub struct Dimension {
    pub name: String,
    pub scalar: Scalar,
}

/// The time bucket of a view: applied to the stream's event time.
#[derive(Clone, Debug)]
pub struct WindowColumn {
    pub name: String,
    pub window: Window,
}

/// An aggregate of a view.
#[derive(Clone, Debug)]
pub struct Measure {
    pub name: String,
    pub aggregate: Aggregate,
    /// What is aggregated; `None` only for `count(*)`.
    pub argument: Option<Scalar>,
    /// `FILTER (WHERE …)`: an event counts only where this is true.
    pub filter: Option<Scalar>,
    pub result_type: DataType,
}

/// The aggregates that a view may hold. NULL arguments are ignored by all of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Aggregate {
    /// `count(*)` without an argument, `count(x)` with one.
    Count,
    Sum,
    Avg,
    Min,
    Max,
    StddevSamp,
    VarSamp,
    /// `count(DISTINCT x)` and `approx_count_distinct(x)`.
    CountDistinct,
    /// `quantile_cont(x, q)`, `median(x)`, `percentile_cont(q) WITHIN GROUP (ORDER BY x)`.
    Quantile(f64),
    /// `approx_top_k(x, k)`.
    TopK(usize),
    /// By event time; ties by partition, then offset.
    First,
    Last,
}

impl Aggregate {
    /// True where the speed layer keeps a sketch and only the batch layer knows the exact value.
    pub fn is_sketched(&self) -> bool {
        matches!(self, Aggregate::CountDistinct | Aggregate::Quantile(_) | Aggregate::TopK(_))
    }
}

impl View {
    pub fn dimension(&self, name: &str) -> Option<usize> {
        self.dimensions.iter().position(|dimension| dimension.name == name)
    }

    pub fn measure(&self, name: &str) -> Option<usize> {
        self.measures.iter().position(|measure| measure.name == name)
    }

    /// The names of the stream's fields that this view reads, event time included, in field order.
    pub fn fields_read(&self) -> Vec<&str> {
        let scalars = (self.filter.iter())
            .chain(self.dimensions.iter().map(|dimension| &dimension.scalar))
            .chain(self.measures.iter().flat_map(|measure| measure.argument.iter().chain(&measure.filter)));
        let read: std::collections::BTreeSet<&str> =
            scalars.flat_map(|scalar| scalar.fields.iter().map(String::as_str)).collect();
        let event_time = self.stream.event_time().name.as_str();
        let fields = self.stream.fields.iter().map(|field| field.name.as_str());
        fields.filter(|name| read.contains(name) || *name == event_time).collect()
    }
}
