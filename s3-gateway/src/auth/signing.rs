//! Signing keys and signatures.
//!
//! `key = HMAC(HMAC(HMAC(HMAC("AWS4" ‖ secret, day), region), service), "aws4_request")`,
//! `signature = HMAC(key, string to sign)`, HMAC-SHA256 throughout (RFC 2104). A day's key is kept in a bounded
//! cache and wiped when it leaves it. Source: "Calculate the signature" of the S3 API reference.

use std::collections::HashMap;
use std::sync::Mutex;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::payload::EMPTY_SHA256;

/// A day's signing key; wiped on drop, never shown.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<[u8; 32]>);

impl SigningKey {
    /// Derives the key of one day.
    pub fn derive(secret: &[u8], day: &str, region: &str, service: &str) -> Self {
        let mut start = Zeroizing::new(Vec::with_capacity(4 + secret.len()));
        start.extend_from_slice(b"AWS4");
        start.extend_from_slice(secret);
        let day = Zeroizing::new(hmac(&start, day.as_bytes()));
        let region = Zeroizing::new(hmac(day.as_slice(), region.as_bytes()));
        let service = Zeroizing::new(hmac(region.as_slice(), service.as_bytes()));
        Self(Zeroizing::new(hmac(service.as_slice(), b"aws4_request")))
    }

    /// Signs a string.
    pub fn sign(&self, text: &str) -> [u8; 32] {
        hmac(self.0.as_slice(), text.as_bytes())
    }

    /// Compares in constant time.
    pub fn verifies(&self, text: &str, signature: &[u8; 32]) -> bool {
        self.sign(text).ct_eq(signature).into()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length; a key that it did not take would sign nothing that verifies.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// The string to sign of a request.
pub fn string_to_sign(time: &str, scope: &str, canonical_request: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex::encode(Sha256::digest(canonical_request.as_bytes()))
    )
}

/// What chunk and trailer signatures of one body hang on.
#[derive(Debug, Clone)]
pub struct ChunkSigner {
    key: SigningKey,
    time: String,
    scope: String,
    previous: [u8; 32],
}

impl ChunkSigner {
    /// Starts the chain at the request's own signature.
    pub fn new(key: SigningKey, time: String, scope: String, seed: [u8; 32]) -> Self {
        Self {
            key,
            time,
            scope,
            previous: seed,
        }
    }

    /// Checks a chunk's signature over the hash of its bytes, and moves on.
    #[must_use]
    pub fn chunk(&mut self, sha256: &[u8; 32], signature: &[u8; 32]) -> bool {
        let tail = format!("{EMPTY_SHA256}\n{}", hex::encode(sha256));
        self.step("AWS4-HMAC-SHA256-PAYLOAD", &tail, signature)
    }

    /// Checks the trailers' signature over their canonical bytes.
    #[must_use]
    pub fn trailer(&mut self, canonical: &str, signature: &[u8; 32]) -> bool {
        let tail = hex::encode(Sha256::digest(canonical.as_bytes()));
        self.step("AWS4-HMAC-SHA256-TRAILER", &tail, signature)
    }

    fn step(&mut self, name: &str, tail: &str, signature: &[u8; 32]) -> bool {
        let previous = hex::encode(self.previous);
        let text = format!("{name}\n{}\n{}\n{previous}\n{tail}", self.time, self.scope);
        self.previous = *signature;
        self.key.verifies(&text, signature)
    }
}

/// Signing keys by (access key id, day), at most `KEYS_MAX`.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<(String, String), Cached>>);

struct Cached {
    // A replaced secret must not be outlived by its key.
    secret: Zeroizing<Vec<u8>>,
    key: SigningKey,
}

impl KeyCache {
    /// The day's key of this access key, derived at most once.
    pub fn key(
        &self,
        access_key_id: &str,
        secret: &[u8],
        day: &str,
        region: &str,
        service: &str,
    ) -> SigningKey {
        let name = (access_key_id.to_owned(), day.to_owned());
        let mut keys = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(cached) = keys.get(&name)
            && bool::from(cached.secret.as_slice().ct_eq(secret))
        {
            return cached.key.clone();
        }
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        let key = SigningKey::derive(secret, day, region, service);
        keys.insert(
            name,
            Cached {
                secret: Zeroizing::new(secret.to_vec()),
                key: key.clone(),
            },
        );
        key
    }
}

const KEYS_MAX: usize = 1024;
