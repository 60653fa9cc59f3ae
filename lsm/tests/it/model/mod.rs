//! The engine against an oracle in memory: random operations under random options, with flushes,
//! compactions, restarts, power cuts and copies in between, none of which may show in a read.
//!
//! `OPERATIONS=n` says how many operations to write (`make test-long`: 10 000 000), `SEED=n` with
//! which world to begin. A failure prints the seed of its world: `SEED=n OPERATIONS=1` runs that
//! one alone.

mod check;
mod oracle;
mod settings;
mod world;

use world::World;

/// Operations of one world; then the next seed chooses other options.
const OPERATIONS_PER_WORLD: u64 = 20_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live(seed: u64) -> u64 {
    let mut world = World::new(seed);
    while world.operations < OPERATIONS_PER_WORLD {
        match world.random.below(1000) {
            0..=799 => world.apply(),
            800..=899 => world
                .maintain()
                .unwrap_or_else(|error| panic!("{}: {error:?}", world.place())),
            900..=986 => world.check_page(),
            987..=991 => world.check_all_pages(),
            992..=993 => world.check_scan(),
            994..=995 => world.reopen(),
            996..=997 => world.crash(),
            998 => world.check_copy(),
            _ => world.check_files(),
        }
    }
    world.check_end();
    world.operations
}

#[test]
fn engine_agrees_with_an_oracle_under_any_options_restarts_and_power_cuts() {
    let wanted = variable("OPERATIONS").unwrap_or(300_000);
    let mut seed = variable("SEED").unwrap_or(0);
    let mut operations = 0;
    while operations < wanted {
        operations += live(seed);
        seed += 1;
        if wanted > 1_000_000 && seed.is_multiple_of(10) {
            eprintln!("{operations} operations, next seed {seed}");
        }
    }
}
