//! What one gateway of a cluster does beside serving: it ends leases, collects what nothing names any more, gives space back and repairs.
//!
//! A pack on the drives is dead once no entry names it and its lease has ended, or its entry is known to have gone for good. The drives are
//! asked first and the ledger after that, so that a pack that is named meanwhile is not taken for dead.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use engine::pack::PackId;
use engine::slots::{EntryKind, LeaseState};
use net::cluster::{ListedPack, RepairOptions, ReplaceOptions, packs_of};
use net::ledger::local::pack_address;
use scopes::{CollectorDelegation, DeleteOrder, Salt, Signed, VaultId, Wallet};

use crate::gateway::Gateway;
use crate::lease;
use crate::world::{SCOPE, VAULT, owner, window};

/// Goes on until the gateway dies or the run is over.
pub async fn keep(gateway: Arc<Gateway>) {
    let world = Arc::clone(&gateway.world);
    let mut collector = Collector::new(&gateway);
    let options = ReplaceOptions {
        lost_after: Duration::from_secs(20),
        ..ReplaceOptions::default()
    };
    gateway.cluster.start_replacing(
        Arc::clone(&gateway.ledger),
        gateway.lease,
        options,
        Arc::new(|| true),
    );
    let mut round = 0;
    while !world.trace.is_over() {
        tokio::time::sleep(world.random.ms(1_500, 5_000)).await;
        let lowest = gateway.ledger.status().lowest_lease;
        gateway.cluster.end_leases_below(lowest).await;
        collector.collect(&gateway).await;
        if round % 3 == 1 {
            gateway.cluster.compact(0.3, 1 << 20).await;
        }
        if round % 4 == 3 {
            repair(&gateway).await;
        }
        round += 1;
    }
}

/// Brings back what can be brought back; whether everything is there.
pub async fn repair(gateway: &Gateway) -> bool {
    let packs = || packs_of(&*gateway.ledger);
    let options = RepairOptions {
        recreate: true,
        deep: true,
        ..RepairOptions::default()
    };
    let repaired = gateway.cluster.repair(&packs, &options, &mut |_| {}).await;
    let numbers = match &repaired {
        Ok(report) => [
            report.shards_rebuilt,
            report.still_missing,
            report.lost.len() as u64,
        ],
        Err(_) => [u64::MAX; 3],
    };
    gateway.world.trace.step("repair", &numbers);
    repaired.is_ok_and(|report| report.is_complete())
}

pub struct Collector {
    wallet: Wallet,
    orders: u64,
}

impl Collector {
    pub fn new(gateway: &Gateway) -> Self {
        let mut seed = [50; 32];
        seed[..8].copy_from_slice(&gateway.lease.to_le_bytes());
        let wallet = Wallet::from_seed(&seed);
        let delegation = CollectorDelegation {
            vault: VaultId(VAULT),
            salt: Salt([0; 16]),
            collector: wallet.public_key(),
            window: window(),
            number: gateway.lease,
        };
        if let Ok(delegation) = Signed::sign(delegation, &owner()) {
            gateway.cluster.trust_collector(&delegation);
        }
        Self { wallet, orders: 0 }
    }

    /// Deletes what is dead.
    pub async fn collect(&mut self, gateway: &Gateway) {
        let mut listed: Vec<ListedPack> = Vec::new();
        let mut after = None;
        loop {
            let page = gateway.cluster.listed_packs(VAULT, after, 64).await;
            listed.extend(page.packs);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // It brings the copy up to what everybody was answered for, which the snapshot rests on as well.
        let Ok(leases) = lease::all(&*gateway.ledger).await else {
            return;
        };
        let Ok(snapshot) = gateway.ledger.snapshot().await else {
            return;
        };
        let is_pack = |address: &engine::slots::Address| address.kind == EntryKind::Pack;
        let named: BTreeSet<_> = snapshot.addresses().filter(is_pack).collect();
        let is_live = |lease: u64| {
            let known = leases.iter().find(|(number, _)| *number == lease);
            // One that nobody knows yet is about to be taken.
            known.is_none_or(|(_, entry)| entry.state == LeaseState::Live)
        };
        let buried = gateway
            .dead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let is_dead = |pack: &&ListedPack| {
            let is_named = named.contains(&pack_address(SCOPE, &pack.id));
            !is_named && (buried.contains(&pack.id) || !is_live(pack.lease))
        };
        let dead: Vec<PackId> = listed.iter().filter(is_dead).map(|pack| pack.id).collect();
        if dead.is_empty() {
            return;
        }
        self.orders += 1;
        let ids = dead.iter().map(|pack| pack.0).collect();
        let order = DeleteOrder::new(VaultId(VAULT), self.wallet.public_key(), ids, self.orders);
        let Ok(order) = Signed::sign(order, &self.wallet) else {
            return;
        };
        let deleted = gateway.cluster.delete_packs(&order).await.unwrap_or_default();
        gateway
            .world
            .trace
            .step("collect", &[dead.len() as u64, deleted.shards, deleted.failed]);
    }
}
