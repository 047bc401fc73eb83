//! Statements that would take everything: each ends in time, in its own memory, while others are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::json;

use super::{MEMORY, World};

const TIMEOUT: Duration = Duration::from_secs(2);
/// Between the deadline and the refusal.
const LATE: Duration = Duration::from_millis(250);

const STATEMENTS: [&str; 46] = [
    "SELECT count(*) FROM range(10000000) a, range(10000000) b",
    "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b, range(1000000) c",
    "SELECT count(*) FROM range(1000000000000)",
    "SELECT len(range(1000000000))",
    "SELECT len(range(100000000000))",
    "SELECT range(300000000)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n * 2 FROM t, range(2)) SELECT count(*) FROM t",
    "WITH RECURSIVE t(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM t) SELECT max(len(s)) FROM t",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT (n * 1103515245 + 12345) % 2147483648 FROM t) SELECT count(*) FROM t",
    "SELECT repeat('x', 4000000000)",
    "SELECT len(repeat(repeat('x', 100000), 100000))",
    "SELECT repeat(range::VARCHAR, 10000000) FROM range(1000)",
    "SELECT lpad('x', 2000000000, 'y')",
    "SELECT list_aggregate(range(200000000), 'sum')",
    "SELECT list_sort(range(100000000))",
    "SELECT list_transform(range(100000000), lambda x: x * x)",
    "SELECT list_reduce(range(50000000), lambda a, b: a + b)",
    "SELECT list_filter(range(100000000), lambda x: x % 2 = 0)",
    "SELECT list(range) FROM range(1000000000)",
    "SELECT string_agg(range::VARCHAR, ',') FROM range(1000000000)",
    "SELECT array_agg(a.range) FROM range(100000) a, range(100000) b",
    "SELECT histogram(range) FROM range(1000000000)",
    "SELECT mode(range) FROM range(1000000000)",
    "SELECT median(range) FROM range(1000000000)",
    "SELECT quantile_cont(range, [0.1, 0.5, 0.9]) FROM range(1000000000)",
    "SELECT count(DISTINCT range) FROM range(1000000000)",
    "SELECT range, count(*) FROM range(1000000000) GROUP BY range ORDER BY 2 DESC LIMIT 1",
    "SELECT * FROM range(1000000000) ORDER BY hash(range)",
    "SELECT * FROM range(500000000) ORDER BY md5(range::VARCHAR) LIMIT 10 OFFSET 400000000",
    "SELECT sum(range) OVER (ORDER BY hash(range)) FROM range(1000000000)",
    "SELECT max(range) OVER (ORDER BY range ROWS BETWEEN 1000000 PRECEDING AND CURRENT ROW) FROM range(100000000)",
    "SELECT row_number() OVER (PARTITION BY range % 1000000 ORDER BY hash(range)) FROM range(500000000)",
    "SELECT median(range) OVER (ROWS BETWEEN 100000 PRECEDING AND 100000 FOLLOWING) FROM range(10000000)",
    "SELECT count(*) FROM range(10000000) a JOIN range(10000000) b ON a.range < b.range",
    "SELECT count(*) FROM range(100000000) a JOIN range(100000000) b ON hash(a.range) = hash(b.range)",
    "SELECT count(*) FROM range(1000000) a LEFT JOIN range(1000000) b ON a.range % 7 < b.range % 11",
    "SELECT max((SELECT count(*) FROM range(1000000) b WHERE b.range % 1000 < a.range % 1000)) FROM range(1000000) a",
    "SELECT sum(len(md5(repeat(range::VARCHAR, 100000)))) FROM range(10000000)",
    "SELECT regexp_matches(repeat('a', 10000000), '(a|aa|aaa|a?)*b') FROM range(1000000)",
    "SELECT regexp_replace(repeat('ab', 50000000), '(a+)(b+)', '\\2\\1\\2\\1', 'g')",
    "SELECT len(regexp_extract_all(repeat('ab', 100000000), '(.)'))",
    "SELECT sum(levenshtein(repeat('ab', 20000), repeat('ba', 20000))) FROM range(1000)",
    "SELECT unnest(range(1000000000)), unnest(range(1000000000))",
    "SELECT generate_series FROM generate_series(TIMESTAMP '0001-01-01', TIMESTAMP '9999-01-01', INTERVAL 1 MICROSECOND) ORDER BY hash(generate_series)",
    "SELECT sum(a.trips) FROM trips_hourly a, trips_hourly b, trips_hourly c, trips_hourly d, trips_hourly e, trips_hourly f, range(1000000000)",
];

