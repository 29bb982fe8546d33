//! Fuzzes `decoders::policy_set_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::policy_set_bytes(bytes));
