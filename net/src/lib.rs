//! Peers: the ledger and the cluster client over drives.
//!
//! [`Ledger`] is the door to the small facts (names by slot, packs, leases), [`Cluster`] the door to the bytes, which lie on
//! drives of this machine or of peers. [`peer`] is how peers talk. The ledger is a log of this
//! machine, or the peers' together.
//!
//! Nothing here holds a vault's key: a pack is sealed before it comes in and stays so. Invariant: what was acknowledged
//! is durable, and after a failed flush nothing more is acknowledged by that log.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "unit tests run on real threads and clocks"
    )
)]

mod capacity;
pub mod cluster;
mod drives;
mod entry;
mod latency;
pub mod ledger;
pub mod membership;
pub mod node;
mod offload;
pub mod peer;
mod queue;
pub mod recorder;
mod reserve;

pub use cluster::{Cluster, ClusterConfig, LaneRange, PutError, ReadError, StoredPack, VerifiedRange};
pub use drives::{DriveConfig, DrivesConfig, DrivesOpenError, FreshLogId};
pub use engine::slots::AppliedAppend;
pub use entry::{DriveId, PackEntry};
pub use ledger::{Ledger, LedgerError, LocalLedger, Snapshot, Tail};
pub use node::{Directory, Node, NodeConfig, NodeLedger};
pub use offload::{Offload, WorkTakes};
pub use recorder::{OpenedLog, PreparedRecord, Recorder, RecorderError};
pub use reserve::Reserve;
