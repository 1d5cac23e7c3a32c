//! libFuzzer entry of `fuzz::ledger_entry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::ledger_entry(input);
});
