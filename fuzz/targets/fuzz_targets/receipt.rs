//! libFuzzer entry of `fuzz::receipt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::receipt(input);
});
