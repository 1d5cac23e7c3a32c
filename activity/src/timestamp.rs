//! A record's time: RFC 3339, UTC, milliseconds, in exactly one spelling (`2026-06-10T08:14:02.123Z`).
//!
//! It is not a clock. Dates are those of `scopes::calendar`, from 1970 to the end of 9999.

use std::fmt;
use std::str::FromStr;

use scopes::calendar::{Second, digits};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

const LAST_MS: u64 = 253_402_300_799_999;

/// Milliseconds since 1970, UTC, at most the end of the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `ms` after the start of 1970; later than the year 9999 is its last millisecond.
    #[must_use]
    pub fn from_ms(ms: u64) -> Self {
        Self(ms.min(LAST_MS))
    }

    /// Milliseconds since 1970, UTC.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}Z", Second(self.0 / 1_000), self.0 % 1_000)
    }
}

/// A text that is no time in the one accepted spelling.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a time is written 2026-06-10T08:14:02.123Z, from 1970 to 9999")]
pub struct NotATime;

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let Second(seconds) = Second::read(text).ok_or(NotATime)?;
        let time = Self::from_ms(seconds * 1_000 + digits(text, 20..23).ok_or(NotATime)?);
        // Separators and ranges show when the time is written again.
        if time.to_string() == text {
            Ok(time)
        } else {
            Err(NotATime)
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
