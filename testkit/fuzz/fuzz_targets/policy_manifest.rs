//! Fuzzes `decoders::policy_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::policy_manifest(bytes));
