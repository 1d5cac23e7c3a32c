//! A grant as the ledger keeps it, in the one place that its id gives: a short head for a quick start, then the signed grant itself.
//!
//! Form: version u8 = 1, grant id 16, vault id 16, the parent's id 16 (zeros: none), the second that every version ends by u64 little-endian,
//! version of the grant u64, the grant as canonical JSON. The next version is written over it, by compare-and-swap.
//!
//! A revocation is kept alike, in a place of its own: version u8 = 1, grant id 16, vault id 16, the revocation as canonical JSON. It is written once.
//!
//! Invariant: the head says where to look and nothing else; what it says counts once the signed grant was checked and says the same.

use crate::grant::{self, GRANT_BYTES_MAX, Grant};
use crate::ids::{GrantId, VaultId, first_16};
use crate::revocation::{self, REVOCATION_BYTES_MAX, Revocation};
use crate::statement::{Signed, StatementError};

const FORM: u8 = 1;
const HEAD_BYTES: usize = 65;
const REVOCATION_HEAD_BYTES: usize = 33;
const NO_PARENT: GrantId = GrantId([0; 16]);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGrant {
    grant: GrantId,
    vault: VaultId,
    parent: GrantId,
    ends_by: u64,
    version: u64,
    envelope: Box<[u8]>,
}

/// The slot of a grant: the first 16 bytes of `derive_key("cairn v1 grant slot", grant id)`. All versions have this one place, so that of two that
/// follow one version the ledger takes one.
#[must_use]
pub fn grant_slot(grant: GrantId) -> [u8; 16] {
    slot_of("cairn v1 grant slot", grant)
}

/// The slot of a grant's revocation: the first 16 bytes of `derive_key("cairn v1 revocation slot", grant id)`. It is written only where nothing is.
#[must_use]
pub fn revocation_slot(grant: GrantId) -> [u8; 16] {
    slot_of("cairn v1 revocation slot", grant)
}

fn slot_of(context: &str, grant: GrantId) -> [u8; 16] {
    first_16(blake3::Hasher::new_derive_key(context).update(&grant.0))
}

/// In seconds since 1970, UTC.
const fn ends_by(grant: &Grant) -> u64 {
    grant.ends_by.ms() / 1_000
}

fn parent_of(grant: &Grant) -> GrantId {
    grant.parent.map_or(NO_PARENT, |parent| parent.grant_id)
}

/// Why bytes are no stored grant or revocation, or do not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoredError {
    /// Too short, too long, or of another form.
    #[error("{bytes} bytes are no stored grant or revocation of form {FORM}")]
    Form {
        /// How many.
        bytes: usize,
    },
    /// What was signed does not hold.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The head says something else than what was signed.
    #[error("the head is not that of what is behind it")]
    OtherHead,
}

impl StoredGrant {
    /// A version to keep.
    ///
    /// # Errors
    /// The encoder's.
    pub fn of(signed: &Signed<Grant>) -> Result<Self, StatementError> {
        let statement = signed.statement();
        Ok(Self {
            grant: statement.grant_id,
            vault: statement.vault_id,
            parent: parent_of(statement),
            ends_by: ends_by(statement),
            version: statement.version,
            envelope: signed.encode()?.into_boxed_slice(),
        })
    }

    /// The id that the head names.
    #[must_use]
    pub const fn grant(&self) -> GrantId {
        self.grant
    }

    /// The vault that the head names.
    #[must_use]
    pub const fn vault(&self) -> VaultId {
        self.vault
    }

    /// The parent that the head names; none in an owner's grant.
    #[must_use]
    pub fn parent(&self) -> Option<GrantId> {
        (self.parent != NO_PARENT).then_some(self.parent)
    }

    /// When every version has ended, as the head says, in milliseconds since 1970, UTC.
    #[must_use]
    pub const fn ends_by_ms(&self) -> u64 {
        self.ends_by.saturating_mul(1_000)
    }

