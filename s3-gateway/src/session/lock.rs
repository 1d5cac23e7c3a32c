//! Object lock: what keeps a version from being deleted, and how that may change.
//!
//! It decides on what is stored and on the time; who may bypass governance is decided before. What a lock cannot promise: whoever
//! holds the vault's root key holds the vault. Invariant: a version under an active lock is never deleted, and its lock is
//! only made stronger, but for governance where the caller may bypass it.
//!
//! Source: "How S3 Object Lock works" in the Amazon S3 user guide.

use vault::object::{Lock, Retention};

use super::SessionError;

/// The modes of retention, as entries have them.
pub const GOVERNANCE: u8 = 1;
/// See [`GOVERNANCE`].
pub const COMPLIANCE: u8 = 2;

/// Whether a version under this lock may be deleted for good.
///
/// # Errors
/// [`SessionError::Locked`].
pub(super) fn check_delete(lock: &Lock, now_ms: u64, bypass: bool) -> Result<(), SessionError> {
    if lock.legal_hold || lock.retention.is_some_and(|held| holds(&held, now_ms, bypass)) {
        return Err(SessionError::Locked);
    }
    Ok(())
}

/// Whether a version's retention may become this one, or end.
///
/// # Errors
/// [`SessionError::Locked`].
pub fn check_retention_change(
    before: Option<Retention>,
    after: Option<Retention>,
    now_ms: u64,
    bypass: bool,
) -> Result<(), SessionError> {
    let Some(before) = before.filter(|held| holds(held, now_ms, bypass)) else {
        return Ok(());
    };
    let stronger = after.is_some_and(|after| after.mode == before.mode && after.until_ms >= before.until_ms);
    if stronger {
        Ok(())
    } else {
        Err(SessionError::Locked)
    }
}

fn holds(retention: &Retention, now_ms: u64, bypass: bool) -> bool {
    retention.until_ms > now_ms && !(bypass && retention.mode == GOVERNANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(mode: u8, until_ms: u64) -> Option<Retention> {
        Some(Retention { mode, until_ms })
    }

    #[test]
    fn a_lock_holds_until_its_time_and_a_hold_until_it_is_taken_off() {
        let lock = |retention, legal_hold| Lock {
            retention,
            legal_hold,
        };
        for (lock, bypass, may) in [
            (lock(None, false), false, true),
            (lock(None, true), true, false),
            (lock(until(GOVERNANCE, 11), false), false, false),
            (lock(until(GOVERNANCE, 11), false), true, true),
            (lock(until(COMPLIANCE, 11), false), true, false),
            (lock(until(COMPLIANCE, 10), false), false, true),
            (lock(until(GOVERNANCE, 11), true), true, false),
        ] {
            assert_eq!(check_delete(&lock, 10, bypass).is_ok(), may, "{lock:?} {bypass}");
        }
    }

    #[test]
    fn a_retention_becomes_longer_and_never_weaker_but_by_a_bypass_of_governance() {
        let (soft, hard) = (until(GOVERNANCE, 20), until(COMPLIANCE, 20));
        for (before, after, bypass, may) in [
            (None, soft, false, true),
            (soft, until(GOVERNANCE, 21), false, true),
            (soft, until(GOVERNANCE, 19), false, false),
            (soft, until(GOVERNANCE, 19), true, true),
            (soft, hard, false, false),
            (soft, hard, true, true),
            (soft, None, false, false),
            (hard, until(COMPLIANCE, 30), false, true),
            (hard, until(COMPLIANCE, 19), true, false),
            (hard, until(GOVERNANCE, 30), true, false),
            (hard, None, true, false),
            (until(COMPLIANCE, 10), None, false, true),
        ] {
            let decided = check_retention_change(before, after, 10, bypass).is_ok();
            assert_eq!(decided, may, "{before:?} {after:?} {bypass}");
        }
    }
}
