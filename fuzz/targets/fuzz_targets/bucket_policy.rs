//! libFuzzer entry of `fuzz::bucket_policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::bucket_policy(input);
});
