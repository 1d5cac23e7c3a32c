//! The program's allocator: mimalloc, which takes well to chunks and shards that are made on one thread and dropped on
//! another; glibc's answers them with page faults.
//!
//! Invariant: what is freed goes back to the system within [`GIVEN_BACK_MS`], so that the peak of many uploads is what they
//! hold at one time and not what they held in the last second; and what threads have freed for each other is looked for
//! ten times as often as by default, so that pages do not stay half empty.
//!
//! It is built without transparent huge pages: with them what is freed goes back 2 MiB at a time or not at all, which took 50 MB
//! of every process and 100 MB under 256 slow uploads, for 2 to 5 % of the processor time of large uploads.
//!
//! The one `unsafe` call is here because mimalloc's settings are C functions, and its environment variables would have to be set
//! before the process starts.

use std::ffi::c_long;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in mimalloc.h: milliseconds after which freed memory is given back.
const PURGE_DELAY: i32 = 15;
/// mimalloc's own value is 1,000, which costs eight uploads of 1 GiB 60 MB more at their peak and saves nothing measurable.
const GIVEN_BACK_MS: c_long = 10;

/// mimalloc's own value.
const KEPT_MS: c_long = 1_000;

/// `mi_option_generic_collect` in mimalloc.h: slow allocations after which a thread collects what others have freed in its pages.
const GENERIC_COLLECT: i32 = 34;
/// mimalloc's own value is 10,000, with which memory under mixed uploads settles 20 MB higher; no cost was to be seen.
const COLLECTED_EVERY: c_long = 1_000;

/// To be called first in the process.
pub(crate) fn give_back_soon() {
    for (option, value) in [(PURGE_DELAY, GIVEN_BACK_MS), (GENERIC_COLLECT, COLLECTED_EVERY)] {
        // SAFETY: the function stores a number into mimalloc's table of options, at an index that it checks itself.
        unsafe { libmimalloc_sys::mi_option_set(option, value) }
    }
}

/// For a storage peer, after [`give_back_soon`]: shards of one size come and go all the time, and each that lies where one lay before costs
/// no page faults. A peer holds little at one time, so that what it keeps for a second is little too.
pub(crate) fn keep_for_a_second() {
    // SAFETY: as above.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(number: i32) -> c_long {
        // SAFETY: reads a number from the same table.
        unsafe { libmimalloc_sys::mi_option_get(number) }
    }

    #[test]
    fn the_options_are_those_with_mimallocs_own_values_until_they_are_set() {
        if std::env::vars_os().all(|(name, _)| !name.to_string_lossy().starts_with("MIMALLOC_")) {
            assert_eq!([PURGE_DELAY, GENERIC_COLLECT].map(option), [1_000, 10_000]);
        }
        give_back_soon();
        assert_eq!(
            [PURGE_DELAY, GENERIC_COLLECT].map(option),
            [GIVEN_BACK_MS, COLLECTED_EVERY]
        );
    }
}
