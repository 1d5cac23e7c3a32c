//! libFuzzer entry of `fuzz::tagging_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::tagging_header(input);
});