    /// The version that the head names.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The signed grant.
    #[must_use]
    pub const fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.envelope.len());
        bytes.push(FORM);
        bytes.extend_from_slice(&self.grant.0);
        bytes.extend_from_slice(&self.vault.0);
        bytes.extend_from_slice(&self.parent.0);
        bytes.extend_from_slice(&self.ends_by.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.envelope);
        bytes
    }

    /// Reads the head and looks at nothing else.
    ///
    /// # Errors
    /// [`StoredError::Form`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let head = || {
            let (form, rest) = bytes.split_first()?;
            let (grant, rest) = rest.split_first_chunk()?;
            let (vault, rest) = rest.split_first_chunk()?;
            let (parent, rest) = rest.split_first_chunk()?;
            let (ends_by, rest) = rest.split_first_chunk()?;
            let (version, envelope) = rest.split_first_chunk()?;
            let fits = *form == FORM && (1..=GRANT_BYTES_MAX).contains(&envelope.len());
            fits.then(|| Self {
                grant: GrantId(*grant),
                vault: VaultId(*vault),
                parent: GrantId(*parent),
                ends_by: u64::from_le_bytes(*ends_by),
                version: u64::from_le_bytes(*version),
                envelope: envelope.into(),
            })
        };
        head().ok_or(StoredError::Form { bytes: bytes.len() })
    }

    /// Checks the signed grant, and that the head is its.
    ///
    /// # Errors
    /// [`StoredError`].
    pub fn verify(&self) -> Result<Signed<Grant>, StoredError> {
        let signed = grant::verify(&self.envelope)?;
        let says = signed.statement();
        let head = (says.grant_id, says.vault_id, parent_of(says), ends_by(says));
        match (head, says.version) == ((self.grant, self.vault, self.parent, self.ends_by), self.version) {
            true => Ok(signed),
            false => Err(StoredError::OtherHead),
        }
    }
}

/// A revocation as the ledger keeps it; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRevocation {
    grant: GrantId,
    vault: VaultId,
    envelope: Box<[u8]>,
}

impl StoredRevocation {
    /// One to keep.
    ///
    /// # Errors
    /// The encoder's.
    pub fn of(signed: &Signed<Revocation>) -> Result<Self, StatementError> {
        Ok(Self {
            grant: signed.statement().grant_id,
            vault: signed.statement().vault_id,
            envelope: signed.encode()?.into_boxed_slice(),
        })
    }

    /// The grant that the head names.
    #[must_use]
    pub const fn grant(&self) -> GrantId {
        self.grant
    }

    /// The vault that the head names.
    #[must_use]
    pub const fn vault(&self) -> VaultId {
        self.vault
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(REVOCATION_HEAD_BYTES + self.envelope.len());
        bytes.push(FORM);
        bytes.extend_from_slice(&self.grant.0);
        bytes.extend_from_slice(&self.vault.0);
        bytes.extend_from_slice(&self.envelope);
        bytes
    }

    /// Reads the head and looks at nothing else.
    ///
    /// # Errors
    /// [`StoredError::Form`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let head = || {
            let (form, rest) = bytes.split_first()?;
            let (grant, rest) = rest.split_first_chunk()?;
            let (vault, envelope) = rest.split_first_chunk()?;
            let fits = *form == FORM && (1..=REVOCATION_BYTES_MAX).contains(&envelope.len());
            fits.then(|| Self {
                grant: GrantId(*grant),
                vault: VaultId(*vault),
                envelope: envelope.into(),
            })
        };
        head().ok_or(StoredError::Form { bytes: bytes.len() })
    }

    /// Checks the signed revocation, and that the head is its.
    ///
    /// # Errors
    /// [`StoredError`].
    pub fn verify(&self) -> Result<Signed<Revocation>, StoredError> {
        let signed = revocation::verify(&self.envelope)?;
        let says = signed.statement();
        match (says.grant_id, says.vault_id) == (self.grant, self.vault) {
            true => Ok(signed),
            false => Err(StoredError::OtherHead),
        }
    }
}
