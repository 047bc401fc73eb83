//! Folders that belong to no topic.

use std::path::Path;

use uuid::Uuid;

use super::Maps;
use crate::BrokerError;

/// Renames folders of partitions that no topic has. They are left by a deletion that did not finish, or by a journal
/// that was lost; only a person can tell which.
pub fn set_strays_aside(dir: &Path, maps: &Maps) -> Result<(), BrokerError> {
    let io = BrokerError::io;
    for entry in std::fs::read_dir(dir).map_err(io(dir))? {
        let entry = entry.map_err(io(dir))?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str() else { continue };
        let Some((topic, index)) = name.rsplit_once('-').and_then(|(t, i)| Some((t, i.parse::<i32>().ok()?)))
        else {
            continue;
        };
        if maps.by_name.get(topic).is_some_and(|topic| topic.partition(index).is_some())
            || !entry.path().is_dir()
        {
            continue;
        }
        let aside = dir.join(format!("{name}.{}.stray", Uuid::new_v4().simple()));
        std::fs::rename(entry.path(), &aside).map_err(io(&aside))?;
        tracing::warn!(folder = name, aside = %aside.display(), "folder without a topic set aside");
    }
    Ok(())
}
