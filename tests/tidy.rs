//! What the project holds itself to, checked on its own text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace")
}

/// Files of the project that git knows or would take in, with an extension.
fn files(extension: &str) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    let listed = String::from_utf8(listed.stdout).expect("paths are text");
    let paths = listed.lines().map(|path| root().join(path));
    paths.filter(|path| path.extension().is_some_and(|found| found == extension) && path.exists()).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The dependencies that a crate's manifest names.
fn dependencies(manifest: &Path) -> Vec<String> {
    let text = text(manifest);
    let section = text.split("[dependencies]").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_string).collect()
}

#[test]
fn the_layers_meet_only_in_schemas() {
    let layers = ["watershed-speed", "watershed-batch", "watershed-serving"];
    for folder in ["speed-layer", "batch-layer", "serving-layer", "schemas", "schemas/store"] {
        let used = dependencies(&root().join(folder).join("Cargo.toml"));
        let forbidden: Vec<_> = used.iter().filter(|name| layers.contains(&name.as_str())).collect();
        assert!(forbidden.is_empty(), "{folder} depends on {forbidden:?}");
    }
}

#[test]
fn every_heavy_package_has_one_home() {
    let homes: [(&str, &[&str]); 7] = [
        ("rdkafka", &["speed-layer/kafka"]),
        // Both ends of the wire.
        ("kafka-protocol", &["jobs/broker", "speed-layer/wire"]),
        ("duckdb", &["serving-layer/duckdb"]),
        ("actix-web", &["serving-layer"]),
        ("prometheus-client", &["serving-layer"]),
        ("sqlparser", &["schemas"]),
        ("datasketches", &["schemas"]),
    ];
    for manifest in files("toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let folder = shown(manifest.parent().expect("a manifest lies in a folder"));
        if folder.is_empty() || folder == "tests" {
            continue;
        }
        for name in dependencies(&manifest) {
            if let Some((_, at_home)) = homes.iter().find(|(package, _)| *package == name) {
                assert!(
                    at_home.contains(&folder.as_str()),
                    "{name} is used in {folder}, its home is {at_home:?}"
                );
            }
        }
    }
}

#[test]
fn schemas_touches_neither_kafka_nor_http_nor_disk() {
    for path in files("rs").into_iter().filter(|path| shown(path).starts_with("schemas/src")) {
        let text = text(&path);
        for forbidden in ["std::fs", "std::net", "tokio::", "SystemTime::now", "Instant::now", "Utc::now"] {
            assert!(!text.contains(forbidden), "{} uses {forbidden}", shown(&path));
        }
    }
}

#[test]
fn there_is_one_version_of_arrow() {
    let lock = text(&root().join("Cargo.lock"));
    assert_eq!(lock.matches("name = \"arrow-array\"").count(), 1);
    assert_eq!(lock.matches("name = \"parquet\"").count(), 1);
}

#[test]
fn no_source_file_is_longer_than_one_thing() {
    for path in files("rs") {
        let lines = text(&path).lines().count();
        assert!(lines <= 700, "{} has {lines} lines: split it", shown(&path));
    }
}

#[test]
fn nothing_is_left_half_done() {
    // Spelled in two parts, so that this file does not find itself.
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("allow(dead", "_code)"),
    ];
    for path in files("rs") {
        let text = text(&path);
        for mark in marks {
            assert!(!text.contains(mark), "{} holds {mark}", shown(&path));
        }
    }
}

#[test]
fn links_in_documents_resolve() {
    for path in files("md") {
        let text = text(&path);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let folder = path.parent().expect("a document lies in a folder");
            assert!(folder.join(target).exists(), "{} links to {target}", shown(&path));
        }
    }
}

#[test]
fn every_invariant_is_cited_by_a_test() {
    let laws = text(&root().join("schemas/src/invariants.rs"));
    let tests: String =
        files("rs").iter().filter(|path| shown(path).starts_with("tests/")).map(|path| text(path)).collect();
    for name in laws.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()) {
        let cited = tests.contains(&format!("invariants::{name}")) || tests.contains(&format!("`{name}`"));
        assert!(cited, "no test cites {name}");
    }
}
