//! Sealing of small values: ledger entries, pack trailers, record bodies, credential records.
//!
//! Bulk data is `seal`. Lengths are hidden in steps; which slot is written, and when, is not.
//!
//! Invariant: a value key is derived from 16 or 32 fresh random bytes and seals once, so the zero nonce never repeats
//! under a key; a value opens only in the vault, scope, kind and slot that it was sealed for.
//!
//! Source: FORMAT.md section 4; Padmé from "Reducing Metadata Leakage from Encrypted Files and Communication with
//! PURBs" (PETS 2019), section 4.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use engine::codec::{DecodeError, Reader, Writer};
use engine::slots::{Address, EntryKind};
use scopes::{ScopeId, VaultId};
use zeroize::Zeroizing;

use crate::Random;
use crate::keys::{Keyring, SecretKey, credential_record_key};

#[cfg(test)]
mod tests;

/// The longest value that is sealed, in bytes: a trailer fills one shard at most.
pub const VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The kind byte of a pack's trailer, which is not a ledger entry.
pub const TRAILER_KIND: u8 = 254;
/// The kind byte of an activity record's body, which is not a ledger entry.
pub const RECORD_KIND: u8 = 255;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;
const STEP_BYTES: usize = 64;
const PADME_FROM_BYTES: usize = 4096;

/// A value could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The value is over [`VALUE_BYTES_MAX`].
    #[error("a value of {got} bytes is over the limit of {limit}")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
        /// The value's length, in bytes.
        got: usize,
    },
}

/// A sealed value could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The bytes are not a sealed value at all.
    #[error("not a sealed value: {0}")]
    Malformed(#[from] DecodeError),
    /// The tag does not match: altered, or sealed for another vault, scope, epoch, kind, slot or key.
    #[error("the seal of {sealed_bytes} bytes does not hold")]
    Forged {
        /// Length of the sealed form, in bytes.
        sealed_bytes: usize,
    },
    /// The seal holds but what it holds is not padded as the format says.
    #[error("a sealed value has {padded_bytes} padded bytes that do not fit its true length")]
    Padding {
        /// Length of the padded plaintext, in bytes.
        padded_bytes: usize,
    },
}

/// What the seal of one value binds it to.
struct Place {
    vault: VaultId,
    scope: ScopeId,
    kind: u8,
    slot: [u8; 16],
}

impl Place {
    fn of(vault: VaultId, address: &Address) -> Self {
        Self {
            vault,
            scope: ScopeId(address.scope),
            kind: address.kind as u8,
            slot: address.slot,
        }
    }

    /// `derive("cairn v1 value key", parent ‖ kind ‖ slot ‖ salt)`.
    fn value_key(&self, parent: &SecretKey, salt: &[u8]) -> SecretKey {
        SecretKey::derive(
            "cairn v1 value key",
            &[parent.expose(), &[self.kind], &self.slot, salt],
        )
    }

    fn associated_data(&self) -> [u8; 49] {
        let mut data = [0; 49];
        let fields = [&self.vault.0[..], &self.scope.0, &[self.kind], &self.slot];
        for (byte, value) in data.iter_mut().zip(fields.into_iter().flatten()) {
            *byte = *value;
        }
        data
    }
}

impl Keyring {
    /// Seals the value of a ledger entry under the entry key of the address's scope and `epoch`.
    ///
    /// # Errors
    /// [`ValueError::TooLong`].
    pub fn seal_value(
        &self,
        address: &Address,
        epoch: u64,
        plain: &[u8],
        random: Random<'_>,
    ) -> Result<Vec<u8>, ValueError> {
        let place = Place::of(self.vault(), address);
        let parent = self.entry_key(place.scope, epoch);
        seal_salted(&place, &parent, epoch, plain, random)
    }

