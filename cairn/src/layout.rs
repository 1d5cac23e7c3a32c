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

use crate::data_dir::{DataDir, DataDirError, write_durably};
use crate::introduction::PeerAt;
use crate::key_store::random;

mod file;

use file::{LayoutFile, PeerRow};

/// The drives of a data directory, or the storage peers in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The cluster's id, which every drive carries.
    pub cluster: [u8; 16],
    /// The code of new packs.
    pub code: Code,
    /// The drives' directories, absolute.
    pub drives: Vec<PathBuf>,
    /// The storage peers; then there are no drives. None of either: a gateway that waits for storage peers.
    pub peers: Vec<PeerPlace>,
    /// Most members of the ledger among storage peers.
    pub ledger_members: usize,
    /// Whether this gateway came to a cluster that another one had begun, and keeps an activity log under a name of its own.
    pub own_log: bool,
    /// Whether the first start got as far as making them.
    pub drives_made: bool,
}

/// [`Layout::ledger_members`] unless another number is chosen.
pub const LEDGER_MEMBERS: usize = 5;

/// A storage peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPlace {
    /// Its data directory, absolute, if it runs with this process.
    pub directory: Option<PathBuf>,
    /// What is known of it, if it ever started.
    pub known: Option<KnownPeer>,
}

/// What a storage peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its id.
    pub id: PeerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it fails together with, by name; empty if it has none.
    pub domain: String,
    /// Its drives; none yet of one that was named and never heard of.
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
    /// A gateway in front of drives of its own.
    #[error(
        "this store has drives, or runs storage peers, of its own: `cairn up` starts it, and a gateway needs another --data"
    )]
    NoGateway,
    /// A later start of a gateway that names a peer for the first time.
    #[error(
        "{peer} is not a peer of this cluster yet: start without it, then run `cairn node admit` with it"
    )]
    NotAdmitted {
        /// The peer.
        peer: PeerId,
    },
    /// A peer that is named twice.
    #[error("--join names {peer} twice")]
    PeerTwice {
        /// The peer.
        peer: PeerId,
    },
    /// A gateway's directory without its layout.
    #[error(
        "this data directory has been used, and its layout.json is lost: say with --cluster which cluster it belongs to, and with --join where its storage peers are"
    )]
    LayoutLost,
    /// Another cluster than the one that is remembered.
    #[error("this gateway belongs to another cluster: that needs another --data")]
    OtherCluster,
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
    /// There is no randomness for a new cluster.
    #[error(transparent)]
    Random(#[from] crate::key_store::KeyStoreError),
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
        // How many storage peers packs need depends on their drives, which are counted when they are heard of.
        let waits = file.drives.is_empty() && (!file.peers.is_empty() || !file.drives_made);
        let holds = waits || file.drives.len() >= code.shards();
        let both = !file.peers.is_empty() && !file.drives.is_empty();
        if file.format != 1 || !holds || both {
            return Err(damaged(&path));
        }
        let root = root_of(data);
        let peers = file.peers.into_iter().map(|peer| peer.read(&root));
        Ok(Some(Self {
            peers: peers.collect::<Option<_>>().ok_or_else(|| damaged(&path))?,
            cluster,
            code,
            drives: file.drives.iter().map(|drive| root.join(drive)).collect(),
            ledger_members: file.ledger_members.unwrap_or(LEDGER_MEMBERS),
            own_log: file.own_log,
            drives_made: file.drives_made,
        }))
    }

    /// The layout of a gateway's data directory: what is remembered, or one that waits for storage peers.
    pub fn waiting(
        data: &DataDir,
        cluster: Option<[u8; 16]>,
        code: Option<Code>,
    ) -> Result<Self, LayoutError> {
        if let Some(known) = Self::read(data)? {
            let is_other = cluster.is_some_and(|cluster| cluster != known.cluster);
            return match (is_other, !known.drives.is_empty() || known.runs_peers()) {
                (_, true) => Err(LayoutError::NoGateway),
                (true, false) => Err(LayoutError::OtherCluster),
                (false, false) => Ok(known),
            };
        }
        if cluster.is_none() && (data.contents(&[]).ledger || data.activity().exists()) {
            return Err(LayoutError::LayoutLost);
        }
        let layout = Self {
            cluster: match cluster {
                Some(cluster) => cluster,
                None => *random()?,
            },
            code: code.unwrap_or(Code::DEFAULT),
            drives: Vec::new(),
            peers: Vec::new(),
            ledger_members: LEDGER_MEMBERS,
            // A log that was brought along goes on.
            own_log: cluster.is_some() && !data.activity().exists(),
            drives_made: false,
        };
        layout.write(data)?;
        Ok(layout)
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
            ledger_members: Some(self.ledger_members).filter(|members| *members != LEDGER_MEMBERS),
            own_log: self.own_log,
            drives_made: self.drives_made,
        };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(|_| damaged(&data.layout()))?;
        bytes.push(b'\n');
        Ok(write_durably(&data.layout(), &bytes)?)
    }

    /// Whether storage peers run with this process, perhaps beside others.
    pub fn runs_peers(&self) -> bool {
        self.peers.iter().any(|peer| peer.directory.is_some())
    }

    /// Whether storage peers run elsewhere, as well or alone.
    pub fn has_peers_elsewhere(&self) -> bool {
        self.peers.iter().any(|peer| peer.directory.is_none())
    }

    /// Refuses another number of storage peers here.
    pub fn check_peers(&self, given: Option<usize>) -> Result<(), LayoutError> {
        let here = self.peers.iter().filter(|peer| peer.directory.is_some()).count();
        let drives = self.drives.len();
        match given {
            Some(_) if self.peers.is_empty() => Err(LayoutError::HasDrives { drives }),
            Some(given) if given != here => Err(LayoutError::OtherPeers { known: here, given }),
            _ => Ok(()),
        }
    }

    /// The layout of a gateway whose storage peers run elsewhere, with the addresses that it is told now.
    pub fn joined(&self, told: &[PeerAt]) -> Result<Self, LayoutError> {
        if !self.drives.is_empty() || self.runs_peers() {
            return Err(LayoutError::NoGateway);
        }
        let mut named: Vec<PeerId> = told.iter().map(|at| at.peer).collect();
        named.sort_unstable();
        if let Some(peer) = named
            .iter()
            .zip(named.iter().skip(1))
            .find(|(a, b)| a == b)
            .map(|(peer, _)| *peer)
        {
            return Err(LayoutError::PeerTwice { peer });
        }
        // As long as the cluster was not made, those that are named now are all of it.
        if self.peers.is_empty() || !self.drives_made && !told.is_empty() {
            return Ok(Self {
                peers: told.iter().map(joined_place).collect(),
                ..self.clone()
            });
        }
        let mut peers = self.peers.clone();
        for PeerAt { peer, address } in told {
            let mut known = peers.iter_mut().filter_map(|place| place.known.as_mut());
            match known.find(|known| known.id == *peer) {
                Some(known) => known.address = *address,
                None => return Err(LayoutError::NotAdmitted { peer: *peer }),
            }
        }
        Ok(Self {
            peers,
            ..self.clone()
        })
    }

    /// Every directory of this machine that holds a drive of the layout.
    pub fn drive_directories(&self) -> Vec<PathBuf> {
        let of_peers = self.peers.iter().filter_map(|peer| peer.directory.as_ref());
        let of_peers = of_peers.map(|directory| directory.join("drives/0"));
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
        directory: Some(data.peers().join(number.to_string())),
        known: None,
    });
    places.collect()
}

