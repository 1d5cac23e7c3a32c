//! Wallets: key pairs, public keys and signatures of three algorithms.
//!
//! ed25519 is the default; sr25519 and secp256k1 are the other wallets of the protocol. What is particular to one stands in its own
//! file; here is what callers see, and the choice between them. It is not a key store: the vault room keeps secrets at rest.
//!
//! The invariants: the algorithm of a check comes from the key, never from the message; a small-order or non-canonical
//! public key does not become a [`PublicKey`], so a key has one spelling; verification is strict, so that one message has no
//! second signature that a third party can make.
//!
//! Sources: RFC 8032; the schnorrkel and Substrate sources; SEC 1, RFC 6979, BIP 62.

mod ed25519;
mod secp256k1;
mod sr25519;

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::canonical::{hex_exact, serde_as_text};

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ed25519 of RFC 8032, verified strictly.
    Ed25519,
    /// Schnorr over Ristretto, as Substrate's wallets sign.
    Sr25519,
    /// ECDSA over secp256k1 and SHA-256, `s` in the lower half.
    Secp256k1,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::Sr25519, Self::Secp256k1];

    /// The name before the colon in a key's text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Sr25519 => "sr25519",
            Self::Secp256k1 => "secp256k1",
        }
    }

    /// The number before a key's bytes where it is hashed.
    const fn number(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Sr25519 => 2,
            Self::Secp256k1 => 3,
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
    #[error(
        "a public key is its algorithm, a colon and lower-case hex digits: 64 for ed25519 and sr25519, 66 for secp256k1"
    )]
    Form,
    /// The bytes are no point of the curve, or not its canonical encoding.
    #[error("not a canonical point of the curve")]
    NotAPoint,
    /// The point has small order: anything could be shown as signed by it.
    #[error("a small-order key")]
    SmallOrder,
    /// A secret that is no scalar: zero, or not below the order of secp256k1.
    #[error("not a secret key of secp256k1")]
    Scalar,
}

/// A signature that does not hold for its message and key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the signature does not verify")]
pub struct SignatureRefused;

/// A public key whose algorithm and bytes were checked. Text: the algorithm's name, `:` and hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(Checked);

// The bytes and not the unpacked point: keys are kept and compared far more often than they verify.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Checked {
    Ed25519([u8; 32]),
    Sr25519([u8; 32]),
    Secp256k1([u8; 33]),
}

impl PublicKey {
    /// Checks the 32 bytes of an ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`] or [`KeyError::SmallOrder`].
    pub fn ed25519(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        ed25519::check(bytes)?;
        Ok(Self(Checked::Ed25519(*bytes)))
    }

    /// Checks the 32 bytes of an sr25519 key.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`], or [`KeyError::SmallOrder`] for the neutral element.
    pub fn sr25519(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        sr25519::check(bytes)?;
        Ok(Self(Checked::Sr25519(*bytes)))
    }

    /// Checks the 33 bytes of a compressed secp256k1 key.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`].
    pub fn secp256k1(bytes: &[u8; 33]) -> Result<Self, KeyError> {
        secp256k1::check(bytes)?;
        Ok(Self(Checked::Secp256k1(*bytes)))
    }

    /// The algorithm that checks of this key use.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Checked::Ed25519(_) => Algorithm::Ed25519,
            Checked::Sr25519(_) => Algorithm::Sr25519,
            Checked::Secp256k1(_) => Algorithm::Secp256k1,
        }
    }

    /// The key's bytes in its algorithm's own encoding, without a prefix: 32, or 33 for secp256k1.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Checked::Ed25519(bytes) | Checked::Sr25519(bytes) => bytes,
            Checked::Secp256k1(bytes) => bytes,
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
            Checked::Ed25519(key) => ed25519::verify(key, message, &signature.0),
            Checked::Sr25519(key) => sr25519::verify(key, message, &signature.0),
            Checked::Secp256k1(key) => secp256k1::verify(key, message, &signature.0),
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
        let mut all = Algorithm::ALL.into_iter();
        match all.find(|algorithm| algorithm.name() == name) {
            Some(Algorithm::Ed25519) => Self::ed25519(&hex_exact(digits).ok_or(KeyError::Form)?),
            Some(Algorithm::Sr25519) => Self::sr25519(&hex_exact(digits).ok_or(KeyError::Form)?),
            Some(Algorithm::Secp256k1) => Self::secp256k1(&hex_exact(digits).ok_or(KeyError::Form)?),
            None => Err(KeyError::UnknownAlgorithm),
        }
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
    secret: Secret,
    public: PublicKey,
}

// Each of them wipes itself on drop (`SigningKey` by its `zeroize` feature).
enum Secret {
    Ed25519(SigningKey),
    Sr25519(Box<sr25519::Secret>),
    Secp256k1(secp256k1::Secret),
}

impl Wallet {
    /// The ed25519 wallet of 32 secret bytes, which the caller drew from the operating system's randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = SigningKey::from_bytes(seed);
        let public = PublicKey(Checked::Ed25519(secret.verifying_key().to_bytes()));
        let secret = Secret::Ed25519(secret);
        Self { secret, public }
    }

    /// The wallet of 32 secret bytes of any algorithm.
    ///
    /// # Errors
    /// [`KeyError::Scalar`]: one in 2^127 of random secrets is none of secp256k1.
    pub fn of(algorithm: Algorithm, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let (secret, public) = match algorithm {
            Algorithm::Ed25519 => return Ok(Self::from_seed(seed)),
            Algorithm::Sr25519 => {
                let secret = Box::new(sr25519::Secret::new(seed)?);
                let public = PublicKey::sr25519(&secret.public())?;
                (Secret::Sr25519(secret), public)
            }
            Algorithm::Secp256k1 => {
                let secret = secp256k1::Secret::new(seed)?;
                let public = PublicKey::secp256k1(&secret.public().ok_or(KeyError::Scalar)?)?;
                (Secret::Secp256k1(secret), public)
            }
        };
        Ok(Self { secret, public })
    }

    /// The secret that [`Self::of`] takes, for the key file.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        match &self.secret {
            Secret::Ed25519(secret) => Zeroizing::new(secret.to_bytes()),
            Secret::Sr25519(secret) => secret.seed(),
            Secret::Secp256k1(secret) => secret.scalar(),
        }
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs `message`, which the caller has put behind a domain (see [`crate::Statement`]). The same message gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(match &self.secret {
            Secret::Ed25519(secret) => secret.sign(message).to_bytes(),
            Secret::Sr25519(secret) => secret.sign(message),
            // Zeros verify under no key.
            Secret::Secp256k1(secret) => secret.sign(message).unwrap_or([0; 64]),
        })
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
