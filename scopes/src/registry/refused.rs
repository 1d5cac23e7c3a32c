//! Why the registry does not take what comes. It decides nothing.
//!
//! Invariant: every bound says its number.

use super::room::GRANTS_MAX;
use crate::grant::Limit;
use crate::ids::{ClusterId, GrantId, VaultId};

/// Why a grant is not taken.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// It is for another cluster.
    #[error("the grant is for cluster {cluster}")]
    OtherCluster {
        /// Which.
        cluster: ClusterId,
    },
    /// A version that is as high or higher is there; the ledger's compare-and-swap refuses it before.
    #[error("version {version} of the grant, of which version {newest} is there")]
    NotNewer {
        /// The version that came.
        version: u64,
        /// The one that is there.
        newest: u64,
    },
    /// The grant was revoked: nothing follows that.
    #[error("the grant was revoked")]
    Revoked,
    /// A revocation of a grant that is not known.
    #[error("the grant {grant} is not known")]
    UnknownGrant {
        /// Which.
        grant: GrantId,
    },
    /// A revocation by a key that is neither the vault's owner nor the grant's issuer.
    #[error("the grant {grant} is another's to revoke")]
    NotTheirs {
        /// Which.
        grant: GrantId,
    },
    /// Its parent, or that version of it, is not known.
    #[error("the parent {grant} is not known in version {version}")]
    UnknownParent {
        /// The parent.
        grant: GrantId,
        /// The version asked for.
        version: u64,
    },
    /// A grant that it stands on was revoked.
    #[error("the grant {grant} that it stands on is revoked")]
    ParentRevoked {
        /// Which.
        grant: GrantId,
    },
    /// A grant that it stands on has two contents of one version.
    #[error("the grant {grant} that it stands on has two contents of one version")]
    ParentForked {
        /// Which.
        grant: GrantId,
    },
    /// It gives more than its parent's newest version, or an ancestor more than the one above it.
    #[error("the grant gives more than its parent: {limit}")]
    Wider {
        /// In what.
        limit: Limit,
    },
    /// The ledger does not know its vault.
    #[error("the vault {vault} is not known")]
    UnknownVault {
        /// Which.
        vault: VaultId,
    },
    /// The vault has no room for another grant, or none for another that was handed on.
    #[error("the vault {vault} has {grants_max} such grants and takes no more")]
    VaultFull {
        /// Which.
        vault: VaultId,
        /// How many it may have.
        grants_max: usize,
    },
    /// As much was handed on under the parent as may be.
    #[error("{grants_max} grants are handed on under {parent}, and no more may be")]
    ParentFull {
        /// Which.
        parent: GrantId,
        /// How many it may have.
        grants_max: usize,
    },
    /// A grant that is to be removed, and some version of it may not have ended yet.
    #[error("the grant's versions end by {ends_by_ms} ms, and it is {by_ms} ms: it stays a day longer")]
    NotEnded {
        /// Their end, in milliseconds since 1970, UTC.
        ends_by_ms: u64,
        /// The time named.
        by_ms: u64,
    },
    /// More signatures would have to be checked than the caller allows.
    #[error("{signatures} signatures to check, and {signatures_max} are allowed")]
    Work {
        /// How many.
        signatures: usize,
        /// How many are left.
        signatures_max: usize,
    },
    /// There is no room.
    #[error("the registry has {GRANTS_MAX} grants and takes no more")]
    Full,
}
