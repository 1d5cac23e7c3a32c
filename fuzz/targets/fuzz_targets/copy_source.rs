//! libFuzzer entry of `fuzz::copy_source`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::copy_source(input);
});
