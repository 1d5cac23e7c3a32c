//! Why a runtime does not open, or does not do what it was asked.
//!
//! Invariant: each says what to do next, as far as there is something.

use engine::view::ViewError;
use net::LedgerError;
use net::cluster::ClusterOpenError;
use net::ledger::LedgerOpenError;
use net::peer::PeerId;
use s3_gateway::session::{RecorderError, SessionError};
use scopes::{StatementError, VaultId};

use super::RootKeyError;
use crate::config::ConfigError;
use crate::data_dir::DataDirError;
use crate::key_store::KeyStoreError;
use crate::layout::LayoutError;

/// Why a data directory does not open.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The machine cannot run the erasure code.
    #[error(transparent)]
    Cpu(#[from] engine::erasure::CpuTooOld),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// The layout cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The configuration does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The ledger does not open.
    #[error("ledger: {0}")]
    LedgerOpen(#[from] LedgerOpenError),
    /// The ledger does not answer.
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The drives do not open.
    #[error("drives: {0}")]
    Drives(#[from] ClusterOpenError),
    /// The ledger is older than the drives: an old copy of it, or an empty one, was put in place.
    #[error(
        "the drives know lease {drives} and the ledger only {newest}: it is an older copy, and starting from it would lose what was written since. Put the newest ledger back, or set it aside and run `cairn vault rebuild`"
    )]
    LedgerBehind {
        /// The highest lease on the drives.
        drives: u64,
        /// The newest lease of the ledger.
        newest: u64,
    },
    /// So few storage peers answer that an old copy of the ledger could not be told from the newest.
    #[error(
        "the storage peers of {here} of {drives} drives answer: too few to tell whether the ledger is the newest. Start the others first; the log says why they do not"
    )]
    TooFewPeers {
        /// Drives whose peers answer.
        here: usize,
        /// Drives of the layout.
        drives: usize,
    },
    /// The activity log does not open.
    #[error("activity log: {0}")]
    Activity(#[from] RecorderError),
    /// A view does not open, also after it was made anew.
    #[error("view: {0}")]
    View(#[from] ViewError),
    /// A vault has no root key in force.
    #[error("root key: {0}")]
    RootKey(#[from] RootKeyError),
    /// A vault does not open.
    #[error("vault {vault}: {source}")]
    Vault {
        /// The vault.
        vault: VaultId,
        /// Why.
        source: SessionError,
    },
    /// The collector's delegation cannot be signed.
    #[error("the collector of a vault cannot be named: {0}")]
    Delegation(#[from] StatementError),
    /// A storage peer that has to start does not.
    #[error("the storage peer {dir} does not start: {why}")]
    Peer {
        /// Its data directory.
        dir: String,
        /// Why.
        why: String,
    },
    /// The storage peers have no ledger that answers.
    #[error("the storage peers have no ledger that answers: {0}")]
    LedgerPeers(String),
    /// No leader answers.
    #[error(
        "the ledger of the storage peers does not answer ({why}): more than half of its members have to run. {peers}. If this gateway was removed, or a ledger was made anew since it ran last, it is let in again by `cairn node admit --gateway {own}` where one serves, with its ledger/ moved aside. If the ledger is lost for good, `cairn vault rebuild` makes it anew from the drives; where storage peers run on other machines, see docs/operating.md, Losing the ledger, first"
    )]
    LedgerAway {
        /// What was tried last.
        why: String,
        /// Which storage peers do not answer, and why.
        peers: String,
        /// This gateway.
        own: PeerId,
    },
    /// A storage peer that is named does not describe itself.
    #[error(
        "{peer} at {address}: {why}. It runs with `cairn node --join`, and the invitation of this gateway, which `cairn status` prints; a second gateway is let in by `cairn node admit --gateway {own}` where one serves"
    )]
    PeerAway {
        /// The peer.
        peer: PeerId,
        /// This gateway.
        own: PeerId,
        /// Where it was called.
        address: String,
        /// Why.
        why: String,
    },
    /// Two storage peers with one drive.
    #[error(
        "two of the storage peers have the same drive: one of them is a copy of the other, and cannot be a peer beside it"
    )]
    DrivesTwice,
    /// A gateway that comes to a cluster without the keys of its vaults.
    #[error(
        "{dir} has no keys: copy keys/ of the gateway that serves this cluster there first, for new ones would make another vault"
    )]
    KeysOfOthers {
        /// Where they belong.
        dir: String,
    },
    /// The rebuilt ledger is not where it was to be brought.
    #[error(
        "the ledger was rebuilt and is not at {peer} yet: bring {place} to that machine, all of it and as it was made last, stop the storage peer there, run `cairn node reset-ledger --take DIR` and start it again"
    )]
    NotCarried {
        /// The storage peer.
        peer: PeerId,
        /// Where it lies.
        place: String,
    },
    /// A copy of one ledger, and storage peers with another.
    #[error(
        "these storage peers keep another ledger than this gateway's copy in ledger/: {peers}. If theirs is the one in use (another gateway made it anew, or member/ was put back), move ledger/ aside and start again; if they came back with one that was given up, `cairn node reset-ledger` there (docs/operating.md, Losing the ledger)"
    )]
    OtherLedger {
        /// Their ids.
        peers: String,
    },
    /// Storage peers that were not told to give up the old ledger.
    #[error(
        "these storage peers keep the old ledger still: {peers}. Stop each, run `cairn node reset-ledger` there and start it again, or what lies there would be missing"
    )]
    KeepsOldLedger {
        /// Their ids.
        peers: String,
    },
    /// Storage peers that do not answer a rebuild.
    #[error(
        "these storage peers do not answer: {peers}. What only they have would be missing, and be deleted when they come back: start them, or name each that is lost for good with --without"
    )]
    PeersAway {
        /// Their ids.
        peers: String,
    },
    /// Drives that are not there for a rebuild.
    #[error(
        "these drives are not there: {drives}. What only they have would be missing, and be deleted when they come back: bring them back, or name each that is lost for good with --without NUMBER"
    )]
    DrivesAway {
        /// Their numbers and directories.
        drives: String,
    },
    /// A rebuild that found nobody to give the ledger to.
    #[error("no storage peer answers that could take the rebuilt ledger; start them first")]
    NobodyTakes,
    /// The storage peers cannot hold a pack.
    #[error(
        "packs of {code} cannot lie on these storage peers: as many drives as a pack has shards are needed, and no failure domain counts for more than may be lost. Name more peers with --join, or a smaller --code"
    )]
    FewPlaces {
        /// The code.
        code: String,
    },
    /// There is no port from which storage peers can be called.
    #[error("no way to the storage peers: {0}")]
    PeerPort(String),
    /// A rebuild over a ledger that can be read.
    #[error("{dir} has a ledger that can be read: nothing was rebuilt. With --force it is set aside")]
    LedgerReadable {
        /// The data directory.
        dir: String,
    },
    /// A rebuild without drives.
    #[error("no drive was found for {dir}: name each with --drive, in their old order")]
    NoDrives {
        /// The data directory.
        dir: String,
    },
    /// The S3 gateway does not start.
    #[error("S3 port: {0}")]
    Gateway(String),
}
