//! Fuzzes `decoders::scan_settings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::scan_settings(bytes));
