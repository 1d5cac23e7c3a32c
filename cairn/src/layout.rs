//! `layout.json`: which drives there are, in which order, or which storage peers, and the code of new packs.
//!
//! Nothing in it is secret, and nothing in it is irreplaceable: without the file the default drives are looked at, and
//! their identity files name the cluster. Invariant: drives are made only while `drives_made` is false, which ends
//! with the first start; afterwards a drive that is not there is lost.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use engine::pack::Code;
use net::DriveId;
use net::peer::PeerId;
use serde::{Deserialize, Serialize};

use crate::data_dir::{DataDir, DataDirError, write_durably};

/// The drives of a data directory, or the storage peers in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The cluster's id, which every drive carries.
    pub cluster: [u8; 16],
    /// The code of new packs.
    pub code: Code,
    /// The drives' directories, absolute.
    pub drives: Vec<PathBuf>,
    /// The storage peers that run with this process; then there are no drives.
    pub peers: Vec<PeerPlace>,
    /// Whether the first start got as far as making them.
    pub drives_made: bool,
}

/// A storage peer that runs with this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPlace {
    /// Its data directory, absolute.
    pub directory: PathBuf,
    /// What it said of itself when it started last, if it ever did.
    pub known: Option<KnownPeer>,
}

/// What a storage peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its id.
    pub id: PeerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its drives.
    pub drives: Vec<DriveId>,
}

