//! libFuzzer entry of `fuzz::checksum_headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::checksum_headers(input);
});
