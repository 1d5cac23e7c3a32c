//! Keys that a client brings with a request (S3's SSE-C): how they seal a stream, and how the vault knows them again.
//!
//! It seals nothing itself: `seal` does, under the key that is derived here. Invariant: no customer's key is kept. What is
//! kept is a salted check value, from which nobody without the scope key learns whether two objects have the same key, and
//! with it nobody learns the key but by guessing it.
//!
//! Source: FORMAT.md sections 4 and 5; "Using server-side encryption with customer-provided keys" of the S3 user guide.

use engine::codec::{DecodeError, Reader, Writer};
use scopes::ScopeId;
use subtle::ConstantTimeEq;

use crate::Random;
use crate::keys::{Keyring, SecretKey};

#[cfg(test)]
mod tests;

/// A key of 32 bytes that a client brought with its request: wiped on drop, printed as nothing, compared in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerKey(SecretKey);

impl CustomerKey {
    /// The key that is these bytes. Whoever has another copy of them wipes it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SecretKey::from_bytes(bytes))
    }

    /// The bytes themselves, for a derivation. Whoever copies them wipes the copy.
    pub(crate) const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl std::fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustomerKey(..)")
    }
}

/// By what a customer's key is known again: stands with an object or an upload, in a sealed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustomerCheck {
    /// The epoch of the scope key that the value is derived from.
    pub epoch: u64,
    /// Drawn for each object and upload.
    pub salt: [u8; 16],
    /// The value that the right key gives.
    pub value: [u8; 32],
}

impl CustomerCheck {
    /// A check of this key, under a salt of its own.
    pub fn new(keyring: &Keyring, scope: ScopeId, epoch: u64, key: &CustomerKey, random: Random<'_>) -> Self {
        let mut salt = [0; 16];
        random(&mut salt);
        let value = *keyring.customer_check(scope, epoch, &salt, key).expose();
        Self { epoch, salt, value }
    }

    /// Whether it is the same key, in constant time.
    pub fn accepts(&self, keyring: &Keyring, scope: ScopeId, key: &CustomerKey) -> bool {
        let value = keyring.customer_check(scope, self.epoch, &self.salt, key);
        value.expose().ct_eq(&self.value).into()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.varint(self.epoch);
        writer.fixed(&self.salt);
        writer.fixed(&self.value);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            epoch: reader.varint()?,
            salt: reader.fixed()?,
            value: reader.fixed()?,
        })
    }
}

/// What is said of a stream that is sealed under a customer's key: the check of the key, and its ETag.
#[derive(Debug, Clone)]
pub struct CustomerSeal {
    check: CustomerCheck,
    etag_key: SecretKey,
}

impl CustomerSeal {
    /// Of an object of its own: its check is drawn now.
    pub fn new(keyring: &Keyring, scope: ScopeId, epoch: u64, key: &CustomerKey, random: Random<'_>) -> Self {
        let check = CustomerCheck::new(keyring, scope, epoch, key, random);
        Self::of_part(keyring, scope, check, key)
    }

    /// Of a part of an upload with this check, which the key gave.
    pub fn of_part(keyring: &Keyring, scope: ScopeId, check: CustomerCheck, key: &CustomerKey) -> Self {
        Self {
            check,
            etag_key: keyring.customer_etag_key(scope, check.epoch, &check.salt, key),
        }
    }

    /// The check of the key.
    pub const fn check(&self) -> CustomerCheck {
        self.check
    }

    /// What stands in place of the MD5 in the stream's ETag: it says nothing of the bytes to whoever lacks the key. The same
    /// bytes have another in each object and in each part of an upload, by its `number`, which is 0 for an object of its own; a
    /// part that is sent again has the one it had.
    pub fn etag(&self, number: u16, md5: &[u8; 16]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(self.etag_key.expose());
        hasher.update(md5);
        hasher.update(&number.to_le_bytes());
        let tag = hasher.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(tag.as_bytes().split_at(16).0);
        first
    }
}
