//! Fuzzes `decoders::spool_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provost_fuzz::decoders::spool_manifest(bytes));
