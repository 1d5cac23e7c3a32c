//! libFuzzer entry of `fuzz::log_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::log_frame(input);
});
