//! libFuzzer entry of `fuzz::lifecycle_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::lifecycle_rules(input);
});
