//! What a worker holds of statements before, and whom it serves.
//!
//! Guarantee: a table is used again only where whoever asks is shown these very rows: the same filter over the same
//! source, up to the same live offsets. Whatever a worker holds beside it is his to see too, or gone before his statement
//! is run.

use std::collections::BTreeSet;

use watershed_schemas::measure::ErrorBound;
use watershed_schemas::offsets::Offsets;
use watershed_schemas::project::Project;
use watershed_schemas::sql_worker::TableName;
use watershed_security::{Grant, RowFilter};

use super::cut::Source;
use super::tables::Known;
use crate::overflow::Told;

/// A table that was rewritten in part so often that the rows which it has lost take more than those that it has is made
/// anew. Fewer bytes than these trouble nobody.
const FEW_BYTES: usize = 4 << 20;

/// A table as a statement is to see it.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub table: Known,
    /// The rows that the one who asks may see; `None`: all.
    pub rows: Option<RowFilter>,
    pub source: Source,
    pub live: Offsets,
    /// Columns that may matter.
    pub columns: BTreeSet<String>,
}

/// A table as a worker holds it: settled rows, and behind them those of windows that live records reach.
#[derive(Clone, Debug)]
pub struct Held {
    /// As it was wanted, perhaps with more columns.
    pub made: Wanted,
    /// Where the windows begin that are not settled.
    pub settled_until: i64,
    pub settled: Part,
    pub rest: Part,
    /// What rows take that were handed over and taken back: their room is not used again.
    pub lost_bytes: usize,
}

/// Rows that were handed over together.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub rows: usize,
    pub columns: Vec<HandedColumn>,
    pub overflow: Option<Told>,
}

#[derive(Clone, Debug)]
pub struct HandedColumn {
    pub name: String,
    pub bytes: usize,
    /// For measures, whether every cell is exact, and how wrong one may be.
    pub exact: Option<bool>,
    pub error: Option<ErrorBound>,
}

/// A table as a statement saw it.
#[derive(Clone, Debug)]
pub struct Handed {
    pub name: TableName,
    pub stream: String,
    pub rows: usize,
    pub bytes: usize,
    /// Of the columns that may matter.
    pub columns: Vec<HandedColumn>,
    /// What live groups beyond the view's budget mean for it.
    pub overflow: Option<Told>,
}

impl Held {
    /// True where whoever asks may see every row of it.
    pub fn is_given(&self, grant: &Grant, project: &Project) -> bool {
        self.made.rows == grant.rows && self.made.table.given(grant, project).is_ok()
    }

    /// True where it differs from what is wanted by its columns and the reach of its live half at most.
    pub fn is_of(&self, wanted: &Wanted) -> bool {
        let Wanted { table, rows, source, .. } = &self.made;
        table.name() == wanted.table.name() && *rows == wanted.rows && *source == wanted.source
    }

    /// True where only the live half may have moved on.
    pub fn fits(&self, wanted: &Wanted) -> bool {
        self.is_of(wanted) && self.made.columns.is_superset(&wanted.columns)
    }

    /// True where it is what is wanted.
    pub fn is(&self, wanted: &Wanted) -> bool {
        self.fits(wanted) && self.made.live == wanted.live
    }

    /// True where rewriting what is not settled makes it what is wanted, with windows settled up to there.
    pub fn can_follow(&self, wanted: &Wanted, settled_until: i64) -> bool {
        let few = self.lost_bytes <= FEW_BYTES.max(self.bytes());
        self.fits(wanted) && self.settled_until <= settled_until && few
    }

    pub fn rows(&self) -> usize {
        self.settled.rows + self.rest.rows
    }

    pub fn bytes(&self) -> usize {
        self.settled.bytes() + self.rest.bytes()
    }

    /// What a statement sees of it that looks at these columns.
    pub fn handed(&self, wanted: &BTreeSet<String>) -> Handed {
        let columns = (self.settled.columns.iter().zip(&self.rest.columns))
            .filter(|(settled, _)| wanted.contains(&settled.name))
            .map(|(settled, rest)| settled.with(rest, self.rest.overflow.is_some()));
        let columns: Vec<HandedColumn> = columns.collect();
        Handed {
            name: self.made.table.name(),
            stream: self.made.table.stream().to_string(),
            rows: self.rows(),
            bytes: columns.iter().map(|column| column.bytes).sum(),
            columns,
            overflow: self.rest.overflow.clone(),
        }
    }
}

impl Part {
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.bytes).sum()
    }
}

impl HandedColumn {
    /// The same column of more rows. No bound is told where records may be missing.
    fn with(&self, rest: &HandedColumn, lacking: bool) -> HandedColumn {
        let exact = self.exact.zip(rest.exact).map(|(settled, rest)| settled && rest);
        let error = self.error.clone().or_else(|| rest.error.clone()).filter(|_| !lacking);
        HandedColumn { name: self.name.clone(), bytes: self.bytes + rest.bytes, exact, error }
    }
}

/// How well a worker that holds these tables suits a statement: how many of them it need not be handed whole, and how few
/// it has to forget.
pub fn suits(
    held: &[Held],
    wanted: &[Wanted],
    given: impl Fn(&Held) -> bool,
) -> (usize, std::cmp::Reverse<usize>) {
    let fits = wanted.iter().filter(|wanted| held.iter().any(|held| held.fits(wanted))).count();
    (fits, std::cmp::Reverse(held.iter().filter(|held| !given(held)).count()))
}
