//! When the background collector works, and how hard: a pure machine over the last append that changed the vault.
//!
//! It knows no clock and no plan; the collector asks at each look. Invariant: a vault in which nothing changes comes to rest
//! after finitely many looks, and at rest nothing of it is read or written.

use engine::slots::Sequence;

/// The most thorough rounds in a row, should they keep finding work that their own work made.
const THOROUGH_MAX: u32 = 8;

/// How thorough a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What is worth it while clients write.
    Background,
    /// What is worth it when nobody writes: as for `gc`, but an index checkpoint only for what it frees.
    Idle,
    /// Until nothing more can be collected.
    Everything,
}

/// What the looks so far have seen.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// The last change at the end of the last round.
    seen: Option<Sequence>,
    /// The last change that there is nothing left to do for.
    settled: Option<Sequence>,
    /// Thorough rounds since others last changed something.
    thorough: u32,
    /// Whether the background work was this gateway's at the last look.
    works: bool,
}

impl Looks {
    /// Notes whose the background work is. Whether this gateway takes it over with this look: what it knew before counts no more.
    pub(super) fn take_over(&mut self, works: bool) -> bool {
        let begins = works && !self.works;
        if begins {
            *self = Self::default();
        }
        self.works = works;
        begins
    }

    /// How thorough the next round is to be, if there is anything to do. `changed` is the last change of the vault.
    pub(super) fn next(&self, changed: Sequence) -> Option<Depth> {
        if self.settled == Some(changed) {
            None
        } else if self.seen == Some(changed) {
            Some(Depth::Idle)
        } else {
            Some(Depth::Background)
        }
    }

    /// Notes a round: the last change `before` and `after` it, and whether it left nothing behind that it wanted to collect.
    pub(super) fn done(&mut self, depth: Depth, before: Sequence, after: Sequence, complete: bool) {
        self.seen = Some(after);
        if depth == Depth::Background {
            self.thorough = 0;
            return;
        }
        self.thorough += 1;
        // What cannot be collected now, such as a pack that cannot be read, is not tried for ever.
        if (complete && before == after) || self.thorough >= THOROUGH_MAX {
            self.settled = Some(after);
            self.thorough = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Depth, Looks, Sequence, THOROUGH_MAX};

    const AT: Sequence = Sequence(7);

    #[test]
    fn a_round_is_thorough_once_nothing_changed_since_the_last_and_then_there_is_rest_until_something_does() {
        let mut looks = Looks::default();
        assert_eq!(looks.next(AT), Some(Depth::Background));
        looks.done(Depth::Background, AT, Sequence(9), true);
        assert_eq!(
            looks.next(Sequence(10)),
            Some(Depth::Background),
            "somebody wrote"
        );
        looks.done(Depth::Background, Sequence(10), Sequence(10), true);
        assert_eq!(looks.next(Sequence(10)), Some(Depth::Idle));
        looks.done(Depth::Idle, Sequence(10), Sequence(12), true);
        assert_eq!(looks.next(Sequence(12)), Some(Depth::Idle), "it moved something");
        looks.done(Depth::Idle, Sequence(12), Sequence(12), true);
        assert_eq!(looks.next(Sequence(12)), None);
        assert_eq!(looks.next(Sequence(13)), Some(Depth::Background));
    }

    #[test]
    fn who_takes_the_background_work_over_begins_anew_and_who_has_it_goes_on() {
        let mut looks = Looks::default();
        assert!(looks.take_over(true));
        looks.done(Depth::Idle, AT, AT, true);
        assert!(!looks.take_over(true));
        assert_eq!(looks.next(AT), None);
        assert!(!looks.take_over(false));
        assert!(looks.take_over(true));
        assert_eq!(looks.next(AT), Some(Depth::Background));
    }

    #[test]
    fn what_was_left_behind_is_looked_for_again() {
        let mut looks = Looks::default();
        looks.done(Depth::Idle, AT, AT, false);
        assert_eq!(looks.next(AT), Some(Depth::Idle));
    }

    #[test]
    fn rounds_that_only_find_what_they_made_come_to_an_end() {
        let mut looks = Looks::default();
        let mut at = AT;
        for _ in 0..THOROUGH_MAX {
            assert_ne!(looks.next(at), None);
            let after = Sequence(at.0 + 1);
            looks.done(Depth::Idle, at, after, true);
            at = after;
        }
        assert_eq!(looks.next(at), None);
    }
}
