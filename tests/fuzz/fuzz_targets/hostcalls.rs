//! Any bytes are a script for a guest that means harm; see the crate `hostile`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostile::run(&hostile::Script::read(bytes)));
