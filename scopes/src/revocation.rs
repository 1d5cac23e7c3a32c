//! Revocations: the word of a vault's owner, or of whoever issued a grant, that the grant counts no more.
//!
//! A revocation is no version of the grant. It has a place of its own, written once, so that nobody can take its place, no version comes after it,
//! and whoever passes it on says nothing else by it. Whether its signer issued the grant, the registry looks up; that it is
//! the owner, the vault's id proves.
//!
//! Invariant: a revocation that was signed or verified was signed by the key that it names, and one that names a salt by the vault's owner.
//!
//! Source: engine/FORMAT.md section 11.

use serde::{Deserialize, Serialize};

use crate::grant::Grant;
use crate::ids::{ClusterId, GrantId, Salt, VaultId};
use crate::moment::Moment;
use crate::statement::{Signed, Statement, StatementError, Unverified};
use crate::wallet::PublicKey;

/// The longest revocation, signature included, in bytes.
pub const REVOCATION_BYTES_MAX: usize = 1_024;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The cluster that it is for.
    pub cluster_id: ClusterId,
    /// The grant's vault.
    pub vault_id: VaultId,
    /// What went into the vault's id beside the owner's key, if the owner signs; none if the grant's issuer does.
    pub vault_salt: Option<Salt>,
    /// Which grant.
    pub grant_id: GrantId,
    /// When it was taken back. It counts at once, whatever this says.
    pub revoked_at: Moment,
    /// Who signs.
    pub signer_pub_key: PublicKey,
}

impl Revocation {
    /// The revocation of a grant that this key signs: as the owner where it is the owner's, else as the issuer.
    #[must_use]
    pub fn of(grant: &Grant, signer: &PublicKey, now_ms: u64) -> Self {
        Self {
            cluster_id: grant.cluster_id,
            vault_id: grant.vault_id,
            vault_salt: (*signer == grant.user_pub_key).then_some(grant.vault_salt),
            grant_id: grant.grant_id,
            revoked_at: Moment::from_ms(now_ms),
            signer_pub_key: *signer,
        }
    }

    /// Whether the vault's owner signs, as the salt proves.
    #[must_use]
    pub fn is_by_owner(&self) -> bool {
        let owned = |salt| VaultId::derive(&self.signer_pub_key, &salt) == self.vault_id;
        self.vault_salt.is_some_and(owned)
    }
}

impl Statement for Revocation {
    const DOMAIN: &'static str = "cairn v1 revocation";
    const FLAT: bool = true;
    const BYTES_MAX: usize = REVOCATION_BYTES_MAX;

    fn check(&self) -> Result<(), &'static str> {
        match self.vault_salt.is_none() || self.is_by_owner() {
            true => Ok(()),
            false => Err("vault_salt"),
        }
    }

    fn is_foreign(&self, signer: &PublicKey) -> bool {
        *signer != self.signer_pub_key
    }
}

/// Reads a revocation and checks it by the key that it names. That the key may take this grant back is known of the owner's; of
/// an issuer's the registry knows it.
///
/// # Errors
/// [`StatementError`]; the content is not available then.
pub fn verify(envelope: &[u8]) -> Result<Signed<Revocation>, StatementError> {
    Unverified::<Revocation>::decode(envelope)?.verify_as_claimed()
}
