//! Under which leases shards may be put, in a form that never grows: what the ledger says of its leases, and a drive remembers.
//!
//! It knows no holder. Invariant: two of them taken together accept what both accept, in whichever order they come; so word that is older
//! than what is known brings no ended lease back.

use std::collections::BTreeSet;

use super::LIVE_LEASES_MAX;
use crate::codec::{DecodeError, Reader, Writer};

/// See the module. The default accepts every lease: nothing was ever heard of one that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptedLeases {
    /// Every number from this one on is accepted, ...
    from: u64,
    /// ... and these below it.
    live: BTreeSet<u64>,
}

impl AcceptedLeases {
    /// Accepts every number from `from` on, and those of `live`.
    pub fn new(from: u64, live: impl IntoIterator<Item = u64>) -> Self {
        Self {
            from,
            live: live.into_iter().filter(|number| *number < from).collect(),
        }
    }

    /// Accepts every number from `lowest` on, and nothing else.
    pub fn at_least(lowest: u64) -> Self {
        // The lowest counts as one that is known.
        Self::new(lowest.saturating_add(1), [lowest])
    }

    /// Whether a put under this lease is taken.
    pub fn accepts(&self, lease: u64) -> bool {
        lease >= self.from || self.live.contains(&lease)
    }

    /// The lowest that is accepted.
    pub fn lowest(&self) -> u64 {
        self.live.first().copied().unwrap_or(self.from)
    }

    /// The highest number that was ever given out, as far as is known here; 0 if none is.
    pub fn highest_known(&self) -> u64 {
        self.from.saturating_sub(1)
    }

    /// What both accept.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let both = self.live.union(&other.live).copied();
        let both = both.filter(|number| self.accepts(*number) && other.accepts(*number));
        Self::new(self.from.max(other.from), both.collect::<Vec<_>>())
    }

    /// Whether no more than so many are listed as one may be told of.
    pub fn is_bounded(&self) -> bool {
        self.live.len() <= LIVE_LEASES_MAX
    }

    /// Writes it: from where on, then the list of those below.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u64(self.from);
        let live: Vec<u64> = self.live.iter().copied().collect();
        writer.list_with(&live, |writer, number| writer.u64(*number));
    }

    /// Reads it.
    ///
    /// # Errors
    /// More than [`LIVE_LEASES_MAX`] of them, or not in ascending order below the first field.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let from = reader.u64()?;
        let listed: Vec<u64> = reader.list_with(LIVE_LEASES_MAX, |reader| reader.u64())?;
        let ends = listed.iter().skip(1).copied().chain([from]);
        match listed.iter().zip(ends).find(|(number, next)| **number >= *next) {
            None => Ok(Self::new(from, listed)),
            Some((number, _)) => Err(DecodeError::BadValue {
                what: "lease that is accepted",
                got: *number,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(accepted: &AcceptedLeases) -> Vec<u8> {
        let mut writer = Writer::new();
        accepted.encode(&mut writer);
        writer.into_vec()
    }

    #[test]
    fn what_two_say_together_is_what_both_accept_whichever_comes_first() {
        let older = AcceptedLeases::new(6, [2, 5]);
        let newer = AcceptedLeases::new(9, [5, 8]);
        let both = older.and(&newer);
        assert_eq!(both, newer.and(&older));
        assert_eq!(both, newer, "older word adds nothing");
        assert_eq!(both.and(&both), both);
        let accepted: Vec<u64> = (0..12).filter(|lease| both.accepts(*lease)).collect();
        assert_eq!(accepted, [5, 8, 9, 10, 11]);
        assert_eq!((both.lowest(), both.highest_known()), (5, 8));
        let every = AcceptedLeases::default();
        assert!(every.accepts(0) && every.highest_known() == 0);
        assert_eq!(every.and(&older), older);
        let least = AcceptedLeases::at_least(5);
        let accepted: Vec<u64> = (0..8).filter(|lease| least.accepts(*lease)).collect();
        assert_eq!((accepted, least.highest_known()), (vec![5, 6, 7], 5));
    }

    #[test]
    fn it_reads_back_and_nothing_else_does() {
        for accepted in [AcceptedLeases::default(), AcceptedLeases::new(9, [5, 8])] {
            let bytes = encoded(&accepted);
            assert_eq!(AcceptedLeases::decode(&mut Reader::new(&bytes)), Ok(accepted));
        }
        let many = AcceptedLeases::new(1_000, 0..LIVE_LEASES_MAX as u64 + 1);
        assert!(!many.is_bounded());
        let (mut unsorted, mut above) = (encoded(&AcceptedLeases::new(9, [5, 6])), Vec::new());
        unsorted[9] = 6;
        above.extend(encoded(&AcceptedLeases::new(9, [5])));
        above[0] = 5;
        for bad in [encoded(&many), unsorted, above, vec![1; 12], Vec::new()] {
            assert!(AcceptedLeases::decode(&mut Reader::new(&bad)).is_err());
        }
    }
}
