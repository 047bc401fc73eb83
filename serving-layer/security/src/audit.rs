//! Who asked what: a log event of target `audit` for every request of a known caller and every refused one, and lines of
//! JSON in a file where one is set.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::store::Stamp;

/// One request and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Asked<'a> {
    pub time: String,
    pub caller: &'a str,
    /// What a key is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    pub from: Option<String>,
    pub method: &'a str,
    pub route: &'a str,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    pub status: u16,
    pub elapsed_ms: f64,
}

/// An audit file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("audit file {path}: {source}")]
pub struct AuditError {
    path: PathBuf,
    source: std::io::Error,
}

/// Where requests are written down.
#[derive(Debug, Default)]
pub struct Audit(Option<Lines>);

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: Mutex<(Stamp, File)>,
}

impl Audit {
    /// Appends to a file that its owner alone can read.
    pub fn open(path: Option<PathBuf>) -> Result<Self, AuditError> {
        let Some(path) = path else { return Ok(Audit(None)) };
        let file = append(&path).map_err(|source| AuditError { path: path.clone(), source })?;
        Ok(Audit(Some(Lines { path, file: Mutex::new(file) })))
    }

    pub fn tell(&self, asked: &Asked<'_>) {
        let Asked { caller, name, from, method, route, path, question, status, elapsed_ms, .. } = asked;
        tracing::info!(
            target: "audit",
            caller, name, from = from.as_deref(), method, route, path, question = question.as_deref(), status,
            elapsed_ms, "asked"
        );
        let Some(lines) = &self.0 else { return };
        let mut line = serde_json::to_vec(asked).expect("texts and numbers have a JSON form");
        line.push(b'\n');
        let mut file = lines.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.1.write_all(&line) {
            let error = AuditError { path: lines.path.clone(), source: error };
            tracing::error!(%error, "a request was not written down");
        }
    }

    /// Opens the file anew after it was moved away.
    pub fn refresh(&self) -> Result<(), AuditError> {
        let Some(lines) = &self.0 else { return Ok(()) };
        let mut file = lines.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !Stamp::of(&lines.path).is_same_file(&file.0) {
            *file = append(&lines.path).map_err(|source| AuditError { path: lines.path.clone(), source })?;
        }
        Ok(())
    }
}

fn append(path: &PathBuf) -> std::io::Result<(Stamp, File)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    Ok((Stamp::of(path), file))
}

/// A text without the secrets of keys that stand in it by mistake.
pub(crate) fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut parts = text.split("wsk_");
    shown.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let word =
            part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(part.len());
        let id = part[..word].split('_').next().unwrap_or_default();
        shown.push_str("wsk_");
        shown.push_str(&id[..id.len().min(12)]);
        shown.push_str("_[secret]");
        shown.push_str(&part[word..]);
    }
    shown
}
