#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tapedump_fuzz::context::run(data));