/// The place of a storage peer elsewhere that was not heard of yet.
fn joined_place(told: &PeerAt) -> PeerPlace {
    PeerPlace {
        directory: None,
        known: Some(KnownPeer {
            id: told.peer,
            address: told.address,
            domain: String::new(),
            drives: Vec::new(),
        }),
    }
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
            ledger_members: LEDGER_MEMBERS,
            own_log: false,
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
            domain: "site a".to_owned(),
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
    fn a_gateway_waits_for_peers_takes_them_all_at_once_and_later_only_other_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create_or_open(dir.path()).unwrap();
        let mut waiting = layout(&data);
        waiting.drives = Vec::new();
        waiting.write(&data).unwrap();
        assert_eq!(Layout::read(&data).unwrap(), Some(waiting.clone()));

        let at = |seed: u8, port: u16| PeerAt {
            peer: net::peer::PeerKey::from_seed(&[seed; 32]).id(),
            address: SocketAddr::new([10, 0, 0, seed].into(), port),
        };
        let told: Vec<PeerAt> = (1..=3).map(|seed| at(seed, 7_400)).collect();
        let mut joined = waiting.joined(&told).unwrap();
        let other = joined.joined(&told[..2]).unwrap();
        assert_eq!(other.peers.len(), 2, "the cluster was not made yet");
        let twice = [told[0], told[0]];
        assert!(matches!(
            waiting.joined(&twice),
            Err(LayoutError::PeerTwice { .. })
        ));
        joined.drives_made = true;
        joined.write(&data).unwrap();
        assert_eq!(Layout::read(&data).unwrap(), Some(joined.clone()));
        let moved = joined.joined(&[at(2, 7_500)]).unwrap();
        let address = |layout: &Layout, number: usize| layout.peers[number].known.as_ref().unwrap().address;
        assert_eq!(address(&moved, 1), at(2, 7_500).address);
        assert_eq!(address(&moved, 0), address(&joined, 0));
        let error = joined.joined(&[at(9, 1)]).unwrap_err();
        assert!(matches!(error, LayoutError::NotAdmitted { peer } if peer == at(9, 1).peer));
        assert!(matches!(layout(&data).joined(&told), Err(LayoutError::NoGateway)));
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
