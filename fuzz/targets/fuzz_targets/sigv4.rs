//! libFuzzer entry of `fuzz::sigv4`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::sigv4(input);
});
