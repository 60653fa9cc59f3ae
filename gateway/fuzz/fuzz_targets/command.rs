//! Any bytes as a gateway payload: a command or a close code, never a panic.
#![no_main]

use gateway::session::{CloseCode, Command};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match Command::decode(input) {
        Ok(Command::RequestMembers(request)) => {
            assert!(request.users.is_none_or(|users| users.len() <= 100));
            assert!(request.nonce.is_none_or(|nonce| nonce.len() <= 32));
        }
        Ok(Command::Identify(identify)) => {
            assert!(identify.shard.is_none_or(|[shard, count]| shard < count));
            assert!((50..=250).contains(&identify.large_threshold));
        }
        Ok(_) => {}
        Err(code) => assert_ne!(code, CloseCode::Normal),
    }
});
