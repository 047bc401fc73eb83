//! Published against recomputed, cell by cell.

use std::path::PathBuf;

use arrow::array::{Array, AsArray, StringArray};
use arrow::record_batch::RecordBatch;
use watershed_schemas::states::{WINDOW_END, WINDOW_START};
use watershed_schemas::types::DataType;
use watershed_schemas::view::View;

use crate::recompute::{declared, quoted, recomputation, sql_type};
use crate::{Engine, EngineError};

/// Doubles differ when they are further apart than this, relative to the larger one.
const RELATIVE: f64 = 1e-9;
/// What rounding may leave where a result is zero.
const ABSOLUTE: f64 = 1e-12;

/// The files of one view of one version, already checked against its manifest.
#[derive(Clone, Debug)]
pub struct Published {
    /// The whole master dataset of the view's stream.
    pub events: Vec<PathBuf>,
    pub view: Vec<PathBuf>,
}

/// One cell that is not what the events say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `hour=2013-01-01 05:00:00, carrier=AA`.
    pub key: String,
    /// A measure, or `row` for a row that only one side has.
    pub column: String,
    pub published: String,
    pub recomputed: String,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub events: i64,
    pub published_rows: i64,
    pub recomputed_rows: i64,
    pub cells: i64,
    pub differences: Vec<Difference>,
}

/// Recomputes a view from the master dataset and compares every cell of what was published.
pub fn compare(engine: &Engine, view: &View, files: &Published) -> Result<Comparison, EngineError> {
    // A field that is younger than every file is NULL in all of them.
    let mut events = declared(&view.stream);
    if let Some(landed) = scan(&files.events) {
        events = format!("{events} UNION ALL BY NAME {landed}");
    }
    let recomputed = recomputation(view);
    let published = scan(&files.view).unwrap_or_else(|| "SELECT * FROM recomputed WHERE false".to_string());
    engine.execute(&format!(
        "CREATE OR REPLACE TEMP VIEW events AS {events};
         CREATE OR REPLACE TEMP TABLE recomputed AS {recomputed};
         CREATE OR REPLACE TEMP TABLE published AS {published};"
    ))?;
    let count = |table: &str| -> Result<i64, EngineError> {
        let batches = engine.query(&format!("SELECT count(*) AS n FROM {table}"))?;
        Ok(batches
            .first()
            .map_or(0, |batch| batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0)))
    };
    let (events, published_rows, recomputed_rows) =
        (count("events")?, count("published")?, count("recomputed")?);
    let mut differences = types(engine, view)?;
    if differences.is_empty() {
        differences = read(&engine.query(&differing_cells(view))?);
    }
    let cells = published_rows * view.measures.len() as i64;
    Ok(Comparison { events, published_rows, recomputed_rows, cells, differences })
}

/// `None` for no files, which DuckDB would refuse.
fn scan(files: &[PathBuf]) -> Option<String> {
    let names: Vec<String> =
        files.iter().map(|file| format!("'{}'", file.display().to_string().replace('\'', "''"))).collect();
    // Folder names such as `date=…` are not columns of ours.
    (!names.is_empty()).then(|| {
        format!(
            "SELECT * FROM read_parquet([{}], hive_partitioning = false, union_by_name = true)",
            names.join(", ")
        )
    })
}

/// Columns whose published type is not the view's.
fn types(engine: &Engine, view: &View) -> Result<Vec<Difference>, EngineError> {
    let found = engine.query("SELECT column_name, column_type FROM (DESCRIBE published)")?;
    let found: Vec<(String, String)> = found
        .iter()
        .flat_map(|batch| {
            let (names, types) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
            let rows = 0..batch.num_rows();
            rows.map(|row| (names.value(row).to_string(), types.value(row).to_string())).collect::<Vec<_>>()
        })
        .collect();
    let dimensions = view.dimensions.iter().map(|dimension| (&dimension.name, &dimension.scalar.data_type));
    let measures = view.measures.iter().map(|measure| (&measure.name, &measure.result_type));
    let mut differences = Vec::new();
    for (name, data_type) in dimensions.chain(measures) {
        let expected = sql_type(data_type);
        let published =
            found.iter().find(|(column, _)| column == name).map(|(_, data_type)| data_type.as_str());
        if published.map(normalised) != Some(normalised(&expected)) {
            differences.push(Difference {
                key: "every row".to_string(),
                column: name.clone(),
                published: published.unwrap_or("no such column").to_string(),
                recomputed: expected,
            });
        }
    }
    Ok(differences)
}

