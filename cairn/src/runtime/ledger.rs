//! The ledger of a running process: its own, or that of the storage peers, which it follows.
//!
//! Everything that reads and writes sees [`Ledger`]; what is different (opening, closing, compacting) is here. Invariant: which of the
//! two it is follows from the layout alone: a ledger lies with the storage peers if the shards do.

use std::sync::Arc;
use std::time::Duration;

use net::ledger::FollowedLedger;
use net::peer::PeerId;
use net::{Ledger, LedgerError, LocalLedger};

/// A leader that has not answered for so long is missed: requests wait that long before they are refused.
const AWAY_AFTER: Duration = Duration::from_secs(5);

/// See the module. Clones are the same ledger.
#[derive(Clone)]
pub enum OpenLedger {
    /// A log of this machine.
    Local(LocalLedger),
    /// The storage peers', with a copy here.
    Followed(FollowedLedger),
}

impl OpenLedger {
    /// As everything that reads and writes sees it.
    pub fn shared(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Local(ledger) => Arc::new(ledger.clone()),
            Self::Followed(ledger) => Arc::new(ledger.clone()),
        }
    }

    /// Compacts until nothing more can be let go.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn compact(&self) -> Result<(), LedgerError> {
        match self {
            Self::Local(ledger) => ledger.compact().await,
            Self::Followed(ledger) => ledger.compact().await,
        }
    }

    /// Figures.
    pub fn status(&self) -> net::ledger::LedgerStatus {
        match self {
            Self::Local(ledger) => ledger.status(),
            Self::Followed(ledger) => ledger.status(),
        }
    }

    /// Why nothing can be asked of it now, if so: what was agreed on before is still there.
    pub fn why_away(&self) -> Option<&'static str> {
        match self {
            Self::Local(_) => None,
            // None at all: the process has just begun to ask.
            Self::Followed(ledger) => ledger
                .silent_for()
                .filter(|silent| *silent > AWAY_AFTER)
                .map(|_| "more than half of the ledger's members do not answer"),
        }
    }

    /// Storage peers that were found to keep another ledger.
    pub fn peers_of_another(&self) -> Vec<PeerId> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Followed(ledger) => ledger.of_another(),
        }
    }

    /// Storage peers that have no copy of it, members that lost theirs among them.
    pub fn peers_without_copy(&self) -> Vec<PeerId> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Followed(ledger) => ledger.without_copy(),
        }
    }

    /// Closes it cleanly.
    pub async fn close(&self) {
        match self {
            Self::Local(ledger) => ledger.close().await,
            Self::Followed(ledger) => ledger.close().await,
        }
    }
}
