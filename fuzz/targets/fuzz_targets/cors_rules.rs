//! libFuzzer entry of `fuzz::cors_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::cors_rules(input);
});
