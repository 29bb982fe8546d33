//! Fuzzes `decoders::record_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::record_bytes(bytes));
