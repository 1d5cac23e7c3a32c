//! `drive.json`: which drive of which cluster a directory is.
//!
//! Not a configuration file: it is written once and has one byte form (canonical JSON), so anything else is refused.
//! Invariant: a drive's identity never changes; a directory whose file was replaced is another drive.

use std::fmt;
use std::path::{Path, PathBuf};

use super::DriveError;
use crate::disk::{Disk, replace_file};

const BEFORE_CLUSTER: &[u8] = b"{\"cluster_id\":\"";
const BEFORE_DRIVE: &[u8] = b"\",\"drive_id\":\"";
const BEFORE_FORMAT: &[u8] = b"\",\"format\":";
const FORMAT: u64 = 1;

/// Which drive of which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DriveIdentity {
    /// Cluster id.
    pub cluster: [u8; 16],
    /// Drive id.
    pub drive: [u8; 16],
}

impl fmt::Display for DriveIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of cluster {}", Hex(&self.drive), Hex(&self.cluster))
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl DriveIdentity {
    /// Where a drive directory keeps its identity.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("drive.json")
    }

    /// The empty file that stands for the log of a new drive until its first segment is durable. A drive with neither
    /// has lost its log.
    pub(super) fn unopened_path(dir: &Path) -> PathBuf {
        dir.join("log").join("unopened")
    }

    /// Makes a new drive in `dir`, durably, its log before its identity; a directory that holds one already is refused.
    pub fn create(&self, disk: &dyn Disk, dir: &Path) -> Result<(), DriveError> {
        disk.create_dir_all(dir)?;
        if disk.exists(&Self::path(dir)) {
            return Err(DriveError::Exists);
        }
        disk.create_dir_all(&dir.join("log"))?;
        replace_file(disk, &Self::unopened_path(dir), &[])?;
        Ok(replace_file(disk, &Self::path(dir), self.to_json().as_bytes())?)
    }

    /// Reads the identity of the drive in `dir`.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, DriveError> {
        let content = disk.read_small(&Self::path(dir)).map_err(DriveError::NoDrive)?;
        Self::parse(&content)
    }

    /// The file's content.
    pub fn to_json(&self) -> String {
        let (cluster, drive) = (Hex(&self.cluster), Hex(&self.drive));
        format!("{{\"cluster_id\":\"{cluster}\",\"drive_id\":\"{drive}\",\"format\":{FORMAT}}}")
    }

    /// Reads the file's content, in its one byte form only.
    pub fn parse(content: &[u8]) -> Result<Self, DriveError> {
        let mut rest = content;
        let bad = |rest: &[u8]| DriveError::BadIdentity {
            at: content.len() - rest.len(),
        };
        let skip = |rest: &mut &[u8], expected: &[u8]| match rest.strip_prefix(expected) {
            Some(after) => {
                *rest = after;
                Ok(())
            }
            None => Err(bad(rest)),
        };
        let id = |rest: &mut &[u8]| {
            let (digits, after) = rest.split_at_checked(32).ok_or_else(|| bad(rest))?;
            let id = unhex(digits).ok_or_else(|| bad(rest))?;
            *rest = after;
            Ok::<_, DriveError>(id)
        };
        skip(&mut rest, BEFORE_CLUSTER)?;
        let cluster = id(&mut rest)?;
        skip(&mut rest, BEFORE_DRIVE)?;
        let drive = id(&mut rest)?;
        skip(&mut rest, BEFORE_FORMAT)?;
        let number = rest.strip_suffix(b"}").ok_or_else(|| bad(rest))?;
        let canonical = |got: &u64| got.to_string().as_bytes() == number;
        let got = std::str::from_utf8(number)
            .ok()
            .and_then(|number| number.parse::<u64>().ok());
        match got.filter(canonical) {
            Some(FORMAT) => Ok(Self { cluster, drive }),
            Some(got) => Err(DriveError::Format { got }),
            None => Err(bad(rest)),
        }
    }
}

fn unhex(digits: &[u8]) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; 16];
    for (to, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *<&[u8; 2]>::try_from(pair).ok()?;
        *to = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}
