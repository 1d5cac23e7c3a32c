//! The part of a grant that only its agent reads: names, a prefix, scope keys, sealed to the agent's key.
//!
//! Sealing and opening are the vault room's; here are the form and its bounds.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The longest sealed part, in bytes.
pub const SEALED_BYTES_MAX: usize = 32 * 1024;

/// Sealed bytes and the number of their form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapped {
    /// How they are sealed, from 1.
    pub format: u8,
    /// The bytes, as lower-case hex: 1 to [`SEALED_BYTES_MAX`].
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub sealed: Vec<u8>,
}

impl Wrapped {
    pub(crate) fn is_acceptable(&self) -> bool {
        self.format >= 1 && (1..=SEALED_BYTES_MAX).contains(&self.sealed.len())
    }
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    // Upper case would be a second spelling; the canonical form refuses it, and so does this.
    match text.bytes().any(|c| c.is_ascii_uppercase()) {
        true => Err(D::Error::custom("not lower-case hex")),
        false => hex::decode(text).map_err(D::Error::custom),
    }
}
