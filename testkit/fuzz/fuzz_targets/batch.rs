//! Fuzzes `decoders::batch_payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::batch_payload(bytes));