    /// Opens what [`Self::seal_value`] sealed for the same address. The result is wiped on drop.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_value(&self, address: &Address, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let place = Place::of(self.vault(), address);
        open_with::<16>(&place, sealed, |epoch, salt| {
            Some(place.value_key(&self.entry_key(place.scope, epoch), salt))
        })
    }

    /// Seals a pack's trailer under `derive("cairn v1 trailer key", scope key ‖ salt 32)`.
    ///
    /// # Errors
    /// [`ValueError::TooLong`].
    pub fn seal_trailer(
        &self,
        scope: ScopeId,
        epoch: u64,
        plain: &[u8],
        random: Random<'_>,
    ) -> Result<Vec<u8>, ValueError> {
        let mut salt = [0; 32];
        random(&mut salt);
        let key = self.trailer_key(scope, epoch, &salt);
        seal_under(&self.trailer_place(scope), &key, epoch, &salt, plain)
    }

    /// Opens what [`Self::seal_trailer`] sealed for the same scope.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_trailer(&self, scope: ScopeId, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        open_with::<32>(&self.trailer_place(scope), sealed, |epoch, salt| {
            Some(self.trailer_key(scope, epoch, salt))
        })
    }

    /// Seals the body of an activity record.
    ///
    /// # Errors
    /// [`ValueError::TooLong`].
    pub fn seal_record(&self, body: &[u8], random: Random<'_>) -> Result<Vec<u8>, ValueError> {
        seal_salted(&self.record_place(), &self.record_body_key(), 0, body, random)
    }

    /// Opens what [`Self::seal_record`] sealed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_record(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let place = self.record_place();
        open_with::<16>(&place, sealed, |epoch, salt| {
            without_epoch(epoch).then(|| place.value_key(&self.record_body_key(), salt))
        })
    }

    /// Seals the owner's copy of a credential.
    pub(crate) fn seal_credential_copy(
        &self,
        address: &Address,
        plain: &[u8],
        random: Random<'_>,
    ) -> Result<Vec<u8>, ValueError> {
        let place = Place::of(self.vault(), address);
        seal_salted(&place, &self.credential_copy_key(), 0, plain, random)
    }

    /// Opens the owner's copy of a credential.
    pub(crate) fn open_credential_copy(
        &self,
        address: &Address,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let place = Place::of(self.vault(), address);
        open_with::<16>(&place, sealed, |epoch, salt| {
            without_epoch(epoch).then(|| place.value_key(&self.credential_copy_key(), salt))
        })
    }

    fn trailer_key(&self, scope: ScopeId, epoch: u64, salt: &[u8]) -> SecretKey {
        let scope_key = self.scope_key(scope, epoch);
        SecretKey::derive("cairn v1 trailer key", &[scope_key.expose(), salt])
    }

    const fn trailer_place(&self, scope: ScopeId) -> Place {
        Place {
            vault: self.vault(),
            scope,
            kind: TRAILER_KIND,
            slot: [0; 16],
        }
    }

    const fn record_place(&self) -> Place {
        Place {
            vault: self.vault(),
            scope: self.vault_wide(),
            kind: RECORD_KIND,
            slot: [0; 16],
        }
    }
}

/// Seals a credential record so that only the access key id opens it.
pub(crate) fn seal_credential_record(
    vault: VaultId,
    address: &Address,
    access_key_id: &str,
    plain: &[u8],
    random: Random<'_>,
) -> Result<Vec<u8>, ValueError> {
    let parent = credential_record_key(access_key_id);
    seal_salted(&Place::of(vault, address), &parent, 0, plain, random)
}

/// Opens a credential record with the access key id alone.
pub(crate) fn open_credential_record(
    vault: VaultId,
    address: &Address,
    access_key_id: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let place = Place::of(vault, address);
    open_with::<16>(&place, sealed, |epoch, salt| {
        without_epoch(epoch).then(|| place.value_key(&credential_record_key(access_key_id), salt))
    })
}

/// How long a value of `plain_bytes` is once sealed under `epoch` with a 16-byte salt.
pub fn sealed_bytes(plain_bytes: usize, epoch: u64) -> usize {
    sealed_form_bytes(plain_bytes, epoch, 16)
}

/// How long a trailer of `plain_bytes` is once sealed under `epoch`.
pub fn sealed_trailer_bytes(plain_bytes: usize, epoch: u64) -> usize {
    sealed_form_bytes(plain_bytes, epoch, 32)
}

fn sealed_form_bytes(plain_bytes: usize, epoch: u64, salt_bytes: usize) -> usize {
    let mut header = Writer::new();
    header.varint(epoch);
    1 + header.len() + salt_bytes + padded_bytes(plain_bytes) + TAG_BYTES
}

