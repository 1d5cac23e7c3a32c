//! Spans of time as people type them: `90d`, `24h`, `30m`, `10s`.
//!
//! One number and one unit, nothing else: no fractions, no months (whose length is a matter of opinion), no bare
//! numbers (whose unit would be a guess).

use std::fmt;
use std::str::FromStr;

/// A span of whole seconds, at most a hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    seconds: u64,
}

/// Why a text is not a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// The text is not digits followed by one of the four units.
    #[error("a duration is a number and one of s, m, h, d, for example 90d or 30m")]
    Shape,
    /// The span is zero, or longer than a hundred years.
    #[error("a duration is between 1s and {SPAN_DAYS_MAX}d")]
    Range,
}

impl Span {
    /// The span in milliseconds.
    pub fn as_ms(self) -> u64 {
        self.seconds.saturating_mul(1_000)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let unit = text.chars().last().ok_or(SpanError::Shape)?;
        let digits = text.strip_suffix(unit).ok_or(SpanError::Shape)?;
        let seconds_per_unit: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => SECONDS_PER_DAY,
            _ => return Err(SpanError::Shape),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SpanError::Shape);
        }
        let count: u64 = digits.parse().map_err(|_| SpanError::Range)?;
        let seconds = count.checked_mul(seconds_per_unit).ok_or(SpanError::Range)?;
        if seconds == 0 || seconds > SPAN_DAYS_MAX * SECONDS_PER_DAY {
            return Err(SpanError::Range);
        }
        Ok(Self { seconds })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self.seconds {
            seconds if seconds % SECONDS_PER_DAY == 0 => (seconds / SECONDS_PER_DAY, 'd'),
            seconds if seconds % 3_600 == 0 => (seconds / 3_600, 'h'),
            seconds if seconds % 60 == 0 => (seconds / 60, 'm'),
            seconds => (seconds, 's'),
        };
        write!(out, "{count}{unit}")
    }
}

const SECONDS_PER_DAY: u64 = 86_400;
const SPAN_DAYS_MAX: u64 = 36_525;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_means_what_it_says() {
        for (text, ms) in [
            ("10s", 10_000),
            ("30m", 1_800_000),
            ("24h", 86_400_000),
            ("90d", 7_776_000_000),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().as_ms(), ms, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", "d", "10", "1.5h", "-1d", "+1d", "1 d", "1w", "1dd", "१d", "1é",
        ] {
            assert_eq!(text.parse::<Span>(), Err(SpanError::Shape), "{text}");
        }
        for text in ["0s", "40000d", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(text.parse::<Span>(), Err(SpanError::Range), "{text}");
        }
    }

    #[test]
    fn a_span_prints_in_its_largest_whole_unit() {
        for (text, shown) in [("48h", "2d"), ("90m", "90m"), ("3600s", "1h"), ("61s", "61s")] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), shown);
        }
    }
}
