//! Fuzzes `decoders::heartbeat_payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::heartbeat_payload(bytes));
