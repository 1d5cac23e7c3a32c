//! ed25519 (RFC 8032), verified strictly.
//!
//! Invariant: a small-order key, or one spelt with y of p and above, is refused; so are an `s` that is not canonical and an `R` of small
//! order, so that nobody but the signer can make a second signature of a message.

use ed25519_dalek::VerifyingKey;

use super::{KeyError, SignatureRefused};

/// Whether the bytes are a key that may be trusted at all.
pub(super) fn check(bytes: &[u8; 32]) -> Result<(), KeyError> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
    if key.is_weak() {
        return Err(KeyError::SmallOrder);
    }
    // Decompression accepts y coordinates of p and above; such a key would have a second spelling.
    if key.to_edwards().compress().to_bytes() != *bytes {
        return Err(KeyError::NotAPoint);
    }
    Ok(())
}

/// The cofactorless equation, with a canonical `s` and no small-order `R`.
pub(super) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureRefused> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureRefused)?;
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.verify_strict(message, &signature)
        .map_err(|_| SignatureRefused)
}
