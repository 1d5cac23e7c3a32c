//! How big the logs of a member, or of a copy that follows the members, get.
//!
//! It opens nothing. Whoever runs a ledger takes the usual sizes; a simulation takes small ones, so that in a short run segments end, entries
//! are let go and copies are sent whole.

use engine::log::LogConfig;

use super::LedgerConfig;
use crate::offload::Offload;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct LedgerSizes {
    /// Segments of the copy's log.
    pub slots: LogConfig,
    /// Segments of the log of what the members agree on.
    pub agreement: LogConfig,
    /// A copy with more segments than this is compacted.
    pub segments_min: usize,
    /// Bytes set aside in each of the two for a full disk.
    pub reserve_bytes: u64,
    /// What was agreed on is kept for members that lag, up to so many bytes ...
    pub kept_bytes: u64,
    /// ... and so many entries.
    pub kept_entries: u64,
}

impl LedgerSizes {
    /// The usual ones: 16 MiB segments and as much in reserve, 192 MiB or 200,000 entries for those that lag.
    pub fn usual() -> Self {
        let ledger = LedgerConfig::new(0);
        Self {
            slots: ledger.log,
            agreement: LogConfig::agreement(),
            segments_min: ledger.segments_min,
            reserve_bytes: ledger.reserve_bytes,
            kept_bytes: 192 << 20,
            kept_entries: 200_000,
        }
    }

    /// What a copy is opened with.
    pub(super) fn of_copy(&self, fresh_log_id: u64, offload: Offload) -> LedgerConfig {
        LedgerConfig {
            log: self.slots,
            segments_min: self.segments_min,
            reserve_bytes: self.reserve_bytes,
            offload,
            ..LedgerConfig::new(fresh_log_id)
        }
    }
}
