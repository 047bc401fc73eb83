//! Files that manifests name: described when written, checked when read.
//!
//! Neither Polars nor DuckDB notices a flipped bit in Parquet, so whoever reads a file of a version
//! reads it here.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use watershed_schemas::manifest::StoredFile;

use crate::{Store, StoreError};

impl Store {
    /// Creates a data file and describes it for a manifest. Its path carries the run's id, so nobody else writes it.
    pub async fn write(&self, path: &str, bytes: Bytes, rows: u64) -> Result<StoredFile, StoreError> {
        let sha256 = sha256(bytes.clone()).await;
        let size = bytes.len() as u64;
        self.put(path, bytes).await?;
        Ok(StoredFile { path: path.to_string(), bytes: size, sha256, rows })
    }

    /// Reads a file whole and checks size and SHA-256 before giving it out.
    pub async fn read(&self, file: &StoredFile) -> Result<Bytes, StoreError> {
        let damaged = |found: String, expected: String| StoreError::Damaged {
            path: self.address(&file.path),
            found,
            expected,
        };
        let expected_size = format!("{} bytes", file.bytes);
        let bytes = self.get(&file.path).await?;
        let bytes = bytes.ok_or_else(|| damaged("no file".to_string(), expected_size.clone()))?;
        if bytes.len() as u64 != file.bytes {
            return Err(damaged(format!("{} bytes", bytes.len()), expected_size));
        }
        let found = sha256(bytes.clone()).await;
        if found != file.sha256 {
            return Err(damaged(format!("SHA-256 {found}"), file.sha256.clone()));
        }
        Ok(bytes)
    }
}

/// The SHA-256 of a file in hex. Large files are hashed beside the event loop, small ones in it.
async fn sha256(bytes: Bytes) -> String {
    const SMALL: usize = 256 * 1024;
    if bytes.len() <= SMALL {
        return hex(&Sha256::digest(&bytes));
    }
    let hashed = tokio::task::spawn_blocking(move || hex(&Sha256::digest(&bytes))).await;
    hashed.expect("hashing does not panic, and its task is never aborted")
}

pub(crate) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}
