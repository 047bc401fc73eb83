//! The `watershed` binary, built once per test run with the same profile and features as the tests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of the built command.
pub fn watershed() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace");
        // Without `-p`: the workspace's own selection of packages decides features, as in `cargo run`.
        let mut build = Command::new(cargo);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_cargos_own(name)) {
            build.env_remove(name);
        }
        let build = build
            .args(["build", "--release", "--bin", "watershed", "--message-format=json"])
            .current_dir(root)
            .stderr(std::process::Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(build.status.success(), "cargo could not build the watershed command");
        let messages = String::from_utf8_lossy(&build.stdout);
        messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
            .next_back()
            .expect("cargo names the executable it built")
    })
}

/// Cargo tells a test which package it is of. Build scripts of dependencies look at the same variables, and would
/// take the nested build for another one: everything above them would be compiled anew.
fn is_cargos_own(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    [
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_CRATE_",
        "CARGO_BIN_",
        "CARGO_PRIMARY_",
        "OUT_DIR",
        "LD_LIBRARY_PATH",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}
