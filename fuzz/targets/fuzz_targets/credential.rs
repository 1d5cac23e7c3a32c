//! libFuzzer entry of `fuzz::credential`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::credential(input);
});
