//! check, init and crontab.

use std::process::Command;

use crate::support::binary::watershed;
use crate::support::command::{Folder, SCHEMA, ended, root};

#[test]
fn the_repository_itself_is_a_project_without_mistakes() {
    let output =
        Command::new(watershed()).arg("check").current_dir(root()).output().expect("the command runs");
    let ended = ended(output);
    assert_eq!(ended.code, 0, "{ended:?}");
    for view in ["flight_delays", "routes_daily", "aircraft_daily"] {
        assert!(ended.out.contains(view), "{}", ended.out);
    }
}

#[test]
fn every_mistake_is_told_at_its_place() {
    let folder = Folder::new();
    folder.write("schemas/orders.sql", SCHEMA);
    folder.write(
        "jobs/sales.sql",
        "CREATE MATERIALIZED VIEW sales AS\nSELECT shp, tumble(at, INTERVAL '1 hour') AS hour, summ(units) AS units\nFROM orders GROUP BY shp, hour;\n",
    );
    folder.write(
        "jobs/other.sql",
        "CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM oders GROUP BY x;\n",
    );
    let ended = folder.run(&["check"]);
    assert_eq!(ended.code, 1);
    for expected in
        ["jobs/sales.sql:2:8", "\"shop\"", "jobs/sales.sql:2:", "\"sum\"", "jobs/other.sql:1:", "\"orders\""]
    {
        assert!(ended.err.contains(expected), "{expected} is not in {}", ended.err);
    }
}

#[test]
fn a_view_over_a_broken_stream_is_checked_as_far_as_that_goes() {
    let folder = Folder::new();
    folder.write("schemas/orders.sql", &SCHEMA.replace("INTEGER", "INTEGR"));
    folder.write(
        "jobs/sales.sql",
        "CREATE MATERIALIZED VIEW sales AS\nSELECT shop, tumble(at, INTERVAL '1 hour') AS hour, summ(units) AS units\nFROM orders GROUP BY shop, hour;\n",
    );
    let ended = folder.run(&["check"]);
    assert_eq!(ended.code, 1);
    for expected in [
        "\"integer\"",
        "jobs/sales.sql:2:53: unknown function summ(), did you mean \"sum\"?",
        "jobs/sales.sql:3:6: stream orders has a mistake at schemas/orders.sql:",
        "2 mistakes in the project's definitions",
    ] {
        assert!(ended.err.contains(expected), "{expected} is not in {}", ended.err);
    }
}

#[test]
fn a_plan_is_told_in_the_views_own_words() {
    let folder = Folder::new();
    folder.write("schemas/orders.sql", SCHEMA);
    let view = "CREATE MATERIALIZED VIEW sales AS
SELECT shop || '!' AS loud, tumble(at, INTERVAL '1 hour') AS hour, sum(units + 1) FILTER (WHERE units > 2) AS more
FROM orders WHERE shop <> 'x' GROUP BY loud, hour;";
    folder.write("jobs/sales.sql", view);
    let out = folder.done(&["check"]);
    for expected in ["loud text = shop || '!'", "sum(units + 1) where units > 2", "shop <> 'x'"] {
        assert!(out.contains(expected), "{expected} is not in {out}");
    }
}

#[test]
fn a_folder_that_is_no_project_says_how_to_make_one() {
    let ended = Folder::new().run(&["check"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("watershed init"), "{}", ended.err);
}

#[test]
fn a_new_project_is_free_of_mistakes_and_is_never_overwritten() {
    let folder = Folder::new();
    let project = folder.path("mine");
    let project = project.to_str().expect("a path in UTF-8");
    folder.done(&["init", project]);
    folder.project("mine").done(&["check"]);
    let again = folder.run(&["init", project]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("exists already"), "{}", again.err);
}

#[test]
fn crontab_lines_survive_cron_and_the_shell() {
    let folder = Folder::new();
    let project = "it's 100% here";
    for (name, text) in [("schemas/orders.sql", SCHEMA), ("jobs/sales.sql", crate::support::command::VIEW)] {
        folder.write(&format!("{project}/{name}"), text);
    }
    let view = crate::support::command::VIEW.replace("sales", "local");
    let view =
        view.replace("(schedule = '0 0 1 1 *')", "(schedule = '*/5 * * * *', time_zone = 'Asia/Tokyo')");
    folder.write(&format!("{project}/jobs/local.sql"), &view);
    let path = folder.path(project);
    let out = folder.project(project).done(&["batch", "crontab"]);
    let lines: Vec<&str> = out.lines().filter(|line| !line.starts_with('#')).collect();
    let zone = |zone: &str| lines.iter().position(|line| *line == format!("CRON_TZ={zone}")).expect(zone);
    let local = lines[zone("Asia/Tokyo") + 1];
    assert!(local.starts_with("*/5 * * * * "), "{local}");
    assert!(lines[zone("UTC") + 1].starts_with("0 0 1 1 * "), "{out}");
    // Cron takes the backslash before a % away; then the shell reads the words.
    let call = local.strip_prefix("*/5 * * * * ").expect("a schedule").replace("\\%", "%");
    assert!(!local.replace("\\%", "").contains('%'), "{local}");
    let own = watershed().canonicalize().expect("the command is there");
    let call = call.replacen(own.to_str().expect("a path in UTF-8"), "printf '%s\\n'", 1);
    let words = Command::new("sh").args(["-c", &call]).output().expect("a shell");
    let words = String::from_utf8(words.stdout).expect("text");
    let expected =
        ["--project", path.to_str().expect("a path in UTF-8"), "batch", "run", "--stream", "orders"];
    assert_eq!(words.lines().collect::<Vec<_>>(), expected);
}
