//! sr25519: Schnorr signatures over Ristretto, as the wallets of Substrate chains make them.
//!
//! The secret of 32 bytes is expanded as those wallets do it (the ed25519 way), and messages are signed under their context,
//! `substrate`; what separates this project's messages from a chain's is the domain in front of them (see [`crate::Statement`]).
//!
//! Invariants: the group has prime order, so the one key of small order is its neutral element, which is refused; a signature bears
//! schnorrkel's mark, so that it is none of ed25519; nothing is drawn: what the nonce adds to the transcript and the secret comes
//! from a hash of the secret and the message.

use rand_core::{CryptoRng, RngCore};
use schnorrkel::context::attach_rng;
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey, PublicKey, Signature, signing_context};
use zeroize::{Zeroize, Zeroizing};

use super::{KeyError, SignatureRefused};

const CONTEXT: &[u8] = b"substrate";

/// Whether the bytes are a key that may be trusted at all. Ristretto has one encoding for each element.
pub(super) fn check(bytes: &[u8; 32]) -> Result<(), KeyError> {
    // The neutral element is encoded as zeros.
    if *bytes == [0; 32] {
        return Err(KeyError::SmallOrder);
    }
    PublicKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
    Ok(())
}

/// Checks mark, canonical `s` and the equation.
pub(super) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureRefused> {
    let key = PublicKey::from_bytes(key).map_err(|_| SignatureRefused)?;
    let signature = Signature::from_bytes(signature).map_err(|_| SignatureRefused)?;
    key.verify(signing_context(CONTEXT).bytes(message), &signature)
        .map_err(|_| SignatureRefused)
}

/// The secret half, with the seed that it was expanded from. Both wipe themselves on drop.
pub(super) struct Secret {
    seed: MiniSecretKey,
    pair: Keypair,
}

impl Secret {
    pub(super) fn new(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let seed = MiniSecretKey::from_bytes(seed).map_err(|_| KeyError::Form)?;
        let pair = seed.expand_to_keypair(ExpansionMode::Ed25519);
        Ok(Self { seed, pair })
    }

    pub(super) fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.seed.to_bytes())
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.pair.public.to_bytes()
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 sr25519 nonce");
        hasher.update(self.seed.as_bytes()).update(message);
        let nonce = Nonce(hasher.finalize_xof());
        hasher.zeroize();
        let transcript = attach_rng(signing_context(CONTEXT).bytes(message), nonce);
        self.pair.sign(transcript).to_bytes()
    }
}

/// What schnorrkel takes for randomness: the stream of a hash of the secret and the message, as in RFC 8032.
struct Nonce(blake3::OutputReader);

impl Drop for Nonce {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl RngCore for Nonce {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Nonce {}
