//! Keys of epochs: how a scope's key is renewed by its owner alone, without a new version of any grant.
//!
//! Each epoch of a scope has a key. Renewing it makes statements of two kinds, both signed by the vault's owner and kept in entries apart from the
//! grants: one for the epoch, in which its key seals the key of the one before, and one for each live grant, in which the new key is
//! sealed to the grant's agent, whoever issued that grant. So an agent holds the newest key alone and reaches the older ones by it, and one
//! whose grant ended or was taken back never gets the next. Sealing and opening are the vault room's; here are the form, who signs, and which
//! statements make a way from one epoch to another.
//!
//! Invariant: a statement that was signed or verified is the word of the vault's owner about this scope and epoch.
//!
//! Source: engine/FORMAT.md section 11.

use serde::{Deserialize, Serialize};

use crate::canonical::decimal;
use crate::grant::Wrapped;
use crate::ids::{ClusterId, GrantId, Salt, ScopeId, VaultId, first_16};
use crate::moment::Moment;
use crate::statement::{Signed, Statement, StatementError, Unverified};
use crate::wallet::PublicKey;

/// The longest sealed key, in bytes: a key of 32, what it takes to seal it to another's key, and room for another way of sealing.
pub const SEALED_KEY_BYTES_MAX: usize = 512;

/// The longest statement, signature included, in bytes.
pub const EPOCH_KEY_BYTES_MAX: usize = 2_048;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochKey {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The vault.
    pub vault_id: VaultId,
    /// What went into its id beside the owner's key.
    pub vault_salt: Salt,
    /// Its owner, who signs.
    pub user_pub_key: PublicKey,
    /// The scope.
    pub scope_id: ScopeId,
    /// The epoch, from 1.
    #[serde(with = "decimal")]
    pub epoch: u64,
    /// Whose agent the epoch's key is sealed to; none for the key of the epoch before, sealed under the epoch's.
    pub grant_id: Option<GrantId>,
    /// When it was made.
    pub created_at: Moment,
    /// The sealed key.
    pub wrapped: Wrapped,
}

impl Statement for EpochKey {
    const DOMAIN: &'static str = "cairn v1 epoch key";
    const FLAT: bool = true;
    const BYTES_MAX: usize = EPOCH_KEY_BYTES_MAX;

    fn check(&self) -> Result<(), &'static str> {
        // Before the first epoch there is none to seal.
        let epoch_min = if self.grant_id.is_some() { 1 } else { 2 };
        let own = ScopeId::vault_wide(self.vault_id);
        let rules = [
            (
                "vault_id",
                self.vault_id == VaultId::derive(&self.user_pub_key, &self.vault_salt),
            ),
            ("scope_id", self.scope_id != own),
            ("epoch", self.epoch >= epoch_min),
            (
                "wrapped",
                self.wrapped.is_acceptable() && self.wrapped.sealed.len() <= SEALED_KEY_BYTES_MAX,
            ),
        ];
        match rules.iter().find(|(_, holds)| !holds) {
            Some((member, _)) => Err(member),
            None => Ok(()),
        }
    }

    fn is_foreign(&self, signer: &PublicKey) -> bool {
        *signer != self.user_pub_key
    }
}

/// Reads a statement and checks it by the owner that it names and proves.
///
/// # Errors
/// [`StatementError`]; the content is not available then.
pub fn verify(envelope: &[u8]) -> Result<Signed<EpochKey>, StatementError> {
    Unverified::<EpochKey>::decode(envelope)?.verify_as_claimed()
}

/// Where it is kept: the first 16 bytes of `derive_key("cairn v1 epoch key slot", scope id ‖ 00 ‖ epoch)`, written once; or of `scope id ‖ 01 ‖
/// grant id`, in which the key of the next epoch takes the place of the one before.
#[must_use]
pub fn epoch_key_slot(scope: ScopeId, epoch: u64, grant: Option<GrantId>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("cairn v1 epoch key slot");
    hasher.update(&scope.0);
    match grant {
        None => hasher.update(&[0]).update(&epoch.to_le_bytes()),
        Some(grant) => hasher.update(&[1]).update(&grant.0),
    };
    first_16(&hasher)
}

/// That the statements are no way from the epoch of a grant's key to the one wanted.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("no key of epoch {epoch} of the scope")]
pub struct NoWay {
    /// The first epoch whose statement is missing, or another's.
    pub epoch: u64,
}

/// Checks that a grant's key and what is under it lead to `wanted`: the same cluster, vault and scope throughout, and of each epoch above it
/// the one before. `under` holds the statements in falling order of epochs.
///
/// # Errors
/// [`NoWay`] with the first epoch that is missing.
pub fn leads_to(
    key: &Signed<EpochKey>,
    grant: GrantId,
    under: &[Signed<EpochKey>],
    wanted: u64,
) -> Result<(), NoWay> {
    let top = key.statement();
    let missing = |epoch| NoWay { epoch };
    if top.grant_id != Some(grant) || wanted < 1 || wanted > top.epoch {
        return Err(missing(wanted));
    }
    let mut epoch = top.epoch;
    for signed in under {
        if epoch == wanted {
            break;
        }
        let link = signed.statement();
        let same = (
            link.cluster_id,
            link.vault_id,
            link.scope_id,
            link.epoch,
            link.grant_id,
        ) == (top.cluster_id, top.vault_id, top.scope_id, epoch, None);
        if !same {
            return Err(missing(epoch));
        }
        epoch = epoch.saturating_sub(1);
    }
    match epoch == wanted {
        true => Ok(()),
        false => Err(missing(epoch)),
    }
}
