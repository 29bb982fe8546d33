//! Fuzzes `decoders::hub_configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::hub_configuration(bytes));
