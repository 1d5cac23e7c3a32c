//! One storage peer: the drives of a data directory behind the QUIC port of its peer key.
//!
//! It has no vault and no S3: what it answers, `net::Node` decides; it may be a member of the ledger. Invariant: the key and the address that it tells
//! others are durable before it tells them.

mod operator;
mod reset;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::disk::{Disk, RealDisk};
use net::cluster::Standing;
use net::ledger::{LedgerSizes, Member, MemberConfig, MemberOpenError};
use net::membership::{PeerEntry, Role};
use net::node::{NodeRecords, RecordsConfig};
use net::peer::message::{DriveReport, DriveStanding};
use net::peer::quic::{Quic, QuicConfig, QuicError};
use net::peer::{PeerId, PeerKey, Transport};
use net::{Directory, DriveConfig, DrivesConfig, DrivesOpenError, Node, NodeConfig, NodeLedger, Offload};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cli::NodeArgs;
use crate::control::{ControlError, ControlServer};
use crate::data_dir::{DataDir, DataDirError, make_private_dir};
use crate::key_store::{KeyStoreError, peer_key};
use crate::runtime::{fresh_log_id, now_ms, raise_open_files};

pub use operator::{NodeOperator, answer_closed};
pub(crate) use reset::set_aside;
pub use reset::{Reset, reset_ledger};
pub use settings::NodeSettings;

/// Why a storage peer does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyStoreError),
    /// The file is not what it should be.
    #[error(
        "{path} is damaged: put its backup back; without it the drives still belong to the cluster that their drive.json names"
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// A first start without a cluster.
    #[error(
        "the first start of a storage peer needs --join with the invitation that its owner's `cairn status`, or the first start of `cairn gateway`, prints"
    )]
    NoCluster,
    /// A command for a storage peer's directory, at another.
    #[error("{dir} is not the data directory of a storage peer: name that with --data")]
    NoNode {
        /// The directory.
        dir: String,
    },
    /// What was given is not a rebuilt ledger.
    #[error(
        "{dir} is not a ledger that `cairn vault rebuild` made, or not all of it: {why}. Bring it here again"
    )]
    NotRebuilt {
        /// Where it was looked for.
        dir: String,
        /// What is wrong with it.
        why: String,
    },
    /// A rebuilt ledger at another storage peer than it was made for.
    #[error("this rebuilt ledger has to be brought to {wanted}, and this is {own}")]
    OtherTaker {
        /// Where it belongs.
        wanted: String,
        /// This one.
        own: PeerId,
    },
    /// A node does not change its cluster.
    #[error("this storage peer belongs to cluster {known}, not {told}: another cluster needs another --data")]
    OtherCluster {
        /// What it remembers.
        known: String,
        /// What it was told.
        told: String,
    },
    /// More or fewer drives than there were.
    #[error(
        "there were {known} drives and {given} are given: name every one, also those that are lost, and no other"
    )]
    OtherDrives {
        /// Drives remembered.
        known: usize,
        /// Drives given.
        given: usize,
    },
    /// Nobody could be told where it is.
    #[error(
        "--listen {listen} is every address of this machine: say with --advertise ADDRESS:PORT where other peers reach it"
    )]
    Advertise {
        /// The address.
        listen: SocketAddr,
    },
    /// The port cannot be listened on.
    #[error("--listen {listen}: {why}; choose another with --listen ADDRESS:PORT")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        why: String,
    },
    /// The drives do not open.
    #[error("drives: {0}")]
    Drives(#[from] DrivesOpenError),
    /// Its part of the ledger does not open.
    #[error(
        "ledger: {0}. The other members have all of it; what lies in member/ is not to be removed while this peer is one of them"
    )]
    Ledger(#[from] MemberOpenError),
    /// Its activity log does not open.
    #[error(
        "{0}. Put activity/ back as it was, or set it aside: a new one is begun, and the old records stay where you put them"
    )]
    Records(#[from] net::RecorderError),
    /// Commands could not reach it.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl NodeError {
    /// Whether what was typed makes no sense.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoCluster
                | Self::NoNode { .. }
                | Self::NotRebuilt { .. }
                | Self::OtherTaker { .. }
                | Self::OtherCluster { .. }
                | Self::OtherDrives { .. }
                | Self::Advertise { .. }
        )
    }
}

