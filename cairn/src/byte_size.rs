//! Amounts of bytes as people type and read them: `500MiB`, `2GiB`, `1500`.
//!
//! Units are powers of 1,024 and say so (`KiB`, `MiB`, `GiB`, `TiB`); `MB` is refused, because half its readers take it
//! for something else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// An amount of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The text is not an amount of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount of bytes is a whole number, alone or with KiB, MiB, GiB or TiB, for example 500MiB")]
pub struct ByteSizeError;

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let (digits, shift) = UNITS
            .iter()
            .find_map(|(unit, shift)| text.strip_suffix(unit).map(|digits| (digits, *shift)))
            .unwrap_or((text, 0));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ByteSizeError);
        }
        let count: u64 = digits.parse().map_err(|_| ByteSizeError)?;
        count.checked_mul(1 << shift).map(Self).ok_or(ByteSizeError)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in UNITS {
            if self.0 >= 1 << shift {
                #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
                let amount = self.0 as f64 / (1_u64 << shift) as f64;
                return write!(out, "{amount:.2} {unit}");
            }
        }
        write!(out, "{} B", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(source)? {
            Form::Number(bytes) => Ok(Self(bytes)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1_500),
            ("4KiB", 4_096),
            ("2GiB", 1 << 31),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
    }

    #[test]
    fn ambiguous_and_overflowing_amounts_are_refused() {
        for text in ["", "GiB", "1MB", "1 GiB", "-1", "1.5GiB", "99999999999TiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError), "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!(ByteSize(1_536 << 20).to_string(), "1.50 GiB");
        assert_eq!(ByteSize(1_023).to_string(), "1023 B");
    }
}
