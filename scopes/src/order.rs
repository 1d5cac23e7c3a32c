//! Delete orders: nodes delete shards only on the word of a collector that the vault's owner named.
//!
//! Two statements. The owner signs a [`CollectorDelegation`] of a collector's key; the collector signs a
//! [`DeleteOrder`] for each batch of packs. [`check_delete_order`] is the whole rule. Order numbers grow, so that a
//! node can refuse an order that it has seen; remembering the highest is the node's part, not this room's.

use serde::{Deserialize, Serialize};

use crate::canonical::{decimal, hex_exact};
use crate::credential::Window;
use crate::ids::{Salt, VaultId};
use crate::statement::{Signed, Statement, StatementError, Unverified};
use crate::wallet::PublicKey;

/// The most packs and stray shards together that one order may name.
pub const PACKS_PER_ORDER_MAX: usize = 4_096;

/// The owner's word that a key may order deletions in a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectorDelegation {
    /// The vault.
    pub vault: VaultId,
    /// What its id is made of, beside the owner's key.
    pub salt: Salt,
    /// The key that may order.
    pub collector: PublicKey,
    /// When it may.
    pub window: Window,
    /// Grows with every delegation of this vault; a later one replaces the earlier.
    #[serde(with = "decimal")]
    pub number: u64,
}

impl CollectorDelegation {
    /// Whether the vault is this key's: only its owner names who may order deletions.
    #[must_use]
    pub fn is_of(&self, owner: &PublicKey) -> bool {
        VaultId::derive(owner, &self.salt) == self.vault
    }
}

impl Statement for CollectorDelegation {
    const DOMAIN: &'static str = "cairn v1 collector delegation";
}

/// One copy of a shard on one drive, of a pack whose other shards stay: what is left where the shard was moved away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StrayCopy {
    /// Pack id.
    pub pack: [u8; 32],
    /// The shard's index.
    pub index: u8,
    /// Drive id.
    pub drive: [u8; 16],
    /// Where the copy lies on the drive, as the drive says. One that is put there later lies elsewhere, so that no order for this one reaches it.
    pub at: u64,
}

/// A [`StrayCopy`] as an order writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrayShard {
    /// Pack id as 64 hex digits.
    pub pack: String,
    /// The shard's index.
    pub index: u8,
    /// Drive id as 32 hex digits.
    pub drive: String,
    /// Where the copy lies on the drive.
    #[serde(with = "decimal")]
    pub at: u64,
}

impl StrayShard {
    /// The copy; none if its ids are malformed.
    #[must_use]
    pub fn copy(&self) -> Option<StrayCopy> {
        Some(StrayCopy {
            pack: hex_exact(&self.pack)?,
            index: self.index,
            drive: hex_exact(&self.drive)?,
            at: self.at,
        })
    }
}

/// A collector's order to delete packs, every shard of them, and stray shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteOrder {
    /// The vault whose packs they are; a node deletes no shard of another.
    pub vault: VaultId,
    /// The key that signs this order.
    pub collector: PublicKey,
    /// Pack ids as 64 hex digits, ascending, each once, with the stray shards at most [`PACKS_PER_ORDER_MAX`] and at least one.
    pub packs: Vec<String>,
    /// Stray shards, ascending, each once; left out when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<StrayShard>,
    /// Grows with every order of this collector.
    #[serde(with = "decimal")]
    pub number: u64,
}

impl DeleteOrder {
    /// An order for these pack ids, in any order.
    #[must_use]
    pub fn new(vault: VaultId, collector: PublicKey, mut packs: Vec<[u8; 32]>, number: u64) -> Self {
        packs.sort_unstable();
        packs.dedup();
        Self {
            vault,
            collector,
            packs: packs.iter().map(hex::encode).collect(),
            shards: Vec::new(),
            number,
        }
    }

    /// The same order with these stray shards as well, in any order.
    #[must_use]
    pub fn with_strays(self, strays: &[StrayCopy]) -> Self {
        let stray = |copy: &StrayCopy| StrayShard {
            pack: hex::encode(copy.pack),
            index: copy.index,
            drive: hex::encode(copy.drive),
            at: copy.at,
        };
        let mut shards: Vec<_> = strays.iter().map(stray).collect();
        shards.sort_unstable();
        shards.dedup();
        Self { shards, ..self }
    }

    /// The pack ids as bytes.
    pub fn pack_ids(&self) -> impl Iterator<Item = [u8; 32]> {
        self.packs.iter().filter_map(|text| hex_exact(text))
    }

    /// The stray shards.
    pub fn strays(&self) -> impl Iterator<Item = StrayCopy> {
        self.shards.iter().filter_map(StrayShard::copy)
    }
}

impl Statement for DeleteOrder {
    const DOMAIN: &'static str = "cairn v1 delete order";

    fn check(&self) -> Result<(), &'static str> {
        let ids_are_well_formed = self.packs.iter().all(|text| hex_exact::<32>(text).is_some());
        let ascending = self.packs.is_sorted_by(|a, b| a < b);
        let named = self.packs.len().saturating_add(self.shards.len());
        let count_fits = (1..=PACKS_PER_ORDER_MAX).contains(&named);
        if !(ids_are_well_formed && ascending && count_fits) {
            return Err("packs");
        }
        let strays_are_well_formed = self.shards.iter().all(|stray| stray.copy().is_some());
        if strays_are_well_formed && self.shards.is_sorted_by(|a, b| a < b) {
            Ok(())
        } else {
            Err("shards")
        }
    }
}

/// Why a node refuses a delete order.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OrderRefused {
    /// Its form or signature.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Delegation and order are of different vaults, or the order names another collector than the one that signed.
    #[error("the order does not belong to its delegation")]
    NotDelegated,
    /// The delegation is not in force now.
    #[error("the delegation is not in force at {now_ms} ms")]
    OutsideWindow {
        /// When it was asked.
        now_ms: u64,
    },
}

/// Checks an order against the owner's delegation (which the caller verified with the owner's key), at `now_ms`.
///
/// # Errors
/// [`OrderRefused`]; the order's content is not available then.
pub fn check_delete_order(
    delegation: &Signed<CollectorDelegation>,
    order: &Unverified<DeleteOrder>,
    now_ms: u64,
) -> Result<Signed<DeleteOrder>, OrderRefused> {
    let delegated = delegation.statement();
    if !delegated.window.contains(now_ms) {
        return Err(OrderRefused::OutsideWindow { now_ms });
    }
    let order = order.verify(&delegated.collector)?;
    let ordered = order.statement();
    if ordered.vault != delegated.vault || ordered.collector != delegated.collector {
        return Err(OrderRefused::NotDelegated);
    }
    Ok(order)
}
