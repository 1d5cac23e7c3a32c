//! One version of a grant as the ledger keeps it: a short head for a quick start, then the signed grant itself.
//!
//! Form: version u8 = 1, grant id 16, vault id 16, version of the grant u64 little-endian, the grant as canonical JSON.
//!
//! Invariant: the head says where to look and nothing else; what it says counts once the signed grant was checked and says the same.

use crate::grant::{self, GRANT_BYTES_MAX, Grant};
use crate::ids::{GrantId, VaultId};
use crate::statement::{Signed, StatementError};

const FORM: u8 = 1;
const HEAD_BYTES: usize = 41;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGrant {
    grant: GrantId,
    vault: VaultId,
    version: u64,
    envelope: Box<[u8]>,
}

/// Why bytes are no stored grant, or do not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoredError {
    /// Too short, too long, or of another form.
    #[error("{bytes} bytes are no stored grant of form {FORM}")]
    Form {
        /// How many.
        bytes: usize,
    },
    /// The signed grant does not hold.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The head says something else than the signed grant.
    #[error("the head is not that of the grant behind it")]
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

    /// The first 16 bytes of `derive_key("cairn v1 grant slot", grant id ‖ version)`: where the ledger keeps it, so that a version has one
    /// place and is never replaced.
    #[must_use]
    pub fn slot(grant: GrantId, version: u64) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 grant slot");
        hasher.update(&grant.0).update(&version.to_le_bytes());
        let mut slot = [0; 16];
        hasher.finalize_xof().fill(&mut slot);
        slot
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.envelope.len());
        bytes.push(FORM);
        bytes.extend_from_slice(&self.grant.0);
        bytes.extend_from_slice(&self.vault.0);
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
            let (version, envelope) = rest.split_first_chunk()?;
            let fits = *form == FORM && (1..=GRANT_BYTES_MAX).contains(&envelope.len());
            fits.then(|| Self {
                grant: GrantId(*grant),
                vault: VaultId(*vault),
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
        match (says.grant_id, says.vault_id, says.version) == (self.grant, self.vault, self.version) {
            true => Ok(signed),
            false => Err(StoredError::OtherHead),
        }
    }
}