/// A storage peer that answers.
#[derive(Debug)]
pub struct StoragePeer {
    data: DataDir,
    settings: NodeSettings,
    id: PeerId,
    quic: Arc<Quic>,
    node: Arc<Node>,
    member: Arc<Member>,
    records: Arc<NodeRecords>,
    control: JoinHandle<()>,
    directory: Arc<Directory>,
    serving: JoinHandle<()>,
}

impl StoragePeer {
    /// Locks the data directory of a node. One that a parent process keeps may still be held by its predecessor, whose parent was
    /// killed a moment ago.
    pub async fn lock(data: &std::path::Path, has_parent: bool) -> Result<DataDir, NodeError> {
        let began = Instant::now();
        loop {
            match DataDir::of_node(data) {
                Err(DataDirError::InUse { .. }) if has_parent && began.elapsed() < PREDECESSOR_WAIT => {
                    tokio::time::sleep(PREDECESSOR_LOOK).await;
                }
                locked => return Ok(locked?),
            }
        }
    }

    /// Opens the drives of `data`, making them on the first start, and answers from now on.
    pub async fn open(data: DataDir, args: &NodeArgs) -> Result<Self, NodeError> {
        raise_open_files();
        // First of all: nothing may be known under a key that a crash could take.
        let key = peer_key(&data.peer_key())?;
        let mut settings = NodeSettings::settle(&data, args)?;
        let listens_on = settings.listen;
        if settings.reached_at().is_none() {
            return Err(NodeError::Advertise { listen: listens_on });
        }
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let gateways = settings.gateways.iter().copied().collect();
        let mut directory = Directory::open(Arc::clone(&disk), data.known_peers(), gateways);
        if args.until_stdin_closes {
            directory = directory.waiting_to_be_told();
        }
        let directory = Arc::new(directory);
        let quic = listen(
            &key,
            settings.listen,
            args.until_stdin_closes,
            Arc::clone(&directory),
        )?;
        let quic = Arc::new(quic);
        settings.listen = quic.local_address().map_err(|error| NodeError::Listen {
            listen: settings.listen,
            why: error.to_string(),
        })?;
        settings.write(&data)?;
        let config = node_config(&data, &settings, Arc::clone(&directory));
        let node = Node::open(Arc::clone(&disk), config).await?;
        if !settings.drives_made {
            settings.drives_made = true;
            settings.write(&data)?;
        }
        // Before anything is answered, so that all of it is written down.
        let records = open_records(&disk, &data, &key, settings.cluster).await?;
        node.keep_records(Arc::clone(&records));
        let operator = Arc::new(NodeOperator::new(Arc::clone(&records)));
        let control = tokio::spawn(ControlServer::bind(data.root())?.serve(operator));
        let member = open_member(disk, &data, key.id(), Arc::clone(&quic)).await?;
        let own = PeerEntry {
            peer: key.id(),
            role: Role::Node,
            standing: Standing::Active,
            domain: settings.domain.clone(),
            addresses: settings.reached_at().into_iter().collect(),
            drives: node.reports().iter().map(|report| report.id).collect(),
        };
        let transport: Arc<dyn Transport> = Arc::<Quic>::clone(&quic);
        let known = Arc::clone(&directory);
        node.join_ledger(NodeLedger::start(Arc::clone(&member), directory, transport, own));
        let (carrier, service) = (Arc::clone(&quic), Arc::clone(&node));
        Ok(Self {
            data,
            settings,
            id: key.id(),
            serving: tokio::spawn(async move { carrier.serve(service).await }),
            quic,
            node,
            member,
            records,
            control,
            directory: known,
        })
    }

