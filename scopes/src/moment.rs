//! A time in a grant: RFC 3339, UTC, whole seconds, in exactly one spelling (`2026-06-10T08:14:02Z`), as the protocol shows it.
//!
//! It is not a clock. Records have milliseconds and a type of their own in `activity`.

use std::fmt;
use std::str::FromStr;

use crate::calendar::Second;
use crate::canonical::serde_as_text;

const LAST_S: u64 = 253_402_300_799;

/// Seconds since 1970, UTC, at most the end of the year 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The second that `ms` after the start of 1970 falls into; later than the year 9999 is its last second.
    #[must_use]
    pub fn from_ms(ms: u64) -> Self {
        Self((ms / 1_000).min(LAST_S))
    }

    /// Milliseconds since 1970, UTC.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0 * 1_000
    }
}

/// A text that is no time in the one accepted spelling.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a time is written 2026-06-10T08:14:02Z, from 1970 to 9999")]
pub struct NotAMoment;

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", Second(self.0))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Moment {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let moment = Self(Second::read(text).ok_or(NotAMoment)?.0);
        // Separators and ranges show when the time is written again.
        if moment.to_string() == text {
            Ok(moment)
        } else {
            Err(NotAMoment)
        }
    }
}

serde_as_text!(Moment);
