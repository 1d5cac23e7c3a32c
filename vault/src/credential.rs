//! S3 credentials at rest: a record that only the access key id opens, and the owner's copy that only the root opens.
//!
//! What a credential allows is `scopes`; checking a request's signature with the secret is `s3-gateway`.
//!
//! Invariant: without the access key id, which carries at least 128 random bits and is stored nowhere in the clear,
//! and without the root key, the stored value opens nothing. The seal binds both to the vault and to the entry's slot.
//!
//! Source: FORMAT.md section 4; statement entries in section 6.

use engine::codec::{DecodeError, Reader, Writer};
use engine::slots::Address;
use scopes::{Credential, VaultId};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Random;
use crate::keys::{Keyring, credential_address};
use crate::value::{OpenError, ValueError, open_credential_record, seal_credential_record};

#[cfg(test)]
mod tests;

/// The first byte of a statement entry that holds a credential.
pub const STATEMENT_TAG: u8 = 2;

const VERSION: u8 = 1;
const SECRET_BYTES_MAX: usize = 1024;
const SEALED_BYTES_MAX: usize = 65_536;

/// A secret access key: wiped on drop, printed as nothing, compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

impl Secret {
    /// The secret that is this text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, to check a signature with or to show to the owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a stored credential was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// It does not open with this access key id or root.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is not a credential statement, or holds something else.
    #[error("not a credential statement: {0}")]
    Malformed(#[from] DecodeError),
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] ValueError),
    /// What it allows is not readable.
    #[error("the credential's rights are malformed")]
    Rights(#[from] scopes::canonical::CanonicalError),
    /// It is for another vault than the one whose entry it stands in.
    #[error("the credential is for another vault")]
    OtherVault,
    /// The secret is empty or over 1,024 bytes.
    #[error("a secret of {got} bytes is not 1 to {SECRET_BYTES_MAX} long")]
    SecretLength {
        /// Its length, in bytes.
        got: usize,
    },
}

/// A credential, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedCredential {
    /// The access key id. It opens the record: not for logs.
    pub access_key_id: Secret,
    /// The secret access key.
    pub secret: Secret,
    /// What it allows.
    pub credential: Credential,
}

/// A credential as the ledger holds it: the value of the statement entry at [`credential_address`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential {
    record: Vec<u8>,
    copy: Vec<u8>,
}

impl SealedCredential {
    /// Seals a credential twice: under its access key id, and for the owner.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn seal(
        keyring: &Keyring,
        access_key_id: &str,
        secret: &Secret,
        credential: &Credential,
        random: Random<'_>,
    ) -> Result<Self, CredentialError> {
        if credential.vault != keyring.vault() {
            return Err(CredentialError::OtherVault);
        }
        if !(1..=SECRET_BYTES_MAX).contains(&secret.expose().len()) {
            return Err(CredentialError::SecretLength {
                got: secret.expose().len(),
            });
        }
        let address = credential_address(keyring.vault(), access_key_id);
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.string(access_key_id);
        writer.string(secret.expose());
        writer.bytes(&credential.encode()?);
        let plain = Zeroizing::new(writer.into_vec());
        let record = seal_credential_record(keyring.vault(), &address, access_key_id, &plain, random)?;
        let copy = keyring.seal_credential_copy(&address, &plain, random)?;
        Ok(Self { record, copy })
    }

    /// The entry's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.record.len() + self.copy.len() + 8);
        writer.u8(STATEMENT_TAG);
        writer.bytes(&self.record);
        writer.bytes(&self.copy);
        writer.into_vec()
    }

    /// Reads an entry's value.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        match reader.u8()? {
            STATEMENT_TAG => {}
            got => {
                return Err(DecodeError::BadValue {
                    what: "credential tag",
                    got: u64::from(got),
                });
            }
        }
        let sealed = Self {
            record: reader.bytes(SEALED_BYTES_MAX)?.to_vec(),
            copy: reader.bytes(SEALED_BYTES_MAX)?.to_vec(),
        };
        reader.finish()?;
        Ok(sealed)
    }

    /// Opens the record with the access key id alone, as a gateway does for a request.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn open(&self, vault: VaultId, access_key_id: &str) -> Result<OpenedCredential, CredentialError> {
        let address = credential_address(vault, access_key_id);
        let plain = open_credential_record(vault, &address, access_key_id, &self.record)?;
        read_plain(&plain, vault)
    }

    /// Opens the owner's copy, for listing and showing keys. `address` is where the entry stands.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn open_copy(
        &self,
        keyring: &Keyring,
        address: &Address,
    ) -> Result<OpenedCredential, CredentialError> {
        let plain = keyring.open_credential_copy(address, &self.copy)?;
        read_plain(&plain, keyring.vault())
    }
}

/// Whether a statement entry's value holds a credential.
pub fn is_credential(value: &[u8]) -> bool {
    value.first() == Some(&STATEMENT_TAG)
}

fn read_plain(plain: &[u8], vault: VaultId) -> Result<OpenedCredential, CredentialError> {
    let mut reader = Reader::new(plain);
    reader.version(VERSION)?;
    let access_key_id = Secret(reader.string(SECRET_BYTES_MAX)?.to_owned());
    let secret = Secret(reader.string(SECRET_BYTES_MAX)?.to_owned());
    let credential = Credential::decode(reader.bytes(SEALED_BYTES_MAX)?)?;
    reader.finish()?;
    if credential.vault == vault {
        Ok(OpenedCredential {
            access_key_id,
            secret,
            credential,
        })
    } else {
        Err(CredentialError::OtherVault)
    }
}