    /// What it has to say of itself, for programs.
    pub fn announcement(&self) -> Value {
        json!({
            "peer_id": self.id.to_string(),
            "address": self.reached_at(),
            "listen": self.settings.listen,
            "domain": self.settings.domain,
            "admitted": self.is_admitted(),
            "cluster_id": hex::encode(self.settings.cluster),
            "data": self.data.root(),
            "pid": std::process::id(),
            "drives": self.drives().map(|(report, directory, state)| json!({
                "id": hex::encode(report.id),
                "directory": directory,
                "state": state,
            })).collect::<Vec<_>>(),
            "gateways": self.settings.gateways.iter().map(PeerId::to_string).collect::<Vec<_>>(),
        })
    }

    /// The same for people.
    pub fn description(&self) -> Vec<String> {
        let mut lines = vec![
            format!("A storage peer serves {}", self.data.root().display()),
            String::new(),
            format!("  peer      {}", self.id),
            format!("  address   {} (UDP)", self.reached_at()),
            format!("  cluster   {}", hex::encode(self.settings.cluster)),
            match self.settings.domain.as_str() {
                "" => {
                    "  domain    itself: it fails together with no other peer, as far as it knows".to_owned()
                }
                domain => format!("  domain    {domain}"),
            },
        ];
        lines.extend(self.drives().map(|(report, directory, state)| {
            let id = hex::encode(report.id);
            format!("  drive     {} {state} ({id})", directory.display())
        }));
        let gateways = &self.settings.gateways;
        lines.extend(gateways.iter().map(|gateway| format!("  gateway   {gateway}")));
        let lost = self.drives().filter(|(.., state)| *state == "lost");
        let waits_for = |directory: &std::path::Path| {
            format!(
                "  waits for the drive {}: mount it again; an empty one in its place is filled by `cairn repair` at a gateway",
                directory.display()
            )
        };
        let lost: Vec<String> = lost.map(|(_, directory, _)| waits_for(directory)).collect();
        let waits = match (gateways.is_empty(), self.is_admitted()) {
            (true, _) => {
                vec!["  waits for a gateway: nobody may call it until it is started with --join".to_owned()]
            }
            (false, true) if !lost.is_empty() => Vec::new(),
            (false, true) => vec!["  waits for nothing".to_owned()],
            (false, false) => vec![
                "  waits for being admitted: the owner runs, with the gateway's --data,".to_owned(),
                String::new(),
                format!("    cairn node admit {}@{}", self.id, self.reached_at()),
                String::new(),
                "  or starts a new cluster's gateway with --join and what stands behind `admit`".to_owned(),
            ],
        };
        lines.extend(waits);
        lines.extend(lost);
        lines
    }

    fn reached_at(&self) -> SocketAddr {
        self.settings.reached_at().unwrap_or(self.settings.listen)
    }

    /// Whether the ledger knew it when it was last heard of.
    fn is_admitted(&self) -> bool {
        self.directory.has_ledger()
    }

    fn drives(&self) -> impl Iterator<Item = (DriveReport, &std::path::Path, &'static str)> {
        let reports = self.node.reports().into_iter();
        reports.zip(&self.settings.drives).map(|(report, directory)| {
            let state = match report.standing {
                DriveStanding::Present => "present",
                DriveStanding::Full => "full",
                DriveStanding::Lost => "lost",
            };
            (report, directory.as_path(), state)
        })
    }

    /// Waits a while until it has heard from the ledger, before which it serves no shards. Whether it has; one that no ledger knows need
    /// not.
    pub async fn serves(&self) -> bool {
        let began = Instant::now();
        while !self.directory.serves() && began.elapsed() < HEARD_WAIT {
            tokio::time::sleep(HEARD_LOOK).await;
        }
        self.directory.serves()
    }