/// Why the layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file is not what it should be.
    #[error("{path} is damaged: move it away and name the drives with --drive, in their old order")]
    Damaged {
        /// The file.
        path: String,
    },
    /// Fewer drives than there were.
    #[error("there were {known} drives and {given} are given: name every one, also those that are lost")]
    Fewer {
        /// Drives remembered.
        known: usize,
        /// Drives given.
        given: usize,
    },
    /// Storage peers are chosen once.
    #[error(
        "this store was made with {known} storage peers, not {given}: leave --peers out, it remembers them. Another number needs another --data"
    )]
    OtherPeers {
        /// Peers remembered.
        known: usize,
        /// Peers given.
        given: usize,
    },
    /// Drives for a store that has storage peers.
    #[error(
        "the shards of this store lie with storage peers: it takes no --drive. Drives need another --data"
    )]
    HasPeers,
    /// Storage peers for a store that has drives.
    #[error("this store was made with {drives} drives of its own: --peers needs another --data")]
    HasDrives {
        /// Drives remembered.
        drives: usize,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] DataDirError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutFile {
    format: u32,
    cluster_id: String,
    code: String,
    drives: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    peers: Vec<PeerRow>,
    drives_made: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerRow {
    directory: PathBuf,
    known: Option<KnownRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownRow {
    peer_id: String,
    address: SocketAddr,
    drives: Vec<String>,
}

impl PeerRow {
    fn of(peer: &PeerPlace, root: &Path) -> Self {
        let directory = peer.directory.strip_prefix(root).unwrap_or(&peer.directory);
        Self {
            directory: directory.to_path_buf(),
            known: peer.known.as_ref().map(|known| KnownRow {
                peer_id: known.id.to_string(),
                address: known.address,
                drives: known.drives.iter().map(hex::encode).collect(),
            }),
        }
    }

    /// `None` if it is damaged.
    fn read(self, root: &Path) -> Option<PeerPlace> {
        let known = match self.known {
            Some(row) => Some(row.read()?),
            None => None,
        };
        Some(PeerPlace {
            directory: root.join(self.directory),
            known,
        })
    }
}

impl KnownRow {
    fn read(self) -> Option<KnownPeer> {
        let drive = |text: &String| DriveId::try_from(hex::decode(text).ok()?).ok();
        Some(KnownPeer {
            id: self.peer_id.parse().ok()?,
            address: self.address,
            drives: self.drives.iter().map(drive).collect::<Option<_>>()?,
        })
    }
}

impl Layout {
    /// The layout that `data` remembers, if it does.
    pub fn read(data: &DataDir) -> Result<Option<Self>, LayoutError> {
        let path = data.layout();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(damaged(&path)),
        };
        let file: LayoutFile = serde_json::from_slice(&bytes).map_err(|_| damaged(&path))?;
        let mut cluster = [0; 16];
        hex::decode_to_slice(&file.cluster_id, &mut cluster).map_err(|_| damaged(&path))?;
        let code: Code = file.code.parse().map_err(|_| damaged(&path))?;
        let places = match file.peers.is_empty() {
            true => file.drives.len(),
            false => file.peers.len(),
        };
        let both = !file.peers.is_empty() && !file.drives.is_empty();
        if file.format != 1 || places < code.shards() || both {
            return Err(damaged(&path));
        }
        let root = root_of(data);
        let peers = file.peers.into_iter().map(|peer| peer.read(&root));
        Ok(Some(Self {
            peers: peers.collect::<Option<_>>().ok_or_else(|| damaged(&path))?,
            cluster,
            code,
            drives: file.drives.iter().map(|drive| root.join(drive)).collect(),
            drives_made: file.drives_made,
        }))
    }

    /// Remembers this layout.
    pub fn write(&self, data: &DataDir) -> Result<(), LayoutError> {
        let root = root_of(data);
        // Drives in the data directory go where it goes.
        let drives = self
            .drives
            .iter()
            .map(|drive| drive.strip_prefix(&root).unwrap_or(drive));
        let file = LayoutFile {
            format: 1,
            cluster_id: hex::encode(self.cluster),
            code: self.code.to_string(),
            drives: drives.map(Path::to_path_buf).collect(),
            peers: self.peers.iter().map(|peer| PeerRow::of(peer, &root)).collect(),
            drives_made: self.drives_made,
        };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(|_| damaged(&data.layout()))?;
        bytes.push(b'\n');
        Ok(write_durably(&data.layout(), &bytes)?)
    }

    /// Refuses another number of storage peers than there are.
    pub fn check_peers(&self, given: Option<usize>) -> Result<(), LayoutError> {
        match given {
            Some(_) if self.peers.is_empty() => Err(LayoutError::HasDrives {
                drives: self.drives.len(),
            }),
            Some(given) if given != self.peers.len() => Err(LayoutError::OtherPeers {
                known: self.peers.len(),
                given,
            }),
            _ => Ok(()),
        }
    }

    /// Every directory of this machine that holds a drive of the layout.
    pub fn drive_directories(&self) -> Vec<PathBuf> {
        let of_peers = self.peers.iter().map(|peer| peer.directory.join("drives/0"));
        self.drives.iter().cloned().chain(of_peers).collect()
    }

    /// The layout with the drives and the code of a later start. Drives may move and may be added, never be left out.
    pub fn changed(&self, drives: Option<&[PathBuf]>, code: Option<Code>) -> Result<Self, LayoutError> {
        if drives.is_some() && !self.peers.is_empty() {
            return Err(LayoutError::HasPeers);
        }
        let drives = match drives {
            Some(given) if given.len() < self.drives.len() => {
                return Err(LayoutError::Fewer {
                    known: self.drives.len(),
                    given: given.len(),
                });
            }
            Some(given) => given.to_vec(),
            None => self.drives.clone(),
        };
        Ok(Self {
            drives,
            code: code.unwrap_or(self.code),
            ..self.clone()
        })
    }
}

/// The data directory's own drives: as many as `code` needs, and six for the default.
pub fn default_drives(data: &DataDir, code: Code) -> Vec<PathBuf> {
    (0..code.shards())
        .map(|number| data.drives().join(number.to_string()))
        .collect()
}

/// Places for so many storage peers that have not started yet.
pub fn new_peers(data: &DataDir, count: usize) -> Vec<PeerPlace> {
    let places = (0..count).map(|number| PeerPlace {
        directory: data.peers().join(number.to_string()),
        known: None,
    });
    places.collect()
}

/// Absolute forms of the given directories, which need not exist.
pub fn absolute(drives: &[PathBuf]) -> Vec<PathBuf> {
    drives
        .iter()
        .map(|drive| std::path::absolute(drive).unwrap_or_else(|_| drive.clone()))
        .collect()
}

fn root_of(data: &DataDir) -> PathBuf {
    std::path::absolute(data.root()).unwrap_or_else(|_| data.root().to_path_buf())
}

fn damaged(path: &Path) -> LayoutError {
    LayoutError::Damaged {
        path: path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(data: &DataDir) -> Layout {
        let drives = default_drives(data, Code::DEFAULT);
        Layout {
            cluster: [7; 16],
            code: Code::DEFAULT,
            drives,
            peers: Vec::new(),
            drives_made: false,
        }
    }

    #[test]
    fn a_layout_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create_or_open(dir.path()).unwrap();
        assert_eq!(Layout::read(&data).unwrap(), None);
        let layout = layout(&data);
        assert_eq!(layout.drives.len(), 6);
        layout.write(&data).unwrap();
        assert_eq!(Layout::read(&data).unwrap(), Some(layout));
    }

    #[test]
    fn drives_in_the_data_directory_go_where_it_goes_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let data = DataDir::create_or_open(&old).unwrap();
        let mut layout = layout(&data);
        layout.drives = absolute(&layout.drives);
        layout.drives.push("/mnt/seventh".into());
        layout.write(&data).unwrap();
        drop(data);
        std::fs::rename(&old, &new).unwrap();
        let moved = Layout::read(&DataDir::create_or_open(&new).unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(moved.drives[0], new.join("drives/0"));
        assert_eq!(moved.drives[6], Path::new("/mnt/seventh"));
    }

    #[test]
    fn storage_peers_are_remembered_and_a_layout_without_them_is_written_as_ever() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create_or_open(dir.path()).unwrap();
        let mut layout = layout(&data);
        layout.write(&data).unwrap();
        let text = std::fs::read_to_string(data.layout()).unwrap();
        assert!(!text.contains("peers"), "{text}");
        assert!(matches!(
            layout.check_peers(Some(6)),
            Err(LayoutError::HasDrives { drives: 6 })
        ));

        layout.drives = Vec::new();
        layout.peers = new_peers(&data, 7);
        layout.peers[3].known = Some(KnownPeer {
            id: net::peer::PeerKey::from_seed(&[7; 32]).id(),
            address: "127.0.0.1:7".parse().unwrap(),
            drives: vec![[1; 16], [2; 16]],
        });
        layout.write(&data).unwrap();
        assert_eq!(Layout::read(&data).unwrap(), Some(layout.clone()));
        layout.check_peers(None).and(layout.check_peers(Some(7))).unwrap();
        let error = layout.check_peers(Some(6)).unwrap_err();
        assert!(matches!(error, LayoutError::OtherPeers { known: 7, given: 6 }));
        let error = layout.changed(Some(&["/a".into()]), None).unwrap_err();
        assert!(matches!(error, LayoutError::HasPeers));
    }

    #[test]
    fn a_damaged_layout_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create_or_open(dir.path()).unwrap();
        for text in [
            "",
            "{}",
            "[1]",
            r#"{"format":1,"cluster_id":"xx","code":"4+2","drives":[],"drives_made":true}"#,
        ] {
            std::fs::write(data.layout(), text).unwrap();
            let message = Layout::read(&data).unwrap_err().to_string();
            assert!(message.contains("layout.json is damaged"), "{message}");
        }
    }

    #[test]
    fn drives_may_move_and_grow_but_not_be_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create_or_open(dir.path()).unwrap();
        let layout = layout(&data);
        let mut given = layout.drives.clone();
        given.push("/seventh".into());
        assert_eq!(layout.changed(Some(&given), None).unwrap().drives, given);
        let error = layout.changed(Some(&given[..5]), None).unwrap_err();
        assert!(matches!(error, LayoutError::Fewer { known: 6, given: 5 }));
    }
}
