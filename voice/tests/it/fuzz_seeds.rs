//! The fuzz targets' seeds, and a seeded loop through the same entry points: changed seeds, in every test run.
//!
//! `UPDATE=1 cargo test -p voice fuzz_seeds` writes the seeds again.

use std::path::Path;

use crate::support::Chance;

/// `ROUNDS=n` makes it longer.
const ROUNDS: u64 = 3000;

fn run(target: &str, input: &[u8]) {
    match target {
        "packets" => voice::fuzzing::packets(input),
        "offers" => voice::fuzzing::offers(input),
        "datagrams" => voice::fuzzing::datagrams(input),
        _ => {
            voice::fuzzing::session(input);
        }
    }
}

#[test]
fn every_seed_is_kept_and_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (number, (target, bytes)) in voice::fuzzing::seeds().into_iter().enumerate() {
        run(target, &bytes);
        if target == "session" {
            let stats = voice::fuzzing::session(&bytes);
            let far = (
                stats.packets_out > 5,
                stats.repairs_out > 0,
                stats.repairs_in,
                stats.key_requests > 0,
            );
            assert_eq!(far, (true, true, 1, true), "{stats:?}");
        }
        let path = root.join(target).join(number.to_string());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().expect("a directory"))
                .expect("the directory is made");
            std::fs::write(&path, &bytes).expect("the seed is written");
        }
        assert_eq!(
            std::fs::read(&path).expect("the seed is there"),
            bytes,
            "{}",
            path.display()
        );
    }
}

#[test]
fn changed_seeds_pass_too() {
    let seeds = voice::fuzzing::seeds();
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok());
    for round in 0..rounds.unwrap_or(ROUNDS) {
        let mut chance = Chance::new(round);
        let (target, seed) =
            &seeds[usize::try_from(chance.below(seeds.len() as u64)).expect("small")];
        let mut input = seed.clone();
        for _ in 0..=chance.below(6) {
            let at = usize::try_from(chance.below(input.len() as u64)).expect("small");
            let byte = u8::try_from(chance.below(256)).expect("a byte");
            match chance.below(4) {
                0 => input[at] = byte,
                1 => input[at] ^= 1 << (byte & 7),
                2 => input.insert(at, byte),
                _ => input.truncate(at.max(1)),
            }
        }
        let passed = std::panic::catch_unwind(|| run(target, &input));
        assert!(passed.is_ok(), "round {round} of {target}: {input:?}");
    }
}
