//! Fuzzes `decoders::agent_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::agent_config(bytes));
