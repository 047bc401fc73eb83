//! A question, resolved against its view: what is read, kept, grouped, ordered.

use std::sync::Arc;

use chrono_tz::Tz;
use watershed_schemas::manifest::Version;
use watershed_schemas::predicate::Predicate;
use watershed_schemas::scope::{Condition, Scope};
use watershed_schemas::types::DataType;
use watershed_schemas::view::View;

use crate::grain::{self, Buckets, Grain};
use crate::query::{Accuracy, Fill, Filter, Query, Requirement};
use crate::refusal::{Reason, Refusal};

mod literal;

/// What answering takes.
#[derive(Clone, Debug)]
pub struct Plan {
    pub view: Arc<View>,
    /// Indices into the view's measures and dimensions, in the order of the answer's columns.
    pub measures: Vec<usize>,
    pub dimensions: Vec<usize>,
    /// The cells that take part, and the measures that are named.
    pub scope: Scope,
    /// The rows that the asker may see; none: all.
    pub rows: Option<Arc<Predicate>>,
    pub buckets: Buckets,
    pub zone: Tz,
    pub fill: Fill,
    /// What the asker wants order by; window and dimensions follow, so that the order is total.
    pub order: Vec<OrderKey>,
    pub limit: Option<usize>,
    pub cursor: Option<String>,
    pub accuracy: Accuracy,
    pub as_of: Option<Version>,
    /// True where live records have no part.
    pub batch_only: bool,
    pub require: Vec<Requirement>,
    pub provenance: bool,
    pub explain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderKey {
    pub by: Column,
    pub descending: bool,
}

/// A column of the answer; indices count within [`Plan::dimensions`] and [`Plan::measures`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Window,
    Dimension(usize),
    Measure(usize),
}

/// Resolves a question against its view.
pub fn plan(query: &Query, view: &Arc<View>) -> Result<Plan, Refusal> {
    let measures =
        resolve(query.measures.as_deref(), view.measures.len(), "measures", |name| measure(view, name))?;
    let dimensions = resolve(query.group_by.as_deref(), view.dimensions.len(), "group_by", |name| {
        dimension(view, "group_by", name)
    })?;
    let conditions = query.filters.iter().map(|filter| condition(view, filter)).collect::<Result<_, _>>()?;
    let rows = query.rows.as_ref().map(|rows| rows.over_view(view)).transpose();
    let rows = rows.map_err(|error| {
        let detail =
            format!("this key sees some rows only, which this definition of the view cannot tell: {error}");
        Refusal::new(Reason::Forbidden, detail)
    })?;
    let buckets = buckets(query, view)?;
    let scope = Scope {
        from: query.from.unwrap_or(i64::MIN),
        to: query.to.unwrap_or(i64::MAX),
        conditions,
        measures: named(&measures, view.measures.len()),
    };
    let mut plan = Plan {
        view: view.clone(),
        measures,
        dimensions,
        scope,
        rows,
        buckets,
        zone: query.time_zone,
        fill: query.fill,
        order: Vec::new(),
        limit: query.limit,
        cursor: query.cursor.clone(),
        accuracy: query.accuracy,
        as_of: query.as_of,
        batch_only: query.batch_only(),
        require: query.require.clone(),
        provenance: query.provenance,
        explain: query.explain,
    };
    if plan.columns().is_empty() {
        let detail = "the answer would have no columns: name a measure or a dimension";
        return Err(Refusal::wrong("measures", detail));
    }
    for order in &query.order_by {
        let key = OrderKey { by: plan.column(&order.column)?, descending: order.descending };
        if plan.order.iter().any(|before| before.by == key.by) {
            let detail = format!("\"{}\" occurs twice in order_by", order.column);
            return Err(Refusal::wrong_at("order_by", &order.column, detail));
        }
        plan.order.push(key);
    }
    Ok(plan)
}

impl Plan {
    /// True when what is found follows from the question and the records alone: neither from when it is asked, as whether a
    /// bucket has begun does, nor from how it was come by.
    pub fn follows_from_records(&self) -> bool {
        self.fill == Fill::None && !self.explain
    }

    /// True when every group is one stored cell, so that no states are merged below the watershed.
    pub fn keeps_cells(&self) -> bool {
        let mut dimensions = self.dimensions.clone();
        dimensions.sort_unstable();
        dimensions.dedup();
        matches!(self.buckets, Buckets::Stored(_)) && dimensions.len() == self.view.dimensions.len()
    }

    /// True where windows between two starts (both included) may take part.
    pub fn reaches(&self, first: i64, last: i64) -> bool {
        first < self.scope.to && self.scope.from <= last
    }

    pub fn names_window(&self) -> bool {
        self.buckets != Buckets::All
    }

