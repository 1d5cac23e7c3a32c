//! The mark in a rebuilt ledger that is brought to a storage peer: which rebuild it was, and of which files it consists.
//!
//! Invariant: what passes [`check`] is one rebuild, whole, byte for byte.

use std::path::Path;

use net::peer::PeerId;
use serde::{Deserialize, Serialize};

use super::rebuild::REBUILT;
use crate::data_dir::{DataDirError, io_error, write_durably};

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The rebuild, drawn at random: the holder of its lease in the ledger is named by it too.
    pub id: String,
    /// The cluster.
    pub cluster_id: String,
    /// The storage peer that it is brought to, and no other: there alone it is begun.
    pub peer: String,
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Segment {
    name: String,
    bytes: u64,
    blake3: String,
}

impl Manifest {
    /// The names of the files, the mark aside. After [`check`] they are names in the ledger's directory.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map(|segment| segment.name.as_str())
    }
}

/// Marks the closed ledger in `dir`.
pub fn mark(dir: &Path, id: &str, cluster: [u8; 16], peer: &PeerId) -> Result<(), DataDirError> {
    let manifest = Manifest {
        format: 1,
        id: id.to_owned(),
        cluster_id: hex::encode(cluster),
        peer: peer.to_string(),
        segments: segments(dir)?,
    };
    let text = serde_json::to_vec(&manifest).unwrap_or_default();
    write_durably(&dir.join(REBUILT), &text)
}

/// The mark of the ledger in `dir`, if every file is there as it was marked. Otherwise what is wrong, for people.
pub fn check(dir: &Path) -> Result<Manifest, String> {
    let bytes =
        std::fs::read(dir.join(REBUILT)).map_err(|error| format!("its mark cannot be read: {error}"))?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|_| "its mark is that of a ledger of one machine".to_owned())?;
    let found = segments(dir).map_err(|error| error.to_string())?;
    if manifest.format != 1 {
        return Err(format!("its mark has format {}", manifest.format));
    }
    match found == manifest.segments {
        true => Ok(manifest),
        false => Err(format!(
            "{} segments are there and {} were made, or not all of them are as they were made",
            found.len(),
            manifest.segments.len()
        )),
    }
}

fn segments(dir: &Path) -> Result<Vec<Segment>, DataDirError> {
    let io = |source| io_error(dir, source);
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if path.extension().is_none_or(|end| end != "seg") {
            continue;
        }
        let mut hasher = blake3::Hasher::new();
        let read = std::fs::File::open(&path).and_then(|file| std::io::copy(&mut &file, &mut hasher));
        segments.push(Segment {
            name: name.to_owned(),
            bytes: read.map_err(io)?,
            blake3: hasher.finalize().to_string(),
        });
    }
    segments.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(segments)
}