/// DuckDB quotes the names of struct fields only where it must.
fn normalised(data_type: &str) -> String {
    data_type.replace('"', "").replace(", ", ",").to_uppercase()
}

fn differing_cells(view: &View) -> String {
    let mut keys = vec![WINDOW_START.to_string()];
    keys.extend(view.dimensions.iter().map(|dimension| quoted(&dimension.name)));
    // Of rows with one key the first are compared; further ones have no counterpart.
    let side = |table: &str| {
        let place = format!("row_number() OVER (PARTITION BY {})", keys.join(", "));
        format!("(SELECT *, true AS _present, {place} AS _place FROM {table})")
    };
    let mut same_key: Vec<String> =
        keys.iter().map(|key| format!("p.{key} IS NOT DISTINCT FROM r.{key}")).collect();
    same_key.push("p._place = r._place".to_string());
    let key = std::iter::once((&view.window.name, WINDOW_START.to_string()))
        .chain(view.dimensions.iter().map(|dimension| (&dimension.name, quoted(&dimension.name))))
        .map(|(name, column)| {
            let name = name.replace('\'', "''");
            format!("'{name}=' || coalesce(CAST(CASE WHEN p._present THEN p.{column} ELSE r.{column} END AS VARCHAR), 'NULL')")
        })
        .collect::<Vec<_>>()
        .join(" || ', ' || ");
    let mut cells = vec![cell("row", "p._present IS DISTINCT FROM r._present", "p._present", "r._present")];
    cells.push(cell(
        WINDOW_END,
        &format!("p._present AND r._present AND p.{WINDOW_END} IS DISTINCT FROM r.{WINDOW_END}"),
        &format!("p.{WINDOW_END}"),
        &format!("r.{WINDOW_END}"),
    ));
    for measure in &view.measures {
        let (published, recomputed) =
            (format!("p.{}", quoted(&measure.name)), format!("r.{}", quoted(&measure.name)));
        let differs = match &measure.result_type {
            // Only finite numbers can be near each other: an infinity is within any share of itself, and NaN <= NaN.
            DataType::Double => format!(
                "({published} IS DISTINCT FROM {recomputed}) AND NOT coalesce(isfinite({published}) AND \
                 isfinite({recomputed}) AND abs({published} - {recomputed}) \
                 <= {RELATIVE:e} * greatest(abs({published}), abs({recomputed})) + {ABSOLUTE:e}, false)"
            ),
            _ => format!("{published} IS DISTINCT FROM {recomputed}"),
        };
        let both = format!("p._present AND r._present AND ({differs})");
        cells.push(cell(&measure.name, &both, &published, &recomputed));
    }
    format!(
        "WITH joined AS (SELECT {key} AS key, unnest(list_filter([{}], lambda cell: cell.differs)) AS cell \
         FROM {} p FULL OUTER JOIN {} r ON {}) \
         SELECT key, cell.name AS name, cell.published AS published, cell.recomputed AS recomputed \
         FROM joined ORDER BY key, name",
        cells.join(", "),
        side("published"),
        side("recomputed"),
        same_key.join(" AND "),
    )
}

fn cell(name: &str, differs: &str, published: &str, recomputed: &str) -> String {
    format!(
        "{{'name': '{}', 'differs': {differs}, 'published': CAST({published} AS VARCHAR), 'recomputed': CAST({recomputed} AS VARCHAR)}}",
        name.replace('\'', "''")
    )
}

fn read(batches: &[RecordBatch]) -> Vec<Difference> {
    let text = |column: &StringArray, row: usize| {
        if column.is_null(row) { "NULL".to_string() } else { column.value(row).to_string() }
    };
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    rows.map(|(batch, row)| {
        let column = |index: usize| text(batch.column(index).as_string::<i32>(), row);
        Difference { key: column(0), column: column(1), published: column(2), recomputed: column(3) }
    })
    .collect()
}
