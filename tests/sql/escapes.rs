//! Attempts to get at what is not a statement's business: through HTTP, against DuckDB's locks alone, and against the
//! process's limits alone.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use watershed_duckdb::worker::{Database, Locks, confine};

use super::{MEMORY, World};

/// What an attempt would get at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// A file, a connection, an extension: what the process must not have.
    Outside,
    /// DuckDB's own settings, which only its locks hold.
    Settings,
    /// The memory of the statement's own database, where it can do no harm.
    Inside,
}

use Aim::{Inside, Outside, Settings};

const READERS: [&str; 14] = [
    "SELECT * FROM read_csv('{}')",
    "SELECT * FROM read_csv_auto('{}')",
    "SELECT content FROM read_text('{}')",
    "SELECT content FROM read_blob('{}')",
    "SELECT * FROM read_json('{}')",
    "SELECT * FROM read_json_auto('{}')",
    "SELECT * FROM read_ndjson('{}')",
    "SELECT * FROM read_json_objects('{}')",
    "SELECT * FROM read_parquet('{}')",
    "SELECT * FROM parquet_scan('{}')",
    "SELECT * FROM parquet_metadata('{}')",
    "SELECT * FROM sniff_csv('{}')",
    "SELECT * FROM '{}'",
    "FROM glob('{}')",
];

/// `{folder}` is where a marked file, a link to it and room for more are.
const PLACES: [&str; 16] = [
    "{folder}/secret.csv",
    "{folder}/link.csv",
    "{folder}/*.csv",
    "{folder}/../*/secret.csv",
    "file://{folder}/secret.csv",
    "/etc/passwd",
    "/etc/host*",
    "/proc/self/environ",
    "/proc/self/maps",
    "/proc/1/cmdline",
    "/proc/self/cwd/../../../../../../../../etc/passwd",
    "/dev/stdin",
    "/proc/self/fd/0",
    "http://127.0.0.1:{port}/data.csv",
    "https://127.0.0.1:{port}/data.parquet",
    "s3://bucket/data.parquet",
];

/// A statement within which another one is tried.
const WRAPPERS: [&str; 9] = [
    "WITH t AS ({}) SELECT * FROM t",
    "WITH t AS MATERIALIZED ({}) SELECT count(*) FROM t",
    "SELECT (SELECT count(*) FROM ({}))",
    "SELECT EXISTS ({})",
    "SELECT 1 UNION ALL SELECT count(*) FROM ({})",
    "SELECT * FROM trips_daily d, LATERAL ({}) t",
    "SELECT list_transform([1], lambda x: x + (SELECT count(*) FROM ({})))",
    "/* {folder} */ {} -- ;",
    "SELECT * FROM (SELECT * FROM ({}) AS a) AS b WHERE 1 = 1",
];

