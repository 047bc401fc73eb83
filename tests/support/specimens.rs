//! Events with a column of every type, and views over them: what laws of states are proven on.

use std::sync::Arc;

use polars::prelude::*;
use proptest::prelude::*;
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::states::StateTable;
use watershed_schemas::view::View;

pub const STREAM: &str = "
CREATE TABLE specimens (
  at     TIMESTAMP NOT NULL,
  flag   BOOLEAN,
  small  INTEGER,
  big    BIGINT,
  real   DOUBLE,
  price  DECIMAL(12,2),
  label  TEXT,
  day    DATE,
  moment TIMESTAMP
) WITH (topic = 'specimens', format = 'json', event_time = 'at');";

pub const HOUR: i64 = 3_600_000_000;

/// An event; its place in the log is its index, see [`frame`].
#[derive(Clone, Debug)]
pub struct Specimen {
    pub at: i64,
    pub flag: Option<bool>,
    pub small: Option<i32>,
    pub big: Option<i64>,
    pub real: Option<f64>,
    /// In hundredths.
    pub price: Option<i128>,
    pub label: Option<String>,
    pub day: Option<i32>,
    pub moment: Option<i64>,
    pub partition: i32,
    pub offset: i64,
}

impl Specimen {
    /// An event with nothing but its place.
    pub fn blank(index: usize) -> Specimen {
        Specimen {
            at: 0,
            flag: None,
            small: None,
            big: None,
            real: None,
            price: None,
            label: None,
            day: None,
            moment: None,
            partition: (index % 3) as i32,
            offset: (index / 3) as i64,
        }
    }
}

/// A view over specimens: `select` is what stands between the window and `FROM`.
pub fn view(dimensions: &[&str], select: &[String], filter: Option<&str>) -> Arc<View> {
    let columns: Vec<String> = dimensions.iter().map(|name| format!("{name}, ")).collect();
    let filter = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
    let sql = format!(
        "CREATE MATERIALIZED VIEW examined AS SELECT {}tumble(at, INTERVAL '1 hour') AS hour, {} \
         FROM specimens{filter} GROUP BY {}hour;",
        columns.concat(),
        select.join(", "),
        columns.concat(),
    );
    let file = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
    let project =
        Project::parse(&[file("schemas/specimens.sql", STREAM)], &[file("jobs/examined.sql", &sql)]);
    let project = project.unwrap_or_else(|problems| panic!("{problems:?}"));
    project.view("examined").expect("it was just defined").clone()
}

/// Events as the decoder and the master dataset have them.
pub fn frame(events: &[Specimen]) -> DataFrame {
    fn column<T>(events: &[Specimen], of: impl Fn(&Specimen) -> T) -> Vec<T> {
        events.iter().map(of).collect()
    }
    let timestamp = DataType::Datetime(TimeUnit::Microseconds, None);
    let prices = Int128Chunked::from_iter_options("price".into(), events.iter().map(|event| event.price));
    let typed = |name: &str, series: Series, to: &DataType| {
        series.with_name(name.into()).cast(to).expect("the column casts").into_column()
    };
    let columns = vec![
        typed("at", Series::new("".into(), column(events, |event| event.at)), &timestamp),
        Column::new("flag".into(), column(events, |event| event.flag)),
        Column::new("small".into(), column(events, |event| event.small)),
        Column::new("big".into(), column(events, |event| event.big)),
        Column::new("real".into(), column(events, |event| event.real)),
        prices.into_decimal_unchecked(12, 2).into_column(),
        Column::new("label".into(), column(events, |event| event.label.clone())),
        typed("day", Series::new("".into(), column(events, |event| event.day)), &DataType::Date),
        typed("moment", Series::new("".into(), column(events, |event| event.moment)), &timestamp),
        Column::new("_partition".into(), column(events, |event| event.partition)),
        Column::new("_offset".into(), column(events, |event| event.offset)),
    ];
    DataFrame::new(events.len(), columns).expect("columns are of one length")
}

pub fn fold(view: &Arc<View>, events: &[Specimen]) -> StateTable {
    let mut table = StateTable::new(view.clone());
    table.fold(&frame(events)).expect("events fold");
    table
}

/// Up to `most` events over a few hours around 1970, in no order of time, with few different values and many NULLs.
pub fn specimens(most: usize) -> impl Strategy<Value = Vec<Specimen>> {
    prop::collection::vec(specimen(), 0..most).prop_map(|mut events| {
        for (index, event) in events.iter_mut().enumerate() {
            let blank = Specimen::blank(index);
            (event.partition, event.offset) = (blank.partition, blank.offset);
        }
        events
    })
}

fn specimen() -> impl Strategy<Value = Specimen> {
    let labels = prop::sample::select(vec!["", "a", "b", "ß", "a label that no view of twelve bytes holds"]);
    let reals = prop_oneof![
        4 => (-40i32..40).prop_map(|tenths| f64::from(tenths) / 10.0),
        2 => -1e6..1e6,
        1 => Just(-0.0),
    ];
    let bigs = prop_oneof![6 => -5i64..5, 1 => any::<i64>()];
    (
        prop_oneof![4 => (-2 * HOUR)..(2 * HOUR), 1 => (-3i64..3).prop_map(|half| half * HOUR / 2)],
        prop::option::of(any::<bool>()),
        prop::option::of(-9i32..9),
        prop::option::of(bigs),
        prop::option::of(reals),
        prop::option::of(-99_999i128..99_999),
        prop::option::of(labels.prop_map(str::to_string)),
        prop::option::of(-3i32..3),
        prop::option::of((-3i64..3).prop_map(|hours| hours * HOUR)),
    )
        .prop_map(|(at, flag, small, big, real, price, label, day, moment)| Specimen {
            at,
            flag,
            small,
            big,
            real,
            price,
            label,
            day,
            moment,
            partition: 0,
            offset: 0,
        })
}
