//! The data directory: who may use it, which format it has, what lies where.
//!
//! `D/` holds `FORMAT`, `LOCK`, `layout.json`, `drives/`, `ledger/`, `activity/`, `views/`, `keys/` and `control.sock`, with storage peers
//! `peer.key` and `peers/` too; that of a storage peer `peer.key`, `node.json`, `activity/`, `control.sock` and `drives/` (engine/FORMAT.md, section 8). Invariants: whoever
//! holds a [`DataDir`] is the only process that does, by an advisory lock that the system drops when the process ends, however it ends; and
//! what is a storage peer's is never opened as an owner's, nor the other way.

mod durably;

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

pub(crate) use durably::{remove_dir, remove_mark, rename, set_aside, sync, write_mark};

/// A locked data directory. The lock ends when this is dropped.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

/// What is in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Some key file is in `keys/`.
    pub keys: bool,
    /// `ledger/` is there and holds something.
    pub ledger: bool,
    /// At least one of the drives has an identity file.
    pub drives: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("data directory {dir} is in use by process {pid}")]
    InUse {
        /// The directory.
        dir: String,
        /// The process, as its lock file names it; `?` while it starts.
        pid: String,
    },
    /// There is none.
    #[error("there is no data directory {dir}: `cairn up --data {dir}` makes one")]
    Absent {
        /// The directory.
        dir: String,
    },
    /// It is a storage peer's, and an owner's is wanted.
    #[error(
        "{dir} belongs to a storage peer, which holds shards and no vault: `cairn node --data {dir}` runs it"
    )]
    OfNode {
        /// The directory.
        dir: String,
    },
    /// It is an owner's, and a storage peer's is wanted.
    #[error(
        "{dir} belongs to an owner of vaults, and a storage peer must know nothing of these: choose another --data for `cairn node`"
    )]
    OfOwner {
        /// The directory.
        dir: String,
    },
    /// The directory has files that are not ours.
    #[error("{dir} is not empty and not a data directory of Cairn's: choose another --data")]
    Foreign {
        /// The directory.
        dir: String,
    },
    /// A later version wrote it.
    #[error(
        "data directory {dir} has format {found}; this version of cairn reads format {FORMAT_VERSION}: use a newer cairn"
    )]
    Newer {
        /// The directory.
        dir: String,
        /// The format it has.
        found: u64,
    },
    /// `FORMAT` is not what it should be.
    #[error("{path} is damaged: it should hold the line `cairn {FORMAT_VERSION}`")]
    BadFormat {
        /// The file.
        path: String,
    },
    /// A start that did not come far.
    #[error(
        "{dir} holds no store yet: `cairn up --data {dir}` makes one, or brings drives that are put there first back to work"
    )]
    Empty {
        /// The directory.
        dir: String,
    },
    /// Its `FORMAT` is gone.
    #[error("{dir} holds data but its FORMAT file is gone: `cairn up --data {dir}` writes it again")]
    FormatAbsent {
        /// The directory.
        dir: String,
    },
    /// Drives without a ledger.
    #[error(
        "{dir} has drives but no ledger/, which says what is on them: `cairn vault rebuild --data {dir}` makes it anew from keys/ and the drives"
    )]
    LedgerAbsent {
        /// The directory.
        dir: String,
    },
    /// Data without keys.
    #[error(
        "{dir} has data but no keys/, without which nothing can be opened: put your backup of keys/ back"
    )]
    KeysAbsent {
        /// The directory.
        dir: String,
    },
    /// The system refused something.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDir {
    /// Locks the data directory at `root`, making it (mode 0700) if nothing is there.
    pub fn create_or_open(root: &Path) -> Result<Self, DataDirError> {
        if !root.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root)
                .map_err(|source| io_error(root, source))?;
        }
        refuse_node(root)?;
        Self::open_at(root, true)
    }

    /// Locks the data directory of a storage peer at `root`, making it (mode 0700) if nothing is there.
    pub fn of_node(root: &Path) -> Result<Self, DataDirError> {
        if OWNERS_NAMES.iter().any(|name| root.join(name).exists()) {
            return Err(DataDirError::OfOwner {
                dir: root.display().to_string(),
            });
        }
        make_private_dir(root)?;
        Self::open_at(root, true)
    }

    /// Whether a storage peer's data directory is at `root`.
    pub fn is_of_node(root: &Path) -> bool {
        root.join(NODE_FILE).exists()
    }

    /// Locks the data directory at `root`; refuses a place that has none.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        refuse_node(root)?;
        if !root.join(FORMAT_FILE).exists() {
            let dir = root.display().to_string();
            let holds_data = ["keys", "ledger", "drives"]
                .iter()
                .any(|name| holds_something(&root.join(name)));
            return Err(match holds_data {
                true => DataDirError::FormatAbsent { dir },
                false => DataDirError::Absent { dir },
            });
        }
        Self::open_at(root, false)
    }

    fn open_at(root: &Path, create: bool) -> Result<Self, DataDirError> {
        // One absolute name for the life of the process, whatever its working directory becomes.
        let root = root.canonicalize().map_err(|source| io_error(root, source))?;
        if create {
            refuse_foreign(&root)?;
        }
        let lock = take_lock(&root)?;
        std::fs::set_permissions(&root, Permissions::from_mode(0o700))
            .map_err(|source| io_error(&root, source))?;
        check_format(&root, create)?;
        Ok(Self { root, _lock: lock })
    }

    /// The directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the default drives are.
    pub fn drives(&self) -> PathBuf {
        self.root.join("drives")
    }

    /// The ledger's log.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// The activity log, of an owner or of a storage peer.
    pub fn activity(&self) -> PathBuf {
        self.root.join("activity")
    }

    /// The views, all disposable.
    pub fn views(&self) -> PathBuf {
        self.root.join("views")
    }

    /// The keys.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// What the layout file is called.
    pub fn layout(&self) -> PathBuf {
        self.root.join("layout.json")
    }

    /// The secret by which this directory is a peer.
    pub fn peer_key(&self) -> PathBuf {
        self.root.join("peer.key")
    }

    /// What a storage peer remembers.
    pub fn node(&self) -> PathBuf {
        self.root.join(NODE_FILE)
    }

    /// A storage peer's part of the ledger.
    pub fn member(&self) -> PathBuf {
        self.root.join(MEMBER_DIR)
    }

    /// What a storage peer knows of the others.
    pub fn known_peers(&self) -> PathBuf {
        self.root.join(KNOWN_PEERS_FILE)
    }

    /// The data directories of the storage peers that `up --peers` runs.
    pub fn peers(&self) -> PathBuf {
        self.root.join("peers")
    }

    /// What is there, with drives at `drives`.
    pub fn contents(&self, drives: &[PathBuf]) -> Contents {
        Contents {
            keys: holds_something(&self.keys()),
            ledger: holds_something(&self.ledger())
                || crate::runtime::ledgers_of_peers(self)
                    .iter()
                    .any(|dir| holds_something(dir)),
            drives: drives.iter().any(|drive| drive.join("drive.json").exists()),
        }
    }

    /// Refuses drives without a ledger, and data without keys.
    pub fn check_startable(&self, contents: Contents) -> Result<(), DataDirError> {
        let dir = self.root.display().to_string();
        if !contents.keys && (contents.ledger || contents.drives) {
            return Err(DataDirError::KeysAbsent { dir });
        }
        if contents.drives && !contents.ledger {
            return Err(DataDirError::LedgerAbsent { dir });
        }
        Ok(())
    }
}

