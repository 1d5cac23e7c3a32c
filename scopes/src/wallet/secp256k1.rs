//! secp256k1: ECDSA over SHA-256 of the message (SEC 1, FIPS 186-5), with the nonces of RFC 6979.
//!
//! A key is the compressed point, 33 bytes; a signature `r ‖ s`, 64 bytes. Ethereum's form of a message (Keccak behind a prefix) is another
//! one and is not accepted.
//!
//! Invariant: `s` is in the lower half of the order (BIP 62); the other half would be a second signature that anybody can make.

use k256::ecdsa::signature::{Signer as _, Verifier as _};
use k256::ecdsa::{Signature, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::{KeyError, SignatureRefused};

/// Whether the bytes are a key that may be trusted at all. The order is prime, so no point of the curve has a small one.
pub(super) fn check(bytes: &[u8; 33]) -> Result<(), KeyError> {
    parse(bytes).map(|_| ())
}

fn parse(bytes: &[u8; 33]) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::from_sec1_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
    // There is a form without the parity of y as well, of the same length.
    if key.to_sec1_point(true).as_bytes() != bytes {
        return Err(KeyError::NotAPoint);
    }
    Ok(key)
}

/// Checks ranges, the lower half and the equation.
pub(super) fn verify(key: &[u8; 33], message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureRefused> {
    let key = parse(key).map_err(|_| SignatureRefused)?;
    let signature = Signature::from_slice(signature).map_err(|_| SignatureRefused)?;
    if signature.normalize_s() != signature {
        return Err(SignatureRefused);
    }
    key.verify(message, &signature).map_err(|_| SignatureRefused)
}

/// The secret scalar. It wipes itself on drop.
pub(super) struct Secret(SigningKey);

impl Secret {
    /// From a scalar between 1 and the order.
    pub(super) fn new(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_slice(scalar).map_err(|_| KeyError::Scalar)?;
        Ok(Self(key))
    }

    pub(super) fn scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// The compressed point; none for no scalar that [`Self::new`] takes.
    pub(super) fn public(&self) -> Option<[u8; 33]> {
        let point = self.0.verifying_key().to_sec1_point(true);
        point.as_bytes().try_into().ok()
    }

    /// Signs; none where the nonce gives no signature, which no message is known for.
    pub(super) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature: Signature = self.0.try_sign(message).ok()?;
        signature.normalize_s().to_bytes().as_slice().try_into().ok()
    }
}
