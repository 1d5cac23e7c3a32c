//! libFuzzer entry of `fuzz::peer_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::peer_message(input);
});
