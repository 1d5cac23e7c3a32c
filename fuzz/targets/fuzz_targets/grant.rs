//! libFuzzer entry of `fuzz::grant`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::grant(input);
});
