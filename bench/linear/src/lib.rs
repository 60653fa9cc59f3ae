//! Whether a history of one register is linearizable: the search of Wing and Gong with Lowe's memory.
//!
//! Entries (calls and returns in the order of time) stand in a list. The search takes a call whose effect is possible
//! now, removes it with its return, and goes on from the front; at the first return that is still there it takes back
//! the last choice. What was reached before with the same calls taken and the same value is not searched again.
//!
//! A call without a known outcome has no return: it may take effect at any time after it began, or never, so the search
//! is over when every call *with* an outcome was taken.
//!
//! # Cost
//!
//! Exponential in the calls that overlap at worst, in practice microseconds a call for eight clients. [`STEPS_MAX`]
//! bounds it; a history that is not decided by then is reported as such and never counted as good.

use std::collections::HashSet;

/// Choices after which a history is given up as undecided.
const STEPS_MAX: usize = 4_000_000;
/// The end of the list.
const NONE: usize = usize::MAX;

/// What a client asked of the register, and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read this value.
    Read(i64),
    /// Set this value.
    Write(i64),
    /// Set the second value if the first was there, which succeeded.
    Swapped(i64, i64),
    /// Asked to set a value if this one was there, which it was not.
    NotSwapped(i64),
}

/// One call of one client. Times are of one clock, in any unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was begun.
    pub begun: u64,
    /// When its outcome was told. `None`: the outcome never became known.
    pub ended: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What became of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that one register would give.
    Linearizable,
    /// There is none.
    Violated,
    /// Too many choices.
    Undecided,
}

/// The value after `action` on `value`; `None` when it cannot have happened then.
fn step(value: i64, action: Action) -> Option<i64> {
    match action {
        Action::Read(seen) => (seen == value).then_some(value),
        Action::Write(new) => Some(new),
        Action::Swapped(old, new) => (old == value).then_some(new),
        Action::NotSwapped(old) => (old != value).then_some(value),
    }
}

/// The list of calls and returns: entry 0 is the head, the others carry `Some(call)` and whether they are its return.
struct Entries {
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Call and whether this is its return.
    what: Vec<(usize, bool)>,
    /// Entry of the return of each call.
    returns: Vec<usize>,
}

impl Entries {
    fn new(calls: &[Call]) -> Self {
        let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.len() * 2);
        for (at, call) in calls.iter().enumerate() {
            order.push((call.begun, false, at));
            if let Some(ended) = call.ended {
                order.push((ended, true, at));
            }
        }
        // At the same instant calls come first: they overlap.
        order.sort_unstable();
        let mut what = vec![(NONE, false)];
        let mut returns = vec![NONE; calls.len()];
        for (_, is_return, at) in order {
            if is_return {
                returns[at] = what.len();
            }
            what.push((at, is_return));
        }
        let count = what.len();
        let next = (0..count).map(|at| if at + 1 < count { at + 1 } else { NONE });
        let previous = (0..count).map(|at| at.checked_sub(1).unwrap_or(NONE));
        Self {
            next: next.collect(),
            previous: previous.collect(),
            what,
            returns,
        }
    }

    fn unlink(&mut self, entry: usize) {
        let (before, after) = (self.previous[entry], self.next[entry]);
        self.next[before] = after;
        if after != NONE {
            self.previous[after] = before;
        }
    }

    fn link(&mut self, entry: usize) {
        let (before, after) = (self.previous[entry], self.next[entry]);
        self.next[before] = entry;
        if after != NONE {
            self.previous[after] = entry;
        }
    }

    /// Removes a call with its return.
    fn lift(&mut self, entry: usize) {
        self.unlink(entry);
        let back = self.returns[self.what[entry].0];
        if back != NONE {
            self.unlink(back);
        }
    }

    /// Puts them back, in the opposite order.
    fn unlift(&mut self, entry: usize) {
        let back = self.returns[self.what[entry].0];
        if back != NONE {
            self.link(back);
        }
        self.link(entry);
    }
}

