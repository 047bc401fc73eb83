//! Tools that are not ours and speak Python.

use std::path::Path;
use std::process::Command;

/// Runs a Python script over a folder and gives what it said, if this machine has the packages; where `CI` is set they
/// must be there.
pub fn python(packages: &str, script: &str, folder: &Path) -> Option<String> {
    let python = std::env::var("WATERSHED_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let has = Command::new(&python).args(["-c", &format!("import {packages}")]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "python3 with {packages} is part of continuous integration"
        );
        eprintln!(
            "NOT COMPARED: python3 with {packages} is missing (pip install {})",
            packages.replace(',', "")
        );
        return None;
    }
    let output = Command::new(&python).args(["-c", script]).arg(folder).output().expect("python3 runs");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    Some(said.trim().to_string())
}
