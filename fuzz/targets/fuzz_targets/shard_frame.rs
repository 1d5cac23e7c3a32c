//! libFuzzer entry of `fuzz::shard_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::shard_frame(input);
});