/// Writes `bytes` to `path` so that a crash leaves the old file or the new one: a new file of mode 0600, synced, renamed
/// over, the directory synced.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = directory.join(format!(".{name}.new"));
    let written = (|| {
        let _ = std::fs::remove_file(&fresh);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        File::open(directory)?.sync_all()
    })();
    written.map_err(|source| io_error(path, source))
}

/// Makes a directory of mode 0700 below the data directory, if it is not there.
pub fn make_private_dir(path: &Path) -> Result<(), DataDirError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(source) => Err(io_error(path, source)),
    }
}

fn take_lock(root: &Path) -> Result<File, DataDirError> {
    let path = root.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| io_error(&path, source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(DataDirError::InUse {
                dir: root.display().to_string(),
                pid: holder(&mut file),
            });
        }
        Err(errno) => return Err(io_error(&path, errno.into())),
    }
    let named = (|| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    })();
    named.map_err(|source| io_error(&path, source))?;
    Ok(file)
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    let pid = text.trim();
    if read.is_ok() && !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) {
        pid.to_owned()
    } else {
        "?".to_owned()
    }
}

fn refuse_node(root: &Path) -> Result<(), DataDirError> {
    if DataDir::is_of_node(root) {
        return Err(DataDirError::OfNode {
            dir: root.display().to_string(),
        });
    }
    Ok(())
}

fn refuse_foreign(root: &Path) -> Result<(), DataDirError> {
    if root.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(root).map_err(|source| io_error(root, source))?;
    for entry in entries {
        let name = entry.map_err(|source| io_error(root, source))?.file_name();
        // What a start that was cut off before FORMAT leaves behind, or what a backup brought back.
        if !OWN_NAMES.iter().any(|own| name == *own) {
            return Err(DataDirError::Foreign {
                dir: root.display().to_string(),
            });
        }
    }
    Ok(())
}

fn check_format(root: &Path, create: bool) -> Result<(), DataDirError> {
    let path = root.join(FORMAT_FILE);
    if create && !path.exists() {
        return write_durably(&path, format!("cairn {FORMAT_VERSION}\n").as_bytes());
    }
    let mut text = String::new();
    let file = File::open(&path).map_err(|source| io_error(&path, source))?;
    file.take(64)
        .read_to_string(&mut text)
        .map_err(|source| io_error(&path, source))?;
    let found = text
        .strip_prefix("cairn ")
        .and_then(|rest| rest.strip_suffix('\n'))
        .and_then(|digits| digits.parse::<u64>().ok())
        .filter(|found| *found > 0)
        .ok_or_else(|| DataDirError::BadFormat {
            path: path.display().to_string(),
        })?;
    if found > FORMAT_VERSION {
        return Err(DataDirError::Newer {
            dir: root.display().to_string(),
            found,
        });
    }
    Ok(())
}

pub(crate) fn holds_something(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io {
        path: path.display().to_string(),
        source,
    }
}

const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";
const FORMAT_VERSION: u64 = 1;
/// What a storage peer knows of the others.
pub(crate) const KNOWN_PEERS_FILE: &str = "known-peers";
/// Where a storage peer keeps its part of the ledger.
pub(crate) const MEMBER_DIR: &str = "member";
pub(crate) const NODE_FILE: &str = "node.json";
/// What only an owner's directory has.
const OWNERS_NAMES: [&str; 4] = ["keys", "ledger", "layout.json", "peers"];
const OWN_NAMES: [&str; 11] = [
    LOCK_FILE,
    ".FORMAT.new",
    NODE_FILE,
    "peer.key",
    "peers",
    "layout.json",
    "drives",
    "ledger",
    "activity",
    "views",
    "keys",
];

#[cfg(test)]
mod tests;