/// Statements whose text is the trouble.
fn nested() -> Vec<String> {
    let many = |text: &str, count: usize| text.repeat(count);
    vec![
        format!("SELECT {}1{}", many("(", 20_000), many(")", 20_000)),
        format!("SELECT {}1", many("-", 50_001).replace("--", "- -")),
        format!("SELECT {}[]{}", many("[", 20_000), many("]", 20_000)),
        format!("SELECT 1{}", many(" + 1", 100_000)),
        format!("SELECT {}1{}", many("abs(", 10_000), many(")", 10_000)),
        format!("SELECT * FROM {}(SELECT 1){}", many("(SELECT * FROM ", 3_000), many(")", 3_000)),
        format!("SELECT 1 {}", many("UNION ALL SELECT 1 ", 20_000)),
        format!("SELECT {} NULL", many("NOT ", 50_000)),
        format!(
            "SELECT count(*) FROM range(9) t{}",
            (0..60).map(|n| format!(", range(9) t{n}")).collect::<String>()
        ),
        format!("SELECT CASE {} ELSE 0 END", many("WHEN random() > 2 THEN 1 ", 30_000)),
    ]
}

/// Resident memory of this process's workers, each, in bytes.
fn workers() -> Vec<u64> {
    let processes = std::fs::read_dir("/proc").expect("this system tells of its processes");
    let own = format!("PPid:\t{}", std::process::id());
    let worker = |name: String| {
        let told = std::fs::read_to_string(format!("/proc/{name}/status")).ok()?;
        let command = std::fs::read_to_string(format!("/proc/{name}/cmdline")).ok()?;
        if !command.contains("sql-worker") || !told.lines().any(|line| line == own) {
            return None;
        }
        let size = told.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(size.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    processes.filter_map(|entry| worker(entry.ok()?.file_name().into_string().ok()?)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_statements_end_in_time_and_in_their_memory_while_others_are_answered() {
    let world = Arc::new(World::new(TIMEOUT, 2).await);
    let statements: Vec<String> = STATEMENTS.map(str::to_string).into_iter().chain(nested()).collect();
    assert!(statements.len() >= 50);
    // Workers that are still being started are not what this is about.
    for _ in 0..5 {
        world.sql("SELECT 1").await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let largest = Arc::new(AtomicU64::new(0));
    let watching = {
        let (done, largest) = (done.clone(), largest.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                largest.fetch_max(workers().into_iter().max().unwrap_or_default(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let asking = {
        let (world, done) = (world.clone(), done.clone());
        tokio::spawn(async move {
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = world.sql("SELECT sum(trips) AS n FROM trips_hourly").await;
                assert_eq!(answer["data"][0]["n"], 6);
                answers += 1;
            }
            answers
        })
    };
    // How late this process itself is woken: a machine with other work is late with everything.
    let lag = Arc::new(AtomicU64::new(0));
    let waking = {
        let (done, lag) = (done.clone(), lag.clone());
        tokio::spawn(async move {
            const NAP: Duration = Duration::from_millis(10);
            while !done.load(Ordering::Relaxed) {
                let slept = Instant::now();
                tokio::time::sleep(NAP).await;
                let late = slept.elapsed().saturating_sub(NAP).as_millis() as u64;
                lag.fetch_max(late, Ordering::Relaxed);
            }
        })
    };
    let mut late = Vec::new();
    let ends = futures::stream::iter(statements).then(|sql| {
        let world = world.clone();
        async move {
            let began = Instant::now();
            let (status, said) = world.said(&json!({ "sql": sql })).await;
            (sql.chars().take(120).collect::<String>(), status, said, began.elapsed())
        }
    });
    let mut ends = std::pin::pin!(ends);
    while let Some((sql, status, said, took)) = ends.next().await {
        assert!([200, 400, 413].contains(&status), "{sql}: {status} {said}");
        let lag = Duration::from_millis(lag.swap(0, Ordering::Relaxed));
        if took > TIMEOUT + LATE + lag {
            late.push((sql, took, lag));
        }
    }
    done.store(true, Ordering::Relaxed);
    watching.await.expect("nobody stops it");
    waking.await.expect("nobody stops it");
    let answers = asking.await.expect("every light question is answered");
    assert!(late.is_empty(), "later than {:?}: {late:?}", TIMEOUT + LATE);
    assert!(answers >= 50, "only {answers} light questions were answered");
    let largest = largest.load(Ordering::Relaxed);
    assert!(largest > 0, "no worker was seen");
    // What a process begins with is not counted against it.
    assert!(largest < MEMORY + (128 << 20), "a worker took {largest} bytes");
    println!("{answers} light answers meanwhile, largest worker {} MiB", largest >> 20);
}

#[tokio::test]
async fn more_than_may_wait_is_told_to_come_back() {
    let world = Arc::new(World::new(Duration::from_secs(14), 1).await);
    let endless = json!({ "sql": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t" });
    let first = {
        let (world, endless) = (world.clone(), endless.clone());
        tokio::spawn(async move { world.said(&endless).await.0 })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let response = world.post("/v1/sql", &json!({ "sql": "SELECT 1" })).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(first.await.expect("it ends"), 413);
}
