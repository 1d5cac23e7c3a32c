//! Vault, scope, cluster and grant ids: what they are made of and their one text form.
//!
//! Ids name things and authorise nothing. The text form is strict (lower-case hex only), so an id has one spelling in
//! records, statements and on the command line. Source: engine/FORMAT.md section 2.

use std::fmt;
use std::str::FromStr;

use crate::canonical::{hex_exact, serde_as_text};
use crate::wallet::PublicKey;

/// The first 16 bytes of what was hashed: an id, or a slot.
pub(crate) fn first_16(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// The id of a vault, `v-` and 32 hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultId(pub [u8; 16]);

impl VaultId {
    /// The id of a vault of `owner`: the first 16 bytes of `derive_key("cairn v1 vault id", key ‖ salt)`, where key
    /// is the owner's public key behind its algorithm number. One wallet owns several vaults by different salts. Whoever is shown key and
    /// salt knows whose vault it is, and asks nobody: a second owner would have to find a preimage.
    #[must_use]
    pub fn derive(owner: &PublicKey, salt: &Salt) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 vault id");
        hasher.update(&owner.prefixed_bytes()).update(&salt.0);
        Self(first_16(&hasher))
    }
}

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

/// The id of a cluster, 32 hex digits in text. Random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// The id of a grant, `g-` and 32 hex digits in text. Made of what never changes about the grant (see [`crate::Grant::id_of`]), so that
/// nobody can take the id of somebody else's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub [u8; 16]);

/// Sixteen bytes that went into an id, 32 hex digits in text. They are no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Salt(pub [u8; 16]);

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
    #[error("a cluster id is 32 lower-case hex digits")]
    Cluster,
    /// Not `g-` and 32 lower-case hex digits.
    #[error("a grant id is \"g-\" and 32 lower-case hex digits")]
    Grant,
    /// Not 32 lower-case hex digits.
    #[error("a salt is 32 lower-case hex digits")]
    Salt,
    /// Not 64 lower-case hex digits.
    #[error("a commitment is 64 lower-case hex digits")]
    Commitment,
    /// Not 16 lower-case hex digits.
    #[error("a credential's name is 16 lower-case hex digits")]
    Credential,
}

/// Text of 16 bytes: a prefix and lower-case hex.
macro_rules! text_of_16 {
    ($name:ident, $prefix:literal, $error:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(hex_exact)
                    .map(Self)
                    .ok_or($error)
            }
        }

        serde_as_text!($name);
    };
}

text_of_16!(VaultId, "v-", IdError::Vault);
text_of_16!(ScopeId, "", IdError::Scope);
text_of_16!(ClusterId, "", IdError::Cluster);
text_of_16!(GrantId, "g-", IdError::Grant);
text_of_16!(Salt, "", IdError::Salt);