/// Searches an order of the calls that a single register, which begins with `first`, would give.
pub fn check(first: i64, calls: &[Call]) -> Verdict {
    let mut entries = Entries::new(calls);
    let mut open = calls.iter().filter(|call| call.ended.is_some()).count();
    let mut taken = vec![0_u64; calls.len().div_ceil(64)];
    let mut seen: HashSet<(Vec<u64>, i64)> = HashSet::new();
    let mut choices: Vec<(usize, i64)> = Vec::new();
    let mut value = first;
    let mut entry = entries.next[0];
    while open > 0 {
        let stands = (entry != NONE).then(|| entries.what[entry]);
        if let Some((at, false)) = stands {
            let call = calls[at];
            // A call without outcome that would change nothing need not have happened.
            let after =
                step(value, call.action).filter(|after| call.ended.is_some() || *after != value);
            if let Some(after) = after {
                taken[at / 64] |= 1 << (at % 64);
                if seen.len() > STEPS_MAX {
                    return Verdict::Undecided;
                }
                if seen.insert((taken.clone(), after)) {
                    choices.push((entry, value));
                    value = after;
                    open -= usize::from(call.ended.is_some());
                    entries.lift(entry);
                    entry = entries.next[0];
                    continue;
                }
                taken[at / 64] &= !(1 << (at % 64));
            }
            entry = entries.next[entry];
            continue;
        }
        let Some((last, before)) = choices.pop() else {
            return Verdict::Violated;
        };
        let at = entries.what[last].0;
        taken[at / 64] &= !(1 << (at % 64));
        open += usize::from(calls[at].ended.is_some());
        value = before;
        entries.unlift(last);
        entry = entries.next[last];
    }
    Verdict::Linearizable
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of random numbers from a seed, by xorshift.
    struct Seeded(u64);

    impl Seeded {
        fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 >> 8
        }
    }

    fn call(begun: u64, ended: u64, action: Action) -> Call {
        let ended = Some(ended);
        Call {
            begun,
            ended,
            action,
        }
    }

    fn open(begun: u64, action: Action) -> Call {
        Call {
            begun,
            ended: None,
            action,
        }
    }

    #[test]
    fn what_one_register_would_answer_is_linearizable() {
        let calls = [
            call(0, 10, Action::Write(1)),
            call(5, 15, Action::Read(0)),
            call(6, 16, Action::Read(1)),
            call(20, 30, Action::Swapped(1, 2)),
            call(22, 32, Action::NotSwapped(1)),
            call(40, 50, Action::Read(2)),
        ];
        assert_eq!(check(0, &calls), Verdict::Linearizable);
    }

    #[test]
    fn a_stale_read_is_found() {
        let calls = [call(0, 10, Action::Write(1)), call(20, 30, Action::Read(0))];
        assert_eq!(check(0, &calls), Verdict::Violated);
    }

    #[test]
    fn a_value_that_is_seen_and_then_not_is_found() {
        let calls = [
            call(0, 100, Action::Write(1)),
            call(10, 20, Action::Read(1)),
            call(30, 40, Action::Read(0)),
        ];
        assert_eq!(check(0, &calls), Verdict::Violated);
    }

    #[test]
    fn two_swaps_of_the_same_value_are_found() {
        let calls = [
            call(0, 10, Action::Swapped(0, 1)),
            call(0, 10, Action::Swapped(0, 2)),
            call(20, 30, Action::Read(2)),
        ];
        assert_eq!(check(0, &calls), Verdict::Violated);
    }

    #[test]
    fn a_lost_acknowledged_write_is_found() {
        let calls = [
            call(0, 10, Action::Write(1)),
            call(20, 30, Action::Write(2)),
            call(40, 50, Action::Read(1)),
        ];
        assert_eq!(check(0, &calls), Verdict::Violated);
    }

    #[test]
    fn an_unknown_write_may_come_late_or_never_but_not_before_it_began() {
        let unknown = open(0, Action::Write(7));
        let late = [
            unknown,
            call(10, 20, Action::Write(1)),
            call(30, 40, Action::Read(1)),
            call(50, 60, Action::Read(7)),
        ];
        assert_eq!(check(0, &late), Verdict::Linearizable);
        let never = [unknown, call(50, 60, Action::Read(0))];
        assert_eq!(check(0, &never), Verdict::Linearizable);
        let early = [call(0, 5, Action::Read(7)), open(10, Action::Write(7))];
        assert_eq!(check(0, &early), Verdict::Violated);
        let twice = [
            unknown,
            call(10, 20, Action::Read(7)),
            call(30, 40, Action::Write(1)),
            call(50, 60, Action::Read(7)),
        ];
        assert_eq!(check(0, &twice), Verdict::Violated);
    }

    /// Calls of a real register: each takes effect somewhere between its ends.
    fn history(seed: u64, clients: usize, rounds: usize) -> Vec<Call> {
        let mut random = Seeded::new(seed);
        let mut moments = Vec::new();
        for client in 0..clients {
            let mut now = random.next() % 50;
            for number in 0..rounds {
                let begun = now;
                let effect = begun + 1 + random.next() % 40;
                let ended = effect + 1 + random.next() % 40;
                now = ended + random.next() % 10;
                moments.push((effect, begun, ended, client * rounds + number));
            }
        }
        moments.sort_unstable();
        let mut value = 0;
        let mut calls = Vec::new();
        for (_, begun, ended, number) in moments {
            let fresh = i64::try_from(number).expect("few calls") + 1;
            let action = match random.next() % 4 {
                0 => Action::Read(value),
                1 => Action::Write(fresh),
                2 => Action::Swapped(value, fresh),
                _ => Action::NotSwapped(value + 1_000_000),
            };
            value = step(value, action).expect("it is made to fit");
            let is_known = !random.next().is_multiple_of(40);
            calls.push(Call {
                begun,
                ended: is_known.then_some(ended),
                action,
            });
        }
        calls
    }

    #[test]
    fn histories_of_a_real_register_pass_and_one_planted_read_fails_each() {
        for seed in 0..30 {
            let mut calls = history(seed, 6, 60);
            assert_eq!(check(0, &calls), Verdict::Linearizable, "seed {seed}");
            let end = calls.iter().filter_map(|it| it.ended).max().expect("calls");
            // The value that nobody can see any more: overwritten long ago.
            let old = calls.iter().find_map(|it| match it.action {
                Action::Write(value) if it.ended.is_some() => Some(value),
                _ => None,
            });
            let old = old.expect("a write among 360 calls");
            calls.push(call(end + 1, end + 2, Action::Read(old)));
            assert_eq!(check(0, &calls), Verdict::Violated, "seed {seed}");
        }
    }
}