    /// Tells those that call it that it goes, then closes its drives.
    pub async fn close(self) {
        // A gateway that is gone cannot be told.
        let _ = tokio::time::timeout(TELL_WAIT, self.quic.close()).await;
        // Ends with the listening; what it was answering ends with it.
        let _ = self.serving.await;
        self.control.abort();
        self.member.close().await;
        self.node.close().await;
        if let Err(error) = self.records.recorder().close().await {
            tracing::warn!(%error, "closing the activity log");
        }
    }

    /// Resolves with a sentence when the log of the ledger or of its records has failed: the process then ends.
    pub async fn fenced(&self) -> String {
        tokio::select! {
            () = self.member.fenced() => {
                "a flush of this peer's part of the ledger failed. Check the disk that holds member/, then start again".to_owned()
            }
            error = self.records.recorder().fenced() => {
                format!("{error}. Check the disk that holds activity/, then start again")
            }
        }
    }
}

/// Listens. Where a remembered port was taken meanwhile, the node of a parent process takes another: the parent reads which.
fn listen(
    key: &PeerKey,
    listen: SocketAddr,
    has_parent: bool,
    directory: Arc<Directory>,
) -> Result<Quic, NodeError> {
    let open = |listen| {
        let directory = Arc::clone(&directory);
        let addresses = Arc::new(move |peer: &PeerId| directory.address(peer));
        Quic::open(key, QuicConfig::new(listen), addresses)
    };
    let opened = match open(listen) {
        Err(QuicError::Listen { .. }) if has_parent && listen.port() != 0 => {
            tracing::warn!(%listen, "the port of a storage peer is taken, and it takes another");
            open(SocketAddr::new(listen.ip(), 0))
        }
        opened => opened,
    };
    opened.map_err(|error| NodeError::Listen {
        listen,
        why: match error {
            QuicError::Listen { source, .. } => source.to_string(),
            other => other.to_string(),
        },
    })
}

fn node_config(data: &DataDir, settings: &NodeSettings, directory: Arc<Directory>) -> NodeConfig {
    let own = data.drives();
    let drives = settings.drives.iter().map(|dir| DriveConfig {
        dir: dir.clone(),
        default: dir.starts_with(&own),
    });
    NodeConfig {
        drives: DrivesConfig {
            create: !settings.drives_made,
            id_seed: settings.id_seed,
            ..DrivesConfig::new(settings.cluster, drives.collect(), Arc::new(fresh_log_id))
        },
        directory,
        now_ms: Arc::new(now_ms),
    }
}

/// What this peer writes down of shard operations, signed with its key.
pub(crate) async fn open_records(
    disk: &Arc<dyn Disk>,
    data: &DataDir,
    key: &PeerKey,
    cluster: [u8; 16],
) -> Result<Arc<NodeRecords>, NodeError> {
    make_private_dir(&data.activity())?;
    let config = RecordsConfig {
        cluster,
        fresh_log_id: Arc::new(fresh_log_id),
        now_ms: Arc::new(now_ms),
    };
    Ok(NodeRecords::open(Arc::clone(disk), &data.activity(), key, config).await?)
}

/// This peer's part in the ledger.
async fn open_member(
    disk: Arc<dyn Disk>,
    data: &DataDir,
    peer: PeerId,
    transport: Arc<Quic>,
) -> Result<Arc<Member>, NodeError> {
    make_private_dir(&data.member())?;
    let config = MemberConfig {
        dir: data.member(),
        peer,
        transport,
        fresh_log_id: Arc::new(fresh_log_id),
        offload: Offload::default(),
        heartbeat: MemberConfig::HEARTBEAT,
        sizes: LedgerSizes::usual(),
    };
    Ok(Member::open(disk, config).await?)
}

/// How long a start waits for a word of the ledger.
const HEARD_WAIT: Duration = Duration::from_secs(10);
const HEARD_LOOK: Duration = Duration::from_millis(20);
/// How long gateways are told that this peer goes.
const TELL_WAIT: Duration = Duration::from_secs(1);
/// How long a node that was left behind may take to let go of its directory.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(10);
const PREDECESSOR_LOOK: Duration = Duration::from_millis(20);
