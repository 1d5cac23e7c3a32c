//! Canonical JSON (RFC 8785): the one byte form of everything that this project signs, hashes or stores as JSON.
//!
//! It is not a general JSON library. Two things that RFC 8785 allows are refused, because software in other
//! languages disagrees about them: fractions, and integers beyond 2^53 - 1. A 64-bit integer is therefore a decimal
//! string in JSON (see [`decimal`]).
//!
//! The invariant: [`decode`] accepts exactly the bytes that [`encode`] would write, so there are no two spellings of
//! one value, no unknown members (types say `deny_unknown_fields`), no duplicate ones and no trailing bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest integer that is written as a JSON number: 2^53 - 1, which every JSON reader keeps exact.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Why bytes are not canonical JSON of the type asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CanonicalError {
    /// Not JSON, or not of the shape asked for; the place is where reading stopped.
    #[error("not the expected JSON at line {line}, column {column}")]
    Json {
        /// Line, from 1; 0 when the value, not its text, was at fault.
        line: usize,
        /// Column, from 1; 0 when the value, not its text, was at fault.
        column: usize,
    },
    /// A fraction, or an integer beyond 2^53 - 1 in either direction.
    #[error("a number that is not an integer between -(2^53 - 1) and 2^53 - 1")]
    Number,
    /// Well-formed, but not the byte form that encoding it again gives.
    #[error("not in canonical form (RFC 8785)")]
    NotCanonical,
}

impl From<serde_json::Error> for CanonicalError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json {
            line: error.line(),
            column: error.column(),
        }
    }
}

/// The canonical bytes of `value`.
///
/// # Errors
/// [`CanonicalError::Number`] for a fraction or an integer that does not fit, [`CanonicalError::Json`] for a value
/// that JSON cannot hold.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)?;
    if !numbers_are_exact(&value) {
        return Err(CanonicalError::Number);
    }
    Ok(serde_json_canonicalizer::to_vec(&value)?)
}

/// Reads a value from its canonical bytes, and from no others.
///
/// # Errors
/// Any [`CanonicalError`]; the caller limits the length of `bytes` first.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CanonicalError> {
    let value: T = serde_json::from_slice(bytes)?;
    if encode(&value)? != bytes {
        return Err(CanonicalError::NotCanonical);
    }
    Ok(value)
}

fn numbers_are_exact(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => {
            number.as_u64().is_some_and(|n| n <= NUMBER_MAX)
                || number.as_i64().is_some_and(|n| n.unsigned_abs() <= NUMBER_MAX)
        }
        Value::Array(items) => items.iter().all(numbers_are_exact),
        Value::Object(members) => members.values().all(numbers_are_exact),
    }
}

/// Reads lower-case hex of exactly `N` bytes; anything else is `None`.
#[must_use]
pub fn hex_exact<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.bytes().any(|c| c.is_ascii_uppercase()) {
        return None;
    }
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Reads a decimal u64 without sign, spaces or leading zeros; anything else is `None`.
#[must_use]
pub fn decimal_exact(text: &str) -> Option<u64> {
    if !text.bytes().all(|c| c.is_ascii_digit()) || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

/// `#[serde(with = "scopes::canonical::decimal")]`: a u64 as a decimal string.
pub mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the decimal string.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads the decimal string, strictly.
    ///
    /// # Errors
    /// When it is not a decimal u64 in its only form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::decimal_exact(&text).ok_or_else(|| D::Error::custom("not a decimal u64"))
    }
}

/// `#[serde(with = "scopes::canonical::decimal_option")]`: an optional u64 as a decimal string or null.
pub mod decimal_option {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the decimal string or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the decimal string, strictly, or null.
    ///
    /// # Errors
    /// When it is neither null nor a decimal u64 in its only form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        super::decimal_exact(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom("not a decimal u64"))
    }
}

/// Implements `Serialize` and `Deserialize` of a type as its `Display` and `FromStr` text.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
