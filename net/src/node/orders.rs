//! Delegations and delete orders, as they come from a caller: nothing in them is believed but the signatures.
//!
//! Invariant: a vault has one owner, whom its id names (engine/FORMAT.md section 2), and only whom that owner named may order deletions in it.

use std::sync::Arc;

use scopes::{CollectorDelegation, DeleteOrder, Unverified};

use super::Node;
use super::records::Noted;
use crate::peer::{Answer, Refusal};

impl Node {
    /// Takes delete orders of a vault from the collector that its owner named.
    pub(super) fn delegate(&self, envelope: &[u8]) -> Result<Answer, Refusal> {
        let bad = |why: &dyn std::fmt::Display| {
            tracing::warn!(%why, "a collector's delegation does not hold");
            Refusal::BadOrder
        };
        let unverified = Unverified::<CollectorDelegation>::decode(envelope).map_err(|error| bad(&error))?;
        let signer = *unverified.claimed_signer();
        let delegation = unverified.verify(&signer).map_err(|error| bad(&error))?;
        if !delegation.statement().window.contains((self.now_ms)()) {
            return Err(bad(&"it is not in force now"));
        }
        // The vault's id says whose it is: nobody has to be believed.
        if !delegation.statement().is_of(&signer) {
            return Err(bad(&"the vault has another owner"));
        }
        match self.drives.trust_collector(&delegation) {
            true => Ok(Answer::Done),
            false => Err(bad(&"a later one is known")),
        }
    }

    /// Deletes what an order names, if the vault's collector signed it. On a task of its own: an order that was taken is carried out.
    pub(super) async fn delete(&self, envelope: &[u8], noted: Option<&mut Noted>) -> Result<Answer, Refusal> {
        let unverified = Unverified::<DeleteOrder>::decode(envelope).map_err(|_| Refusal::BadOrder)?;
        let signer = *unverified.claimed_signer();
        let order = unverified.verify(&signer).map_err(|_| Refusal::BadOrder)?;
        // The signer is the vault's collector, or nothing is deleted.
        self.drives
            .admit(&order, Some((self.now_ms)()))
            .map_err(|error| {
                // A collector that is not known yet is named next, and its order sent again.
                tracing::debug!(%error, "a delete order does not hold");
                Refusal::BadOrder
            })?;
        if let Some(noted) = noted {
            noted.concerns(order.statement().vault.0);
        }
        let drives = Arc::clone(&self.drives);
        let deleting = tokio::spawn(async move {
            let found = drives.deletable(order.statement()).await;
            drives.delete(&found).await
        });
        let deleted = deleting.await.map_err(|_| Refusal::Io)?;
        Ok(Answer::Deleted {
            shards: deleted.shards,
            refused: deleted.refused,
            failed: deleted.failed,
        })
    }
}
