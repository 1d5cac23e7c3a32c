//! Checkpoints: the signed tree heads of the log, as C2SP signed notes.
//!
//! A note here has one signature, the log's own (ed25519, type 01); cosignatures of witnesses come with validators.
//! Its bytes have one form: what was parsed is written again and compared.
//!
//! ```text
//! <origin>
//! <size>
//! <root, base64>
//!
//! — <origin> base64(key id ‖ signature)
//! ```
//!
//! Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scopes::canonical::{decimal_exact, hex_exact};
use scopes::{Algorithm, PublicKey, Signature, Wallet};
use sha2::{Digest, Sha256};

use crate::merkle::Hash;

/// The longest origin, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 255;

/// The signature type of plain ed25519 in a key id and a key's text.
const ED25519_TYPE: u8 = 1;

/// Why a text is no log key or no checkpoint of the log asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// An origin that is empty, too long, or holds a space, a plus sign or a control character.
    #[error("an origin is 1 to {ORIGIN_BYTES_MAX} bytes without spaces, plus signs and control characters")]
    Origin,
    /// A log key that is not `origin+8 hex digits+base64(01 ‖ key)` with an acceptable key and its own id.
    #[error("a log key is written origin+key id+base64, as a signed-note verifier key")]
    Key,
    /// Not a checkpoint in its one form.
    #[error("not a signed checkpoint in its one form")]
    Form,
    /// A checkpoint of another log.
    #[error("a checkpoint of another log")]
    OtherLog,
    /// The signature does not hold.
    #[error("the checkpoint's signature does not verify")]
    Signature,
}

/// The public identity of a log: its origin and ed25519 key. Text: a signed-note verifier key.
#[derive(Clone, PartialEq, Eq)]
pub struct LogKey {
    origin: String,
    public: PublicKey,
    id: [u8; 4],
}

impl LogKey {
    /// The key of the log `origin`.
    ///
    /// # Errors
    /// [`NoteError::Origin`], or [`NoteError::Key`] for a key of another algorithm than ed25519.
    pub fn new(origin: &str, public: PublicKey) -> Result<Self, NoteError> {
        if public.algorithm() != Algorithm::Ed25519 {
            return Err(NoteError::Key);
        }
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if origin.is_empty() || origin.len() > ORIGIN_BYTES_MAX || origin.chars().any(forbidden) {
            return Err(NoteError::Origin);
        }
        let digest: Hash = Sha256::new()
            .chain_update(origin)
            .chain_update([b'\n', ED25519_TYPE])
            .chain_update(public.as_bytes())
            .finalize()
            .into();
        let [a, b, c, d, ..] = digest;
        Ok(Self {
            origin: origin.to_owned(),
            public,
            id: [a, b, c, d],
        })
    }

    /// The log's name, which is also the key's.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The key itself.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519_TYPE];
        bytes.extend_from_slice(self.public.as_bytes());
        write!(
            f,
            "{}+{}+{}",
            self.origin,
            hex::encode(self.id),
            STANDARD.encode(bytes)
        )
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LogKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        // The base64 part may hold a plus sign, so split from the left: an origin and an id cannot.
        let (origin, rest) = text.split_once('+').ok_or(NoteError::Key)?;
        let (id, encoded) = rest.split_once('+').ok_or(NoteError::Key)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Key)?;
        let Some((&ED25519_TYPE, key)) = bytes.split_first() else {
            return Err(NoteError::Key);
        };
        let key = key.try_into().map_err(|_| NoteError::Key)?;
        let log_key = Self::new(origin, PublicKey::ed25519(key).map_err(|_| NoteError::Key)?)?;
        if hex_exact(id) == Some(log_key.id) && log_key.to_string() == text {
            Ok(log_key)
        } else {
            Err(NoteError::Key)
        }
    }
}

/// Origin and signing key of a log: what its one process holds.
#[derive(Debug)]
pub struct LogIdentity {
    key: LogKey,
    wallet: Wallet,
}

impl LogIdentity {
    /// The identity of the log `origin`, whose checkpoints `wallet` signs. That key signs nothing else.
    ///
    /// # Errors
    /// [`NoteError::Origin`], or [`NoteError::Key`] for a wallet of another algorithm than ed25519.
    pub fn new(origin: &str, wallet: Wallet) -> Result<Self, NoteError> {
        Ok(Self {
            key: LogKey::new(origin, wallet.public_key())?,
            wallet,
        })
    }

    /// The public half.
    #[must_use]
    pub const fn key(&self) -> &LogKey {
        &self.key
    }

    /// Signs the head of a tree. The caller makes sure that it never signs two heads of one log that disagree.
    #[must_use]
    pub fn sign(&self, size: u64, root: Hash) -> SignedCheckpoint {
        let checkpoint = Checkpoint { size, root };
        let signature = self.wallet.sign(checkpoint.text(&self.key.origin).as_bytes());
        SignedCheckpoint {
            checkpoint,
            key: self.key.clone(),
            signature,
        }
    }
}

/// A tree head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Leaves in the tree.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

impl Checkpoint {
    fn text(&self, origin: &str) -> String {
        format!("{origin}\n{}\n{}\n", self.size, STANDARD.encode(self.root))
    }
}

/// A tree head whose signature by the log's key holds: made by signing or by [`SignedCheckpoint::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    key: LogKey,
    signature: Signature,
}

impl SignedCheckpoint {
    /// The tree head.
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// The log's key.
    #[must_use]
    pub const fn key(&self) -> &LogKey {
        &self.key
    }

    /// The signed note: what a log serves as `checkpoint`.
    #[must_use]
    pub fn note(&self) -> String {
        let mut signed = self.key.id.to_vec();
        signed.extend_from_slice(&self.signature.0);
        let text = self.checkpoint.text(&self.key.origin);
        format!(
            "{text}\n\u{2014} {} {}\n",
            self.key.origin,
            STANDARD.encode(signed)
        )
    }

    /// Reads a note that `key` signed, in its one form.
    ///
    /// # Errors
    /// [`NoteError`] for any other text.
    pub fn parse(note: &str, key: &LogKey) -> Result<Self, NoteError> {
        let mut lines = note.split('\n');
        let mut line = || lines.next().ok_or(NoteError::Form);
        let (origin, size, root, _blank, signature) = (line()?, line()?, line()?, line()?, line()?);
        if origin != key.origin {
            return Err(NoteError::OtherLog);
        }
        let size = decimal_exact(size).ok_or(NoteError::Form)?;
        let root = decode_hash(root).ok_or(NoteError::Form)?;
        let encoded = signature
            .strip_prefix("\u{2014} ")
            .and_then(|rest| rest.strip_prefix(origin))
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or(NoteError::Form)?;
        let signed = STANDARD.decode(encoded).map_err(|_| NoteError::Form)?;
        let (id, signature) = signed.split_first_chunk::<4>().ok_or(NoteError::Form)?;
        if *id != key.id {
            return Err(NoteError::OtherLog);
        }
        let signature = Signature(signature.try_into().map_err(|_| NoteError::Form)?);
        let read = Self {
            checkpoint: Checkpoint { size, root },
            key: key.clone(),
            signature,
        };
        if read.note() != note {
            return Err(NoteError::Form);
        }
        let text = read.checkpoint.text(origin);
        key.public
            .verify(text.as_bytes(), &signature)
            .map_err(|_| NoteError::Signature)?;
        Ok(read)
    }
}

/// Strict base64 of 32 bytes.
pub(crate) fn decode_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
