#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clan_connect::fuzz::run("yggdrasil_tree", data));