    /// The answer's columns in order.
    pub fn columns(&self) -> Vec<Column> {
        let window = self.names_window().then_some(Column::Window);
        let dimensions = (0..self.dimensions.len()).map(Column::Dimension);
        window.into_iter().chain(dimensions).chain((0..self.measures.len()).map(Column::Measure)).collect()
    }

    pub fn name(&self, column: Column) -> &str {
        match column {
            Column::Window => &self.view.window.name,
            Column::Dimension(index) => &self.view.dimensions[self.dimensions[index]].name,
            Column::Measure(index) => &self.view.measures[self.measures[index]].name,
        }
    }

    pub fn data_type(&self, column: Column) -> &DataType {
        match column {
            Column::Window => &DataType::Timestamp,
            Column::Dimension(index) => &self.view.dimensions[self.dimensions[index]].scalar.data_type,
            Column::Measure(index) => &self.view.measures[self.measures[index]].result_type,
        }
    }

    fn column(&self, name: &str) -> Result<Column, Refusal> {
        let columns = self.columns();
        let Some(column) = columns.iter().find(|column| self.name(**column) == name) else {
            let known = columns.iter().map(|column| self.name(*column));
            let refusal = Refusal::unknown_name("column", name, known).at("order_by", name);
            return Err(Refusal {
                detail: format!("{} in order_by: the answer has no such column", refusal.detail),
                ..refusal
            });
        };
        if matches!(self.data_type(*column), DataType::TopK(_)) {
            return Err(Refusal::wrong_at(
                "order_by",
                name,
                format!("\"{name}\" is a list: it has no order"),
            ));
        }
        Ok(*column)
    }
}

/// Indices in order; `None` where they are all that there are.
fn named(indices: &[usize], all: usize) -> Option<Vec<usize>> {
    let mut named = indices.to_vec();
    named.sort_unstable();
    (named.len() < all).then_some(named)
}

/// Names to indices; all of them where nothing was named, each at most once.
fn resolve(
    names: Option<&[String]>,
    all: usize,
    key: &str,
    index: impl Fn(&str) -> Result<usize, Refusal>,
) -> Result<Vec<usize>, Refusal> {
    let Some(names) = names else { return Ok((0..all).collect()) };
    let mut indices = Vec::with_capacity(names.len());
    for name in names {
        let index = index(name)?;
        if indices.contains(&index) {
            return Err(Refusal::wrong_at(key, name, format!("\"{name}\" occurs twice in {key}")));
        }
        indices.push(index);
    }
    Ok(indices)
}

fn measure(view: &View, name: &str) -> Result<usize, Refusal> {
    view.measure(name).ok_or_else(|| {
        let known = view.measures.iter().map(|measure| measure.name.as_str());
        let refusal = Refusal::unknown_name("measure", name, known).at("measures", name);
        Refusal { detail: format!("{} of view {}", refusal.detail, view.name), ..refusal }
    })
}

/// `key` is where the name was read from: `group_by`, or `where.` and the name.
fn dimension(view: &View, key: &str, name: &str) -> Result<usize, Refusal> {
    view.dimension(name).ok_or_else(|| {
        if name == view.window.name {
            let instead = if key == "group_by" { "\"grain\"" } else { "\"from\" and \"to\"" };
            let detail = format!("\"{name}\" is the view's window, not a dimension: use {instead}");
            return Refusal::wrong_at(key, name, detail);
        }
        let known = view.dimensions.iter().map(|dimension| dimension.name.as_str());
        let refusal = Refusal::unknown_name("dimension", name, known).at(key, name);
        Refusal { detail: format!("{} of view {}", refusal.detail, view.name), ..refusal }
    })
}

fn condition(view: &View, filter: &Filter) -> Result<Condition, Refusal> {
    let dimension = dimension(view, &format!("where.{}", filter.dimension), &filter.dimension)?;
    let data_type = &view.dimensions[dimension].scalar.data_type;
    let typed = |value| literal::typed(value, data_type, &filter.dimension);
    let values = filter.values.iter().map(typed).collect::<Result<_, _>>()?;
    Ok(Condition { dimension, negated: filter.negated, values })
}

fn buckets(query: &Query, view: &View) -> Result<Buckets, Refusal> {
    let stored = view.window.window;
    let length = match query.grain {
        None => return Ok(Buckets::Stored(stored)),
        Some(Grain::All) => return Ok(Buckets::All),
        Some(Grain::Every(length)) => length,
    };
    if length == stored.length() && query.time_zone == Tz::UTC {
        return Ok(Buckets::Stored(stored));
    }
    let (from, to) = (query.from.unwrap_or(grain::USUAL.0), query.to.unwrap_or(grain::USUAL.1));
    match grain::unserved(length, query.time_zone, stored, from, to) {
        Some(detail) => Err(Refusal::wrong("grain", detail)),
        None => Ok(Buckets::Every { length, zone: query.time_zone }),
    }
}
