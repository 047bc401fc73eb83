//! Settings: files, variables, and what is said about a wrong one.

use crate::support::command::{Folder, ended, root};

#[test]
fn an_unknown_setting_in_the_file_is_named_with_the_one_that_was_meant() {
    let folder = Folder::with_project();
    folder.write("watershed.toml", "[serve]\nlisten = \"127.0.0.1:0\"\nworkrs = 2\n");
    let ended = folder.run(&["check"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("watershed.toml") && ended.err.contains("serve.workrs"), "{}", ended.err);
    assert!(ended.err.contains("did you mean serve.workers?"), "{}", ended.err);
    assert_eq!(ended.err.trim().lines().count(), 1, "{}", ended.err);
}

#[test]
fn an_unknown_setting_in_a_variable_is_named_by_the_variable() {
    let folder = Folder::with_project();
    let output =
        folder.command(&["check"]).env("WATERSHED__STORE__URI", "data").output().expect("the command runs");
    let ended = ended(output);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("WATERSHED__STORE__URI") && ended.err.contains("store.url"), "{}", ended.err);
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_what_is_expected() {
    let folder = Folder::with_project();
    for (text, setting, expected) in [
        ("[batch]\nlease = \"soon\"\n", "batch.lease", "a duration such as"),
        ("[batch]\ngroup_bytes = \"64 apples\"\n", "batch.group_bytes", "a size such as"),
        ("[streams]\npartitions = \"many\"\n", "streams.partitions", "a whole number"),
        ("[streams]\npartitions = 0\n", "streams.partitions", "1 to 10000"),
        ("[serve]\nworkers = 0\n", "serve.workers", "1 to 512"),
        ("[batch]\nchunk_rows = 0\n", "batch.chunk_rows", "found 0"),
        ("[batch]\nlease = \"0s\"\n", "batch.lease", "found 0"),
        ("store = \"data\"\n", "store", "a table"),
        ("[store]\nurl = ftp\n", "watershed.toml:2", ""),
    ] {
        folder.write("watershed.toml", text);
        let ended = folder.run(&["check"]);
        assert_eq!(ended.code, 1, "{text}");
        assert!(ended.err.contains(setting) && ended.err.contains(expected), "{text}: {}", ended.err);
    }
}

#[test]
fn a_setting_that_only_the_broker_can_judge_is_named_as_it_is_written() {
    let folder = Folder::with_project();
    folder.write("watershed.toml", "[broker]\nadvertised = \"nowhere\"\n");
    let ended = folder.run(&["up"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("setting broker.advertised"), "{}", ended.err);
}

#[test]
fn variables_win_over_the_file_and_empty_ones_count_for_nothing() {
    let folder = Folder::with_project();
    folder.write("watershed.toml", "[store]\nurl = \"ftp://elsewhere\"\n[streams]\npartitions = 0\n");
    let mut command = folder.command(&["versions", "orders"]);
    command.env("WATERSHED__STORE__URL", "2013").env("WATERSHED__STREAMS__PARTITIONS", "7");
    let ended = ended(command.env("WATERSHED__KAFKA__BROKERS", "").output().expect("the command runs"));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(folder.path("2013").is_dir(), "the store's folder is relative to the project");
}

#[test]
fn librdkafkas_own_settings_pass_through_by_their_own_names() {
    let folder = Folder::with_project();
    // A name that librdkafka does not know shows that it is asked: from a file, with dots, and from a variable.
    folder
        .write("watershed.toml", "[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.client]\nno.such.setting = 3\n");
    let ended = folder.run(&["batch", "run"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("no.such.setting"), "{}", ended.err);

    // They speak to the Kafka that the command line names, too.
    folder.write("watershed.toml", "[kafka.client]\nno.such.setting = 3\n");
    folder.write_orders("orders.ndjson", 1);
    let file = folder.path("orders.ndjson");
    let file = file.to_str().expect("a path in UTF-8");
    let ended = folder.run(&["produce", "orders", file, "--brokers", "127.0.0.1:1"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("no.such.setting"), "{}", ended.err);

    folder.write("watershed.toml", "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n");
    let mut command = folder.command(&["batch", "run"]);
    let output =
        command.env("WATERSHED__KAFKA__CLIENT__NOT_A_SETTING", "1").output().expect("the command runs");
    let ended = crate::support::command::ended(output);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("not.a.setting"), "{}", ended.err);
}

#[test]
fn a_settings_file_that_is_asked_for_must_be_there() {
    let folder = Folder::with_project();
    let ended = folder.run(&["check", "--config", "nowhere.toml"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("nowhere.toml"), "{}", ended.err);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = Folder::with_project();
    assert_eq!(folder.run(&["bach", "run"]).code, 2);
    assert_eq!(folder.run(&["produce", "orders"]).code, 2);
    assert_eq!(folder.run(&["produce", "orders", "orders.xml"]).code, 2);
    assert_eq!(folder.run(&["query", "sales", "--where", "shop"]).code, 2);
}

/// What may stand in a table of the settings file, as the command says when something else does.
fn keys(folder: &Folder, table: &str) -> Vec<String> {
    folder.write("watershed.toml", &format!("{table}\nqqqqqqqqqqqqqqqq = 1\n"));
    let ended = folder.run(&["check"]);
    let (_, keys) =
        ended.err.trim().split_once("expected one of ").unwrap_or_else(|| panic!("{}", ended.err));
    keys.split(", ").map(str::to_string).collect()
}

#[test]
fn the_reference_names_every_setting_and_no_other() {
    let folder = Folder::with_project();
    let mut known: Vec<String> = Vec::new();
    for table in keys(&folder, "") {
        let keys = keys(&folder, &format!("[{table}]"));
        known.extend(keys.into_iter().map(|key| format!("{table}.{key}")));
    }
    assert!(known.len() > 20, "{known:?}");
    let page = std::fs::read_to_string(root().join("docs/settings.md")).expect("there is a reference");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let named = rows.flat_map(|names| names.split("`, `").map(|name| name.trim_end_matches(['`', '.', '*'])));
    let named: Vec<&str> = named.collect();
    let unnamed: Vec<&String> = known.iter().filter(|key| !named.contains(&key.as_str())).collect();
    assert!(unnamed.is_empty(), "docs/settings.md lacks {unnamed:?}");
    let unknown: Vec<&&str> = named.iter().filter(|name| !known.iter().any(|key| key == *name)).collect();
    assert!(unknown.is_empty(), "docs/settings.md has {unknown:?}, which are no settings");
}
