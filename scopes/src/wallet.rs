//! Wallets: key pairs, public keys and signatures.
//!
//! ed25519 (RFC 8032) is the algorithm of today; [`Algorithm`] is open for sr25519 and secp256k1, and until they are
//! here their keys are refused by name. It is not a key store: the vault room keeps secrets at rest.
//!
//! The invariants: the algorithm of a check comes from the key, never from the message; a small-order or
//! non-canonical public key does not become a [`PublicKey`]; verification is strict (`verify_strict`: canonical `s`,
//! no small-order `R`, the cofactorless equation), so that one message has no second signature that a third party
//! can make.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::canonical::{hex_exact, serde_as_text};

/// A signature algorithm. Open: sr25519 and secp256k1 are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ed25519 of RFC 8032, verified strictly.
    Ed25519,
}

impl Algorithm {
    /// The name before the colon in a key's text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
        }
    }

    /// The number before a key's bytes where it is hashed.
    const fn number(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
        }
    }
}

/// Why bytes or a text are no public key that this project accepts.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The algorithm is not one that this version verifies.
    #[error("unknown key algorithm")]
    UnknownAlgorithm,
    /// Not `algorithm:` and lower-case hex of the right length.
    #[error("a public key is \"ed25519:\" and 64 lower-case hex digits")]
    Form,
    /// The bytes are no point of the curve, or not its canonical encoding.
    #[error("not a canonical point of the curve")]
    NotAPoint,
    /// The point has small order: anything could be shown as signed by it.
    #[error("a small-order key")]
    SmallOrder,
}

/// A signature that does not hold for its message and key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the signature does not verify")]
pub struct SignatureRefused;

/// A public key whose algorithm and bytes were checked. Text: `ed25519:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(Checked);

// The bytes and not the unpacked point: keys are kept and compared far more often than they verify.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Checked {
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// Checks the 32 bytes of an ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`] or [`KeyError::SmallOrder`].
    pub fn ed25519(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::SmallOrder);
        }
        // Decompression accepts y coordinates of p and above; such a key would have a second spelling.
        if key.to_edwards().compress().to_bytes() != *bytes {
            return Err(KeyError::NotAPoint);
        }
        Ok(Self(Checked::Ed25519(*bytes)))
    }

    /// The algorithm that checks of this key use.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Checked::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The key's bytes in its algorithm's own encoding, without a prefix.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Checked::Ed25519(bytes) => bytes,
        }
    }

    /// The algorithm's number, then the bytes: what is hashed, so that keys of two algorithms never hash alike.
    #[must_use]
    pub fn prefixed_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.algorithm().number()];
        bytes.extend_from_slice(self.as_bytes());
        bytes
    }

    /// Checks `signature` over `message`, strictly.
    ///
    /// # Errors
    /// [`SignatureRefused`], without a reason: none helps an honest caller.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureRefused> {
        // An absent signature often arrives as zeros. The strict check refuses it too; this does not rest on that.
        if signature.0 == [0; 64] {
            return Err(SignatureRefused);
        }
        match &self.0 {
            Checked::Ed25519(bytes) => {
                let key = VerifyingKey::from_bytes(bytes).map_err(|_| SignatureRefused)?;
                let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
                key.verify_strict(message, &signature)
                    .map_err(|_| SignatureRefused)
            }
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, digits) = text.split_once(':').ok_or(KeyError::Form)?;
        if name != Algorithm::Ed25519.name() {
            return Err(KeyError::UnknownAlgorithm);
        }
        Self::ed25519(&hex_exact(digits).ok_or(KeyError::Form)?)
    }
}

serde_as_text!(PublicKey);

/// The 64 bytes of a signature. What they mean is the key's to say. Text: 128 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        hex_exact(text).map(Self).ok_or(KeyError::Form)
    }
}

/// A key pair. Its secret is wiped on drop and shown by nothing.
pub struct Wallet {
    // `SigningKey` wipes itself on drop (its `zeroize` feature).
    secret: SigningKey,
    public: PublicKey,
}

impl Wallet {
    /// The ed25519 wallet of 32 secret bytes, which the caller drew from the operating system's randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = SigningKey::from_bytes(seed);
        let public = PublicKey(Checked::Ed25519(secret.verifying_key().to_bytes()));
        Self { secret, public }
    }

    /// The secret that [`Self::from_seed`] takes, for the key file.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs `message`, which the caller has put behind a domain (see [`crate::Statement`]).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.secret.sign(message).to_bytes())
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
