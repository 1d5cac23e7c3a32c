//! libFuzzer entry of `fuzz::post_policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::post_policy(input);
});