const STATEMENTS: [(Aim, &str); 136] = [
    (Outside, "ATTACH '{folder}/other.db'"),
    (Outside, "ATTACH '{folder}/other.db' AS other (READ_ONLY)"),
    (Outside, "ATTACH DATABASE IF NOT EXISTS '{folder}/x.db' AS x"),
    (Outside, "ATTACH 'http://127.0.0.1:{port}/x.db' AS x"),
    (Outside, "ATTACH 'sqlite:{folder}/x.db' (TYPE sqlite)"),
    (Outside, "ATTACH 'host=127.0.0.1 port={port}' AS p (TYPE postgres)"),
    (Inside, "ATTACH ':memory:' AS m"),
    (Inside, "DETACH memory"),
    (Inside, "USE memory.main"),
    (Outside, "INSTALL httpfs"),
    (Outside, "INSTALL httpfs FROM 'http://127.0.0.1:{port}'"),
    (Outside, "FORCE INSTALL spatial FROM community"),
    (Outside, "INSTALL '{folder}/evil.duckdb_extension'"),
    (Outside, "LOAD httpfs"),
    (Outside, "LOAD '{folder}/evil.duckdb_extension'"),
    (Outside, "LOAD '/lib/x86_64-linux-gnu/libc.so.6'"),
    (Outside, "UPDATE EXTENSIONS"),
    (Outside, "COPY (SELECT 1) TO '{folder}/out.csv'"),
    (Outside, "COPY (SELECT 1) TO '{folder}/out.parquet' (FORMAT parquet)"),
    (Outside, "COPY (SELECT 1) TO '{folder}/out.json' (FORMAT json)"),
    (Outside, "COPY (SELECT 1 AS a) TO '{folder}/parts' (FORMAT parquet, PARTITION_BY (a))"),
    (Outside, "COPY (SELECT 1) TO '/dev/stdout'"),
    (Outside, "COPY (SELECT 1) TO '/proc/self/fd/1'"),
    (Outside, "COPY (SELECT 1) TO 's3://bucket/x'"),
    (Outside, "COPY t FROM '{folder}/secret.csv'"),
    (Outside, "COPY FROM DATABASE memory TO other"),
    (Outside, "EXPORT DATABASE '{folder}/export'"),
    (Outside, "IMPORT DATABASE '{folder}/export'"),
    (Outside, "CREATE TABLE t AS SELECT * FROM read_csv('{folder}/secret.csv')"),
    (Outside, "CREATE TABLE t AS FROM '{folder}/secret.csv'"),
    (Outside, "INSERT INTO t SELECT content FROM read_text('{folder}/secret.csv')"),
    (Outside, "EXPLAIN ANALYZE SELECT * FROM read_text('{folder}/secret.csv')"),
    (Outside, "DESCRIBE SELECT * FROM read_csv('{folder}/secret.csv')"),
    (Outside, "SUMMARIZE FROM read_csv('{folder}/secret.csv')"),
    (Outside, "DESCRIBE TABLE '{folder}/secret.csv'"),
    (Outside, "PIVOT read_csv('{folder}/secret.csv') ON a USING count(*)"),
    (Outside, "SELECT * FROM query('SELECT * FROM read_text(''{folder}/secret.csv'')')"),
    (Outside, "SELECT * FROM query('COPY (SELECT 1) TO ''{folder}/out''')"),
    (Outside, "SELECT * FROM query_table('{folder}/secret.csv')"),
    (Outside, "SELECT * FROM query_table(['{folder}/secret.csv'])"),
    (
        Outside,
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{folder}/secret.csv'')'))",
    ),
    (
        Outside,
        "PRAGMA json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{folder}/secret.csv'')'))",
    ),
    (Outside, "CREATE MACRO m() AS TABLE FROM read_text('{folder}/secret.csv'); FROM m()"),
    (Outside, "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'"),
    (Outside, "COPY (SELECT 1) TO '{folder}/out.csv'; SELECT 1"),
    (Outside, "SELECT 1 /* ; */; ATTACH '{folder}/x.db'"),
    (Outside, "SELECT 1 -- \n; COPY (SELECT 2) TO '{folder}/out.csv'"),
    (Outside, "BEGIN; COPY (SELECT 1) TO '{folder}/out.csv'; COMMIT"),
    (Outside, "EXECUTE p('{folder}/secret.csv')"),
    (Outside, "PREPARE p AS FROM read_text('{folder}/secret.csv'); EXECUTE p"),
    (Outside, "SELECT * FROM parquet_schema('{folder}/secret.csv')"),
    (Outside, "SELECT * FROM parquet_file_metadata('{folder}/secret.csv')"),
    (Outside, "SELECT * FROM parquet_kv_metadata('{folder}/secret.csv')"),
    (Outside, "SELECT * FROM parquet_bloom_probe('{folder}/secret.csv', 'a', 1)"),
    (Outside, "SELECT * FROM read_duckdb('{folder}/x.db')"),
    (Outside, "SELECT * FROM sqlite_scan('{folder}/x.db', 't')"),
    (Outside, "SELECT * FROM postgres_scan('host=127.0.0.1 port={port}', 'public', 't')"),
    (Outside, "SELECT * FROM iceberg_scan('{folder}')"),
    (Outside, "SELECT * FROM delta_scan('{folder}')"),
    (Outside, "SELECT * FROM st_read('{folder}/secret.csv')"),
    (Outside, "SELECT * FROM read_xlsx('{folder}/secret.csv')"),
    (Outside, "SELECT * FROM shellfs('ls')"),
    (Outside, "SELECT * FROM read_csv('ls / |')"),
    (Outside, "SELECT * FROM arrow_scan(1, 2, 3)"),
    (Outside, "SELECT * FROM arrow(1, 2)"),
    (Outside, "SELECT * FROM pandas_scan(1)"),
    (Outside, "SELECT * FROM python_map(1)"),
    (Outside, "SELECT getenv('PATH')"),
    (Outside, "SELECT read_text('{folder}/secret.csv')"),
    (Outside, "SELECT system('id')"),
    (Outside, "SELECT pg_read_file('/etc/passwd')"),
    (Outside, "SELECT load_extension('{folder}/evil')"),
    (Outside, "SELECT lo_import('/etc/passwd')"),
    (Settings, "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')"),
    (Settings, "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')"),
    (Inside, "DROP SECRET s"),
    (Inside, "FROM duckdb_secrets()"),
    (Inside, "FROM which_secret('s3://x', 's3')"),
    (Settings, "SET enable_external_access = true"),
    (Settings, "SET GLOBAL enable_external_access = true"),
    (Settings, "RESET enable_external_access"),
    (Settings, "SET lock_configuration = false"),
    (Settings, "RESET lock_configuration"),
    (Settings, "SET memory_limit = '100GB'"),
    (Settings, "SET threads = 64"),
    (Settings, "SET temp_directory = '{folder}/tmp'"),
    (Settings, "SET home_directory = '{folder}'"),
    (Settings, "SET extension_directory = '{folder}'"),
    (Settings, "SET secret_directory = '{folder}'"),
    (Settings, "SET allowed_directories = ['/']"),
    (Settings, "SET allowed_paths = ['/etc/passwd']"),
    (Settings, "SET disabled_filesystems = ''"),
    (Settings, "SET allow_unsigned_extensions = true"),
    (Settings, "SET autoload_known_extensions = true"),
    (Settings, "SET autoinstall_known_extensions = true"),
    (Settings, "SET custom_extension_repository = 'http://127.0.0.1:{port}'"),
    (Settings, "SET log_query_path = '{folder}/log'"),
    (Settings, "SET profile_output = '{folder}/profile'"),
    (Settings, "SET max_expression_depth = 1000000"),
    (Settings, "SET file_search_path = '/etc'"),
    (Settings, "SET http_proxy = '127.0.0.1:{port}'"),
    (Settings, "PRAGMA enable_profiling = 'json'"),
    (Settings, "PRAGMA profiling_output = '{folder}/profile'"),
    (Settings, "PRAGMA memory_limit = '100GB'"),
    (Settings, "PRAGMA threads = 64"),
    (Inside, "PRAGMA database_list"),
    (Inside, "PRAGMA version"),
    (Inside, "PRAGMA table_info('trips_daily')"),
    (Inside, "FROM duckdb_settings()"),
    (Inside, "FROM pragma_database_list()"),
    (Inside, "SELECT current_setting('memory_limit')"),
    (Inside, "SELECT getvariable('x')"),
    (Inside, "SET VARIABLE x = 1"),
    (Inside, "CALL enable_logging()"),
    (Inside, "CALL pragma_version()"),
    (Inside, "CREATE TABLE t (a INTEGER)"),
    (Inside, "CREATE VIEW v AS SELECT 1"),
    (Inside, "CREATE MACRO m(a) AS a + 1"),
    (Inside, "INSERT INTO trips_daily VALUES (1)"),
    (Inside, "UPDATE trips_daily SET trips = 0"),
    (Inside, "DELETE FROM trips_daily"),
    (Inside, "TRUNCATE trips_daily"),
    (Inside, "DROP TABLE trips_daily"),
    (Inside, "ALTER TABLE trips_daily ADD COLUMN x INTEGER"),
    (Inside, "VACUUM"),
    (Inside, "CHECKPOINT"),
    (Inside, "WITH gone AS (DELETE FROM trips_daily RETURNING *) SELECT count(*) FROM gone"),
    (Inside, "WITH gone AS MATERIALIZED (DELETE FROM trips_daily RETURNING *) FROM gone"),
    (Inside, "WITH more AS (INSERT INTO trips_daily SELECT * FROM trips_daily RETURNING *) FROM more"),
    (Inside, "WITH other AS (UPDATE trips_daily SET trips = 0 RETURNING *) FROM other"),
    (Inside, "SELECT * FROM (WITH gone AS (DELETE FROM trips_daily RETURNING *) SELECT count(*) FROM gone)"),
    (Outside, "WITH out AS (COPY (SELECT 1) TO '{folder}/out.csv') SELECT 1"),
    (Inside, "SELECT setseed(0.5)"),
    (Inside, "SELECT max(setseed(trips / 10)) FROM trips_daily"),
    (Inside, "FROM information_schema.tables"),
    (Inside, "FROM events.flights_of_another"),
];

