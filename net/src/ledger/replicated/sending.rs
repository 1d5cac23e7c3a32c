//! Whole copies on their way to those that asked for them.
//!
//! Invariant: at most a few at a time, and one that nobody asks for any more ends by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::LocalLedger;
use super::super::transfer::Outgoing;
use super::super::wire::{LedgerRefusal, LedgerReply, Page};

/// Transfers at one time.
const TRANSFERS_MAX: usize = 8;
/// One that was not asked for a page for so long is over.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

struct Transfer {
    outgoing: Outgoing,
    next: u32,
}

#[derive(Default)]
struct Transfers {
    last: u64,
    open: BTreeMap<u64, (Arc<Mutex<Transfer>>, Instant)>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Sending(Mutex<Transfers>);

impl Sending {
    pub(super) async fn open(&self, ledger: LocalLedger) -> Result<LedgerReply, LedgerRefusal> {
        let mut transfers = self.0.lock().await;
        transfers
            .open
            .retain(|_, (_, asked)| asked.elapsed() < FORGOTTEN_AFTER);
        if transfers.open.len() >= TRANSFERS_MAX {
            return Err(LedgerRefusal::Busy);
        }
        let outgoing = Outgoing::begin(ledger).await.map_err(|_| LedgerRefusal::Failed)?;
        transfers.last += 1;
        let number = transfers.last;
        let transfer = Arc::new(Mutex::new(Transfer { outgoing, next: 0 }));
        transfers.open.insert(number, (transfer, Instant::now()));
        Ok(LedgerReply::Transfer(number))
    }

    pub(super) async fn page(&self, transfer: u64, page: u32) -> Result<LedgerReply, LedgerRefusal> {
        let open = {
            let mut transfers = self.0.lock().await;
            let open = transfers.open.get_mut(&transfer);
            let (open, asked) = open.ok_or(LedgerRefusal::NoTransfer)?;
            *asked = Instant::now();
            Arc::clone(open)
        };
        let mut sent = open.lock().await;
        if sent.next != page {
            return Err(LedgerRefusal::NoTransfer);
        }
        sent.next += 1;
        let frames = sent.outgoing.page().await.map_err(|_| LedgerRefusal::Failed)?;
        if frames.is_empty() {
            self.0.lock().await.open.remove(&transfer);
        }
        Ok(LedgerReply::Page(Page(frames)))
    }
}
