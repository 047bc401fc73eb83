//! What a store in a local folder needs beside its objects: a folder that stays, and no litter.
//!
//! A file is written under its own name with `#` and a number behind it, then linked or renamed into place. A writer that
//! is killed in between leaves that file, which no listing of objects shows.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use object_store::Error;
use watershed_schemas::layout::Object;

use crate::objects::LOCAL;
use crate::{Store, StoreError};

/// Makes a folder and syncs what leads to it, so that it stays; gives its absolute path.
pub(crate) fn make(folder: &Path) -> io::Result<PathBuf> {
    let named = |folder: &&Path| !folder.as_os_str().is_empty();
    let new: Vec<&Path> =
        folder.ancestors().take_while(named).take_while(|ancestor| !ancestor.exists()).collect();
    fs::create_dir_all(folder)?;
    for folder in new {
        let parent = folder.parent().filter(named).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    folder.canonicalize()
}

impl Store {
    /// Removes what writers that died left half written below these folders and beside them in the store's own, if it was
    /// last written at `until_ms` or before (milliseconds since 1970-01-01). Gives how many files that were. Only a local
    /// store has any.
    pub async fn sweep_unfinished(&self, folders: &[String], until_ms: i64) -> Result<usize, StoreError> {
        let Some(root) = self.local_path().map(Path::to_owned) else { return Ok(0) };
        let below: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
        let sweeping = move || {
            let mut swept = sweep(&root, &root, until_ms, false)?;
            for folder in below {
                swept += sweep(&root, &folder, until_ms, true)?;
            }
            Ok(swept)
        };
        let swept = tokio::task::spawn_blocking(sweeping).await;
        let swept = swept.expect("sweeping does not panic, and its task is never aborted");
        swept.map_err(|error: io::Error| StoreError::Disk {
            path: self.to_string(),
            source: Error::Generic { store: LOCAL, source: error.into() },
        })
    }
}

fn sweep(root: &Path, folder: &Path, until_ms: i64, deep: bool) -> io::Result<usize> {
    let mut swept = 0;
    let entries = match fs::read_dir(folder) {
        // A folder that is empty goes with its last object.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let metadata = match path.symlink_metadata() {
            // Whoever was writing it has put it in its place.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            swept += if deep { sweep(root, &path, until_ms, deep)? } else { 0 };
        } else if is_unfinished(root, &path) && modified_ms(&metadata)? <= until_ms {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => {
                    removed?;
                    tracing::info!(path = %path.display(), "removed what a writer that died left half written");
                    swept += 1;
                }
            }
        }
    }
    Ok(swept)
}

/// True for `<object>#<number>`, whatever object of the layout that is.
fn is_unfinished(root: &Path, path: &Path) -> bool {
    let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
    let parts = relative.and_then(|relative| relative.rsplit_once('#'));
    parts.is_some_and(|(object, number)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits && Object::parse(object).is_some()
    })
}

fn modified_ms(metadata: &Metadata) -> io::Result<i64> {
    let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
