//! The program's allocator: mimalloc, which takes well to chunks and shards that are made on one thread and dropped on
//! another; glibc's answers them with page faults.
//!
//! Invariant: what is freed goes back to the system within [`GIVEN_BACK_MS`], so that the peak of many uploads is what they
//! hold at one time and not what they held in the last second.
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

/// To be called first in the process.
pub(crate) fn give_back_soon() {
    // SAFETY: the function stores a number into mimalloc's table of options, at an index that it checks itself.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, GIVEN_BACK_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge_delay() -> c_long {
        // SAFETY: reads a number from the same table.
        unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }
    }

    #[test]
    fn the_option_is_the_one_whose_value_is_a_second_until_it_is_set() {
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            assert_eq!(purge_delay(), 1_000);
        }
        give_back_soon();
        assert_eq!(purge_delay(), GIVEN_BACK_MS);
    }
}
