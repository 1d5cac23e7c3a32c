//! How far a peer said that a drive's log is flushed: an older state of it that was put back says less.
//!
//! It believes the peer; one that lies about it gives itself away by what it does not have. Invariant: a drive that was made anew is not taken for
//! one that went back, and what went back once is told once.

use engine::log::Position;

use crate::peer::message::{DriveReport, DriveStanding};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flushed {
    log_id: u64,
    upto: Position,
}

impl Flushed {
    /// Takes the peer's word. If the same log is flushed less far than it was: from where to where it went back.
    pub(super) fn note(&mut self, report: &DriveReport) -> Option<(Position, Position)> {
        // One that is lost has no log to speak of.
        if report.standing == DriveStanding::Lost {
            return None;
        }
        let now = Self {
            log_id: report.log_id,
            upto: Position(report.flushed),
        };
        let before = std::mem::replace(self, now);
        (before.log_id == now.log_id && now.upto < before.upto).then_some((before.upto, now.upto))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(standing: DriveStanding, log_id: u64, flushed: u64) -> DriveReport {
        DriveReport {
            standing,
            log_id,
            flushed,
            ..DriveReport::unknown([1; 16])
        }
    }

    #[test]
    fn only_the_same_log_that_is_shorter_went_back_and_that_is_told_once() {
        let mut flushed = Flushed::default();
        let present = DriveStanding::Present;
        assert_eq!(flushed.note(&report(present, 7, 100)), None);
        assert_eq!(flushed.note(&report(present, 7, 100)), None);
        assert_eq!(flushed.note(&report(DriveStanding::Lost, 0, 0)), None);
        assert_eq!(flushed.note(&report(DriveStanding::Full, 7, 140)), None);
        let went_back = Some((Position(140), Position(60)));
        assert_eq!(flushed.note(&report(present, 7, 60)), went_back);
        assert_eq!(flushed.note(&report(present, 7, 60)), None);
        assert_eq!(flushed.note(&report(present, 8, 10)), None, "it was made anew");
    }
}