fn attempts(folder: &Path, port: u16) -> Vec<(Aim, String)> {
    let mut attempts: Vec<(Aim, String)> = STATEMENTS.map(|(aim, sql)| (aim, sql.to_string())).to_vec();
    for reader in READERS {
        attempts.extend(PLACES.map(|place| (Outside, reader.replace("{}", place))));
        let inner = reader.replace("{}", PLACES[0]);
        attempts.extend(WRAPPERS.map(|wrapper| (Outside, wrapper.replace("{}", &inner))));
    }
    let filled = |sql: String| {
        sql.replace("{folder}", folder.to_str().expect("a path in UTF-8"))
            .replace("{port}", &port.to_string())
    };
    attempts.into_iter().map(|(aim, sql)| (aim, filled(sql))).collect()
}

/// A folder with a marked file and a link to it, and a port on which nobody may knock.
struct Bait {
    folder: tempfile::TempDir,
    listener: TcpListener,
}

impl Bait {
    fn new() -> Bait {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let secret = folder.path().join("secret.csv");
        std::fs::write(&secret, "mark\nESCAPED\n").expect("a file");
        std::os::unix::fs::symlink(&secret, folder.path().join("link.csv")).expect("a link");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a port");
        Bait { folder, listener }
    }

    fn attempts(&self) -> Vec<(Aim, String)> {
        let port = self.listener.local_addr().expect("a port").port();
        let attempts = attempts(self.folder.path(), port);
        assert!(attempts.len() >= 300, "only {} attempts", attempts.len());
        attempts
    }

