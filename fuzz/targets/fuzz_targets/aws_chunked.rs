//! libFuzzer entry of `fuzz::aws_chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::aws_chunked(input);
});
