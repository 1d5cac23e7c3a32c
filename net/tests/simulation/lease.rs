//! A gateway's lease: the next number, and an end to those that the gateway held before.

use std::sync::Arc;
use std::time::Duration;

use engine::slots::{
    Append, EntryKind, Expectation, LEASE_SCOPE, LeaseEntry, LeaseState, Outcome, Write, lease_address,
    lease_number,
};
use net::{Ledger, LedgerError};

use crate::world::{MORNING_MS, World};

/// The leases that a ledger knows.
pub async fn all(ledger: &dyn Ledger) -> Result<Vec<(u64, LeaseEntry)>, LedgerError> {
    ledger.read_index().await?;
    let mut snapshot = ledger.snapshot().await?;
    let mut leases = Vec::new();
    loop {
        let page = snapshot.next_of(EntryKind::Lease, 64).await?;
        if page.is_empty() {
            return Ok(leases);
        }
        for entry in page {
            if let (Some(number), Ok(lease)) =
                (lease_number(&entry.address), LeaseEntry::decode(&entry.value))
            {
                leases.push((number, lease));
            }
        }
    }
}

/// Takes a lease; none if the gateway dies first.
pub async fn take(world: &Arc<World>, gateway: usize, life: u64, ledger: &dyn Ledger) -> Option<u64> {
    let holder = format!("gateway {gateway}");
    while world.gateway_life(gateway) == life {
        if world.agreed.grants_leases {
            match ledger.take_lease(&holder, MORNING_MS).await {
                Ok(lease) => return Some(lease),
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            }
        }
        let Ok(leases) = all(ledger).await else { continue };
        let lease = leases.iter().map(|(number, _)| *number).max().unwrap_or(0) + 1;
        let write = |number, state| Write {
            address: lease_address(number),
            value: Some(
                LeaseEntry {
                    state,
                    holder: holder.clone(),
                    granted_ms: 0,
                    progress: None,
                }
                .encode()
                .into(),
            ),
        };
        let is_old =
            |(_, entry): &&(u64, LeaseEntry)| entry.holder == holder && entry.state == LeaseState::Live;
        let old = leases.iter().filter(is_old);
        let mut writes = vec![write(lease, LeaseState::Live)];
        writes.extend(old.map(|(number, _)| write(*number, LeaseState::Ended)));
        let mut operation = [1; 16];
        operation[..8].copy_from_slice(&world.number().to_le_bytes());
        let append = Append {
            operation,
            lease,
            vault: LEASE_SCOPE,
            expectations: vec![Expectation::Absent(lease_address(lease))],
            writes,
            record: None,
        };
        if let Ok(Outcome::Applied { .. }) = ledger.append(append).await {
            return Some(lease);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    None
}
