//! libFuzzer entry of `fuzz::access_list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::access_list(input);
});
