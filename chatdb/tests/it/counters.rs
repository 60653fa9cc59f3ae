//! Counters against a model: whatever is flushed, merged, closed, lost and tried again, a counter is
//! the sum of what was acknowledged since it was last deleted.

use crate::store_support::{Database, table};
use bytes::Bytes;
use chatdb::Value;
use chatdb::command::Response;
use chatdb::plan::Plan;
use std::collections::BTreeMap;

const ROWS: u64 = 5;
const COLUMNS: [&str; 3] = ["hits", "misses", "everything"];

/// Counters by row (`None` = static) and column.
type Model = BTreeMap<(Option<u64>, &'static str), i64>;

/// A seeded choice.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn database() -> Database {
    let mut database = Database::new();
    database.ok("CREATE KEYSPACE k");
    database.ok("USE k");
    database.ok(
        "CREATE TABLE pages (site int, page int, hits counter, misses counter, \
         everything counter STATIC, PRIMARY KEY (site, page))",
    );
    database
}

/// A world: the database, what it should hold, and the log that it was made of.
struct World {
    database: Database,
    model: Model,
    dice: Dice,
    log: Vec<(u64, u64, Vec<Bytes>)>,
    requests: u128,
}

impl World {
    fn command(&mut self, text: &str, request: u128) -> Bytes {
        self.database.request_id = Some(request);
        let plan = self.database.plan(text, &[]).unwrap();
        self.database.request_id = None;
        match plan {
            Plan::Write(write) => write.encode().unwrap(),
            other => panic!("{text} is {other:?}"),
        }
    }

    /// A random statement, done to the model as well.
    fn statement(&mut self) -> String {
        let row = self.dice.roll(ROWS);
        if self.dice.roll(12) == 0 {
            return self.deletion(row);
        }
        let column = COLUMNS[usize::try_from(self.dice.roll(3)).unwrap()];
        let amount = i64::try_from(self.dice.roll(1000)).unwrap();
        let is_negative = self.dice.roll(3) == 0;
        let place = (column != "everything").then_some(row);
        let delta = if is_negative { -amount } else { amount };
        *self.model.entry((place, column)).or_default() += delta;
        let sign = if is_negative { '-' } else { '+' };
        let key = match place {
            Some(row) => format!("site = 1 AND page = {row}"),
            None => "site = 1".to_owned(),
        };
        format!("UPDATE pages SET {column} = {column} {sign} {amount} WHERE {key}")
    }

    fn deletion(&mut self, row: u64) -> String {
        match self.dice.roll(4) {
            0 => {
                self.model.remove(&(Some(row), "hits"));
                format!("DELETE hits FROM pages WHERE site = 1 AND page = {row}")
            }
            1 => {
                self.model.retain(|(place, _), _| *place != Some(row));
                format!("DELETE FROM pages WHERE site = 1 AND page = {row}")
            }
            2 => {
                self.model
                    .retain(|(place, _), _| place.is_none_or(|at| at < row));
                format!("DELETE FROM pages WHERE site = 1 AND page >= {row}")
            }
            _ => {
                self.model.clear();
                "DELETE FROM pages WHERE site = 1".to_owned()
            }
        }
    }

    /// One entry of some commands; some come twice with one request id, as retries do.
    fn entry(&mut self) {
        let mut commands = Vec::new();
        for _ in 0..=self.dice.roll(4) {
            let text = self.statement();
            self.requests += 1;
            let command = self.command(&text, self.requests);
            if self.dice.roll(4) == 0 {
                commands.push(command.clone());
            }
            commands.push(command);
        }
        if self.dice.roll(5) == 0
            && let Some((_, _, earlier)) = self.log.last()
        {
            commands.extend(earlier.iter().cloned());
        }
        self.database.now_us += 1000;
        let responses = self.database.entry(&commands).unwrap();
        for response in responses {
            assert_eq!(Response::decode(&response).unwrap(), Response::Done);
        }
        let place = (self.database.index, self.database.now_us);
        self.log.push((place.0, place.1, commands));
    }

