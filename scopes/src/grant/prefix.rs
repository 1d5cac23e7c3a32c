//! A prefix of object keys that a grant is limited to: sealed, but that there is one stands in the clear.
//!
//! A node must not read object names, so the prefix is in the sealed part. A commitment to it is not, so that a sealed part that is missing, or opens
//! to something else, is no permission: whoever decides needs a prefix that opens the commitment.
//!
//! Invariant: a commitment of one grant is opened by no other prefix and of no other grant, and tells nothing of the prefix to who has not its nonce.

use std::fmt;
use std::str::FromStr;

use crate::canonical::{hex_exact, serde_as_text};
use crate::ids::{GrantId, IdError};

/// The longest prefix, in bytes: the longest object key.
pub const PREFIX_BYTES_MAX: usize = 1_024;

/// A hash that says that there is a prefix, 64 hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment(pub [u8; 32]);

/// A prefix and the nonce of its commitment: what the sealed part holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    nonce: [u8; 32],
}

impl Prefix {
    /// A prefix of 1 to [`PREFIX_BYTES_MAX`] bytes; none for any other. The nonce was drawn for this version of this grant.
    #[must_use]
    pub fn new(text: &str, nonce: [u8; 32]) -> Option<Self> {
        let fits = (1..=PREFIX_BYTES_MAX).contains(&text.len());
        fits.then(|| Self {
            text: text.to_owned(),
            nonce,
        })
    }

    /// What object keys begin with.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `derive_key("cairn v1 grant prefix", grant id ‖ nonce ‖ text)`.
    #[must_use]
    pub fn commitment(&self, grant: &GrantId) -> Commitment {
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 grant prefix");
        hasher.update(&grant.0).update(&self.nonce);
        hasher.update(self.text.as_bytes());
        Commitment(*hasher.finalize().as_bytes())
    }

    /// Whether this is what the grant committed to.
    #[must_use]
    pub fn opens(&self, grant: &GrantId, commitment: &Commitment) -> bool {
        self.commitment(grant) == *commitment
    }

    /// Whether every key that begins with this begins with the parent's.
    #[must_use]
    pub fn is_within(&self, parent: &Self) -> bool {
        self.text.starts_with(&parent.text)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefix").finish_non_exhaustive()
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Commitment {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        hex_exact(text).map(Self).ok_or(IdError::Commitment)
    }
}

serde_as_text!(Commitment);
