//! libFuzzer entry of `fuzz::pack_claims`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::pack_claims(input);
});
