//! libFuzzer entry of `fuzz::post_form`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::post_form(input);
});
