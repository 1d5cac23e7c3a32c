//! Changes of names below a data directory. Each is durable once it returns, and may be done again after a crash.
//!
//! Nothing here deletes what somebody may need: what is given up is set aside.

use std::io;
use std::path::{Path, PathBuf};

use super::{DataDirError, io_error};
use crate::runtime::now_ms;

/// Gives a file or directory another name.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), DataDirError> {
    std::fs::rename(from, to).map_err(|source| io_error(from, source))?;
    sync_parent(to)
}

/// Puts a file or directory aside, as `NAME.old-` and the time, if it is there; where it lies then.
pub(crate) fn set_aside(path: &Path) -> Result<Option<PathBuf>, DataDirError> {
    if !path.exists() {
        // Perhaps since a moment ago, by one that was cut off before it was durable.
        sync_parent(path)?;
        return Ok(None);
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".old-{}", now_ms()));
    let aside = PathBuf::from(aside);
    rename(path, &aside)?;
    Ok(Some(aside))
}

/// Removes a directory that can be made again, if it is there.
pub(crate) fn remove_dir(path: &Path) -> Result<(), DataDirError> {
    unless_absent(path, std::fs::remove_dir_all(path))?;
    sync_parent(path)
}

/// Makes an empty file that says something by being there.
pub(crate) fn write_mark(path: &Path) -> Result<(), DataDirError> {
    let made = std::fs::File::create(path).and_then(|file| file.sync_all());
    made.map_err(|source| io_error(path, source))?;
    sync_parent(path)
}

/// Removes such a file, if it is there.
pub(crate) fn remove_mark(path: &Path) -> Result<(), DataDirError> {
    unless_absent(path, std::fs::remove_file(path))?;
    sync_parent(path)
}

/// Flushes a file, or the names in a directory.
pub(crate) fn sync(path: &Path) -> Result<(), DataDirError> {
    let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| io_error(path, source))
}

/// Flushes the names beside this one, if their directory is there.
fn sync_parent(path: &Path) -> Result<(), DataDirError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    match parent.exists() {
        true => sync(parent),
        false => Ok(()),
    }
}

fn unless_absent(path: &Path, removed: io::Result<()>) -> Result<(), DataDirError> {
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(path, source)),
        _ => Ok(()),
    }
}