    /// Nothing was written, and nobody has knocked.
    fn is_untouched(&self) {
        let mut names: Vec<String> = (std::fs::read_dir(self.folder.path()).expect("a folder"))
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, ["link.csv", "secret.csv"]);
        assert!(self.listener.accept().is_err(), "a statement has connected");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attempt_succeeds_through_http() {
    let bait = Bait::new();
    let world = World::new(Duration::from_secs(20), 2).await;
    for (_, sql) in bait.attempts() {
        let (_, problem) = world.refused(&sql).await;
        assert!(!problem.to_string().contains("ESCAPED"), "{sql}: {problem}");
    }
    bait.is_untouched();
    assert_eq!(world.sql("SELECT sum(trips) AS n FROM trips_daily").await["data"][0]["n"], 6);
}

#[test]
fn no_attempt_succeeds_against_the_locks_alone() {
    let bait = Bait::new();
    for (aim, sql) in bait.attempts() {
        if aim == Inside {
            continue;
        }
        let database = Database::open(MEMORY, Locks::All).expect("a database");
        let done = database.execute(&sql);
        assert!(done.is_err(), "{sql}: {done:?}");
    }
    bait.is_untouched();
}

/// Set in a process that is to confine itself; it reads attempts, a line each, and says what came of them.
const CONFINED: &str = "WATERSHED_TEST_CONFINED";

/// Nothing is looked at here and DuckDB has no locks: only the system holds.
#[test]
fn no_attempt_succeeds_against_the_process_alone() {
    if std::env::var_os(CONFINED).is_some() {
        return be_confined();
    }
    let bait = Bait::new();
    let attempts: Vec<String> =
        bait.attempts().into_iter().filter(|(aim, _)| *aim == Outside).map(|(_, sql)| sql).collect();
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "sql::escapes::no_attempt_succeeds_against_the_process_alone", "--nocapture"])
        .env_clear()
        .env(CONFINED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let asked = serde_json::to_vec(&attempts).expect("texts");
    child.stdin.take().expect("a stream").write_all(&asked).expect("it reads");
    let said = child.wait_with_output().expect("it ends");
    let said = String::from_utf8(said.stdout).expect("text");
    let outcomes: Vec<&str> = said.lines().filter_map(|line| line.split("outcome ").nth(1)).collect();
    assert_eq!(outcomes.len(), attempts.len(), "{said}");
    for (sql, outcome) in attempts.iter().zip(outcomes) {
        assert!(outcome == "refused" || outcome == "0 rows", "{sql}: {outcome}");
    }
    bait.is_untouched();
}

fn be_confined() {
    let mut asked = String::new();
    std::io::stdin().read_to_string(&mut asked).expect("attempts");
    let attempts: Vec<String> = serde_json::from_str(&asked).expect("texts");
    let database = Database::open(MEMORY, Locks::None).expect("a database");
    confine(2 * MEMORY).expect("this system confines");
    assert!(std::fs::read("/etc/hostname").is_err(), "a file can be opened");
    assert!(TcpListener::bind("127.0.0.1:0").is_err(), "a port can be opened");
    for sql in attempts {
        let outcome = match database.execute(&sql) {
            Ok(rows) => format!("{rows} rows"),
            Err(_) => "refused".to_string(),
        };
        println!("outcome {outcome}");
    }
}
