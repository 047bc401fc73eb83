//! Whole projects: all that is wrong with one, and the sample.

use super::*;

#[test]
fn all_mistakes_of_all_files_are_told_at_once_in_order() {
    let schemas = [
        file(
            "schemas/a.sql",
            "CREATE TABLE a (t TIMESTAMP NOT NULL, x TXT,\n y INTEGR) WITH (event_time = 'u');\nCREATE TABEL b (t TEXT);",
        ),
        file("schemas/c.sql", FLIGHTS),
    ];
    let jobs = [file(
        "jobs/a.sql",
        "CREATE MATERIALIZED VIEW on_broken AS SELECT count(*) AS n FROM a GROUP BY ALL;\n\
             CREATE MATERIALIZED VIEW v AS SELECT tumble(time_hour, INTERVAL '1 hour') AS hour, uper(carrier) AS c,\n\
             sum(seatz) AS n, max(lower(seats)) AS m FROM flights WHERE dep_dely > 1 GROUP BY hour, c, origin;",
    )];
    let found = Project::parse(&schemas, &jobs).expect_err("there are mistakes");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let places: Vec<&str> = found.iter().map(|problem| problem.split(": ").next().unwrap_or("")).collect();
    let expected = [
        "schemas/a.sql:1:41",
        "schemas/a.sql:2:4",
        "schemas/a.sql:2:31",
        "schemas/a.sql:3:8",
        "jobs/a.sql:1:65",
        "jobs/a.sql:2:84",
        "jobs/a.sql:3:5",
        "jobs/a.sql:3:28",
        "jobs/a.sql:3:60",
        "jobs/a.sql:3:91",
    ];
    assert_eq!(places, expected, "{found:#?}");
}

#[test]
fn the_sample_project_parses() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace");
    let read = |folder: &str| -> Vec<SourceFile> {
        let listed = std::fs::read_dir(root.join(folder)).expect("the folder is there");
        let mut paths: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        paths.sort();
        let text = |path: &std::path::PathBuf| std::fs::read_to_string(path).expect("the file can be read");
        paths.iter().map(|path| file(&path.display().to_string(), &text(path))).collect()
    };
    let project =
        Project::parse(&read("schemas"), &read("jobs")).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(!project.streams.is_empty() && !project.views.is_empty());
}