fn seal_salted(
    place: &Place,
    parent: &SecretKey,
    epoch: u64,
    plain: &[u8],
    random: Random<'_>,
) -> Result<Vec<u8>, ValueError> {
    let mut salt = [0; 16];
    random(&mut salt);
    seal_under(place, &place.value_key(parent, &salt), epoch, &salt, plain)
}

fn seal_under(
    place: &Place,
    key: &SecretKey,
    epoch: u64,
    salt: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, ValueError> {
    let too_long = ValueError::TooLong {
        limit: VALUE_BYTES_MAX,
        got: plain.len(),
    };
    if plain.len() > VALUE_BYTES_MAX {
        return Err(too_long);
    }
    let mut padded = Zeroizing::new(Vec::with_capacity(padded_bytes(plain.len())));
    padded.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    padded.extend_from_slice(plain);
    padded.resize(padded_bytes(plain.len()), 0);
    let payload = Payload {
        msg: &padded,
        aad: &place.associated_data(),
    };
    // The crate refuses only what is beyond 64 GiB, and the limit above is far below.
    let sealed = cipher(key)
        .encrypt(&Nonce::default(), payload)
        .map_err(|_| too_long)?;
    let mut writer = Writer::with_capacity(11 + salt.len() + sealed.len());
    writer.u8(VERSION);
    writer.varint(epoch);
    writer.fixed(salt);
    writer.fixed(&sealed);
    Ok(writer.into_vec())
}

fn open_with<const SALT: usize>(
    place: &Place,
    sealed: &[u8],
    key: impl FnOnce(u64, &[u8]) -> Option<SecretKey>,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let mut reader = Reader::new(sealed);
    reader.version(VERSION)?;
    let epoch = reader.varint()?;
    let salt: [u8; SALT] = reader.fixed()?;
    let payload = Payload {
        msg: reader.rest(),
        aad: &place.associated_data(),
    };
    let forged = OpenError::Forged {
        sealed_bytes: sealed.len(),
    };
    let key = key(epoch, &salt).ok_or(forged)?;
    let opened = cipher(&key).decrypt(&Nonce::default(), payload);
    let mut padded = Zeroizing::new(opened.map_err(|_| forged)?);
    let plain_bytes = true_length(&padded).ok_or(OpenError::Padding {
        padded_bytes: padded.len(),
    })?;
    padded.truncate(LENGTH_BYTES + plain_bytes);
    padded.drain(..LENGTH_BYTES);
    Ok(padded)
}

/// Values whose key has no epoch in it are written with epoch 0. Another number would change the form and not the key.
const fn without_epoch(epoch: u64) -> bool {
    epoch == 0
}

fn cipher(key: &SecretKey) -> Aes256Gcm {
    Aes256Gcm::new(key.expose().into())
}

/// The true length that padded plaintext states, if the padding is exactly what the format says.
fn true_length(padded: &[u8]) -> Option<usize> {
    let (length, rest) = padded.split_first_chunk::<LENGTH_BYTES>()?;
    let plain_bytes = u32::from_le_bytes(*length) as usize;
    let (_, zeros) = rest.split_at_checked(plain_bytes)?;
    let exact = padded_bytes(plain_bytes) == padded.len() && zeros.iter().all(|byte| *byte == 0);
    exact.then_some(plain_bytes)
}

/// The padded length of a value: length field and bytes, rounded up to a step of 64 bytes, beyond 4 KiB to the Padmé
/// size, which leaks O(log log length) bits and adds at most 12 %.
fn padded_bytes(plain_bytes: usize) -> usize {
    let bytes = plain_bytes + LENGTH_BYTES;
    if bytes <= PADME_FROM_BYTES {
        return bytes.next_multiple_of(STEP_BYTES);
    }
    let exponent = bytes.ilog2();
    let significant_bits = exponent.ilog2() + 1;
    bytes.next_multiple_of(1 << (exponent - significant_bits))
}

/// The kinds whose values are in the clear; all others are sealed.
pub const fn is_clear(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::Pack | EntryKind::Statement) || kind.is_of_cluster()
}
