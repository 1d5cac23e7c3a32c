//! Vault and scope ids: what they are made of and their one text form.
//!
//! Ids name things and authorise nothing. The text form is strict (lower-case hex only), so an id has one spelling in
//! records, statements and on the command line. Source: engine/FORMAT.md section 2.

use std::fmt;
use std::str::FromStr;

use crate::canonical::{hex_exact, serde_as_text};
use crate::wallet::PublicKey;

/// The id of a vault, `v-` and 32 hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultId(pub [u8; 16]);

impl VaultId {
    /// The id of a vault of `owner`: the first 16 bytes of `derive_key("cairn v1 vault id", key ‖ salt)`, where key
    /// is the owner's public key behind its algorithm number. One wallet owns several vaults by different salts. Whoever is shown key and
    /// salt knows whose vault it is, and asks nobody: a second owner would have to find a preimage.
    #[must_use]
    pub fn derive(owner: &PublicKey, salt: &VaultSalt) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 vault id");
        hasher.update(&owner.prefixed_bytes()).update(&salt.0);
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }
}

/// What tells the vaults of one owner apart, 32 hex digits in text. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultSalt(pub [u8; 16]);

/// The id of a scope, 32 hex digits in text. Random, but for the vault-wide one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub [u8; 16]);

impl ScopeId {
    /// The scope of a vault's own entries (buckets, statements, checkpoints): it has the vault's id.
    #[must_use]
    pub const fn vault_wide(vault: VaultId) -> Self {
        Self(vault.0)
    }
}

/// A text that is no id of the kind asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not `v-` and 32 lower-case hex digits.
    #[error("a vault id is \"v-\" and 32 lower-case hex digits")]
    Vault,
    /// Not 32 lower-case hex digits.
    #[error("a scope id is 32 lower-case hex digits")]
    Scope,
    /// Not 32 lower-case hex digits.
    #[error("a vault's salt is 32 lower-case hex digits")]
    Salt,
    /// Not 16 lower-case hex digits.
    #[error("a credential's name is 16 lower-case hex digits")]
    Credential,
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v-{}", hex::encode(self.0))
    }
}

impl fmt::Debug for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VaultId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("v-")
            .and_then(hex_exact)
            .map(Self)
            .ok_or(IdError::Vault)
    }
}

impl fmt::Display for VaultSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for VaultSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VaultSalt {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        hex_exact(text).map(Self).ok_or(IdError::Salt)
    }
}

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ScopeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        hex_exact(text).map(Self).ok_or(IdError::Scope)
    }
}

serde_as_text!(VaultId);
serde_as_text!(VaultSalt);
serde_as_text!(ScopeId);
