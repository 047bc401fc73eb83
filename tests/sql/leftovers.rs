//! A worker alone, asked what its server would never ask of it: whatever a statement is, nothing of it is there for the next.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use watershed_schemas::sql_worker::{Ask, HEAD_BYTES, Head, Keep, Parameters, Reply, Run, TableName};

use super::MEMORY;
use crate::support::binary::watershed;

/// What writes, or stays in a session.
const STATEMENTS: [&str; 26] = [
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT count(*) FROM gone",
    "WITH gone AS MATERIALIZED (DELETE FROM t RETURNING *) FROM gone",
    "WITH more AS (INSERT INTO t VALUES (100) RETURNING *) FROM more",
    "WITH other AS (UPDATE t SET n = 0 RETURNING *) FROM other",
    "WITH out AS (COPY (SELECT 1) TO '/tmp/out.csv') SELECT 1",
    "DELETE FROM t",
    "INSERT INTO t VALUES (100)",
    "UPDATE t SET n = 0",
    "TRUNCATE t",
    "DROP TABLE t",
    "ALTER TABLE t RENAME TO u",
    "COMMIT",
    "ROLLBACK",
    "COMMIT; DELETE FROM t",
    "SELECT 1; DELETE FROM t",
    "CREATE TABLE u AS SELECT * FROM t",
    "CREATE TEMP TABLE t AS SELECT 100::BIGINT AS n",
    "CREATE VIEW v AS SELECT * FROM t",
    "CREATE TEMP VIEW t AS SELECT 100::BIGINT AS n",
    "CREATE MACRO sum(a) AS 100",
    "CREATE TEMP MACRO sum(a) AS 100",
    "SET VARIABLE x = 100",
    "SET search_path = 'temp'",
    "USE temp",
    "PREPARE p AS SELECT 100",
    "ATTACH ':memory:' AS m",
];

/// What would tell that one of them had been there.
const TRACES: [&str; 5] = ["FROM u", "FROM v", "EXECUTE p", "FROM m.information_schema.tables", "SELECT p()"];

struct Direct {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Direct {
    fn start() -> Direct {
        let mut child = Command::new(watershed())
            .args(["sql-worker", "--memory", &MEMORY.to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let (input, output) = child.stdin.take().zip(child.stdout.take()).expect("its streams are ours");
        let mut direct = Direct { child, input, output };
        assert!(matches!(direct.reply(), Reply::Ready(_)));
        direct
    }

    fn ask(&mut self, ask: &Ask) {
        self.input.write_all(&ask.frame().expect("a frame")).expect("it reads");
    }

    fn reply(&mut self) -> Reply {
        let mut head = [0; HEAD_BYTES];
        self.output.read_exact(&mut head).expect("it answers");
        let head = Head::read(head).expect("a frame");
        let mut payload = vec![0; head.bytes];
        self.output.read_exact(&mut payload).expect("it answers");
        Reply::read(head, payload).expect("a reply")
    }

    fn hand(&mut self, name: &str, numbers: &[i64]) {
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("one column");
        self.ask(&Ask::Table { table: table(name), rows });
    }

    /// The rows, or why there are none.
    fn run(&mut self, sql: &str) -> Result<Vec<RecordBatch>, String> {
        let parameters = Parameters::Listed(Vec::new());
        let run = Run { sql: sql.to_string(), parameters, limit: 100, most_bytes: 1 << 20, cpu_seconds: 10 };
        self.ask(&Ask::Run(run));
        let mut rows = Vec::new();
        loop {
            match self.reply() {
                Reply::Rows(batch) => rows.push(batch),
                Reply::Done(done) => return if done.again { Ok(rows) } else { Err("it has to go".into()) },
                Reply::Refused(refused) => {
                    assert!(refused.again, "{sql}: {refused:?}");
                    return Err(refused.message);
                }
                other => panic!("{sql}: {other:?}"),
            }
        }
    }

    fn number(&mut self, sql: &str) -> i64 {
        let rows = self.run(sql).unwrap_or_else(|refused| panic!("{sql}: {refused}"));
        rows[0].column(0).as_primitive::<Int64Type>().value(0)
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn table(name: &str) -> TableName {
    TableName { schema: None, name: name.to_string() }
}

#[test]
fn whatever_a_statement_tries_the_next_one_finds_its_tables_as_they_were_handed_over() {
    let mut worker = Direct::start();
    worker.hand("t", &[1, 2, 3]);
    for sql in STATEMENTS {
        let refused = worker.run(sql);
        assert!(refused.is_err(), "{sql}: {refused:?}");
        assert_eq!(worker.number("SELECT sum(n)::BIGINT FROM t"), 6, "after {sql}");
        assert_eq!(worker.number("SELECT count(*) FROM t WHERE getvariable('x') IS NULL"), 3, "after {sql}");
        for trace in TRACES {
            assert!(worker.run(trace).is_err(), "after {sql}: {trace}");
        }
        let tables = "SELECT count(*) FROM duckdb_tables()";
        assert_eq!(worker.number(tables), 1, "after {sql}");
        let own = "SELECT count(*) FROM duckdb_functions() WHERE NOT internal";
        assert_eq!(worker.number(own), 0, "after {sql}");
    }
}

#[test]
fn a_worker_holds_what_it_was_handed_until_it_is_told_otherwise() {
    let mut worker = Direct::start();
    worker.hand("t", &[1, 2]);
    worker.hand("t", &[10]);
    worker.hand("u", &[5]);
    assert_eq!(worker.number("SELECT sum(n)::BIGINT FROM t"), 13);
    for more in [20, 30, 40] {
        worker.ask(&Ask::Keep(Keep { table: table("t"), rows: 2 }));
        assert_eq!(worker.number("SELECT sum(n)::BIGINT FROM t"), 3);
        worker.hand("t", &[more]);
        assert_eq!(worker.number("SELECT sum(n)::BIGINT FROM t"), 3 + more);
    }
    worker.ask(&Ask::Drop(table("t")));
    assert!(worker.run("FROM t").is_err());
    assert_eq!(worker.number("SELECT n FROM u"), 5);
    worker.hand("t", &[7]);
    assert_eq!(worker.number("SELECT n FROM t"), 7);
    worker.ask(&Ask::Forget);
    assert!(matches!(worker.reply(), Reply::Done(done) if done.again));
    assert!(worker.run("FROM t").is_err() && worker.run("FROM u").is_err());
    worker.hand("t", &[9]);
    assert_eq!(worker.number("SELECT n FROM t"), 9);
}