    /// The memtable is lost, and what the files do not have is applied again.
    fn lose_memory(&mut self) {
        let flushed = self.database.crash();
        for (index, now_us, commands) in &self.log {
            if *index > flushed {
                self.database.index = index - 1;
                self.database.now_us = *now_us;
                self.database.entry(commands).unwrap();
            }
        }
    }

    fn check(&mut self, what: &str) {
        for row in 0..ROWS {
            let text = format!("SELECT hits, misses FROM pages WHERE site = 1 AND page = {row}");
            let result = self.database.ok(&text);
            for column in ["hits", "misses"] {
                let found = result.first().map_or(&Value::Null, |row| row.get(column));
                let expected = self.model.get(&(Some(row), column)).copied();
                assert_eq!(*found, Value::from(expected), "{what}, {column} of {row}");
            }
        }
        let result = self
            .database
            .ok("SELECT DISTINCT everything FROM pages WHERE site = 1");
        let found = result
            .first()
            .map_or(&Value::Null, |row| row.get("everything"));
        let expected = self.model.get(&(None, "everything")).copied();
        assert_eq!(*found, Value::from(expected), "{what}, static");
    }
}

#[test]
fn a_counter_is_the_sum_of_what_was_acknowledged_whatever_is_flushed_merged_lost_and_retried() {
    for seed in 1..=20 {
        let mut world = World {
            database: database(),
            model: Model::new(),
            dice: Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)),
            log: Vec::new(),
            requests: 0,
        };
        for step in 0..60 {
            let what = format!("seed {seed}, step {step}");
            match world.dice.roll(10) {
                0 => world.database.flush(),
                1 => {
                    let engine = world.database.store.engine();
                    while engine.compact_step(world.database.now_us / 1000).unwrap() {}
                }
                2 => world.database.restart(),
                3 => world.lose_memory(),
                _ => world.entry(),
            }
            world.check(&what);
        }
    }
}

#[test]
fn an_addition_that_leaves_the_range_fails_the_whole_command_and_may_be_tried_again() {
    let mut database = database();
    let most = i64::MAX;
    database.ok(&format!(
        "UPDATE pages SET hits = hits + {most} WHERE site = 1 AND page = 1"
    ));
    let two = [
        "UPDATE pages SET misses = misses + 1 WHERE site = 1 AND page = 1",
        "UPDATE pages SET hits = hits + 1 WHERE site = 1 AND page = 1",
    ];
    let refused = database.batch(&two).unwrap_err();
    assert!(refused.message().contains("leaves the range"), "{refused}");
    let select = "SELECT hits, misses FROM pages WHERE site = 1 AND page = 1";
    let unchanged = format!("hits | misses\n{most} | null\n(1 rows)\n");
    assert_eq!(table(&database.ok(select)), unchanged);
    database.ok("UPDATE pages SET hits = hits - 1 WHERE site = 1 AND page = 1");
    database.batch(&two).unwrap();
    assert_eq!(
        table(&database.ok(select)),
        format!("hits | misses\n{most} | 1\n(1 rows)\n")
    );
}

#[test]
fn additions_to_one_counter_in_one_batch_add_up() {
    let mut database = database();
    let add = "UPDATE pages SET hits = hits + 3, misses -= 1 WHERE site = 1 AND page = 1";
    database.batch(&[add, add, add]).unwrap();
    let select = "SELECT hits, misses FROM pages WHERE site = 1 AND page = 1";
    assert_eq!(
        table(&database.ok(select)),
        "hits | misses\n9 | -3\n(1 rows)\n"
    );
    let mixed = database.batch(&[add, "DELETE FROM pages WHERE site = 1 AND page = 1"]);
    assert!(mixed.unwrap_err().message().contains("not both"));
}
