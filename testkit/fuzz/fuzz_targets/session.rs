//! Fuzzes `decoders::session_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::session_messages(bytes));
