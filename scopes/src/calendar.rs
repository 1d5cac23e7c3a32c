//! Days of the proleptic Gregorian calendar, from 1970 on.
//!
//! It is not a clock and knows no time zones. Leap seconds do not exist here, as in POSIX time.

use std::fmt;

const DAY_S: u64 = 86_400;

/// Seconds since 1970, written `2026-06-10T08:14:02`: what the spellings of a time have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second(pub u64);

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0 / DAY_S);
        let s = self.0 % DAY_S;
        let (hour, minute, second) = (s / 3_600, s / 60 % 60, s % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )
    }
}

impl Second {
    /// Reads the digits of a text that begins so. Separators and ranges are not looked at: who needs one spelling writes it again.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let number = |range| digits(text, range);
        let day = days(number(0..4)?, number(5..7)?, number(8..10)?)?;
        let of_day = number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?;
        Some(Self(day * DAY_S + of_day))
    }
}

/// The number that stands at these bytes of a text, if nothing but digits does; at most 19 of them.
#[must_use]
pub fn digits(text: &str, range: std::ops::Range<usize>) -> Option<u64> {
    let digits = text.get(range)?;
    let all = digits.bytes().all(|c| c.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

/// Days since 1970 to (year, month, day), by the 400-year cycle of 146,097 days, counted from a 1 March.
#[must_use]
pub const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (cycle * 400 + year + carry, month, day)
}

/// The inverse of [`date`]: none for what is no date of 1970 to 9999.
#[must_use]
pub fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (shifted, of_march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (cycle, of_cycle) = (shifted / 400, shifted % 400);
    let days =
        cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + (153 * of_march + 2) / 5 + day - 1;
    let days = days - 719_468;
    // The 31st of a shorter month is another day.
    (date(days) == (year, month, day)).then_some(days)
}
