//! The checks find what they look for: histories that are known to be bad, and one that is good.

use super::ledger::{Action, Ledger, Outcome, Place};
use super::load::listener::Heard;
use super::verdict::{check_places, check_shown, check_stream, differ, replay};

fn done(index: u64) -> Outcome {
    let place = Place {
        group: 1,
        index,
        op: 0,
    };
    Outcome::Done { place: Some(place) }
}

/// Two rows, one of them deleted, a counter, a write that nobody knows of, and one that did nothing.
const ACTIONS: [Action; 6] = [
    Action::Insert { part: 0, row: 0 },
    Action::InsertNew { part: 0, row: 1 },
    Action::Delete { part: 0, row: 0 },
    Action::Add {
        counter: 2,
        amount: 5,
    },
    Action::Insert { part: 0, row: 2 },
    Action::InsertAgain { part: 0, row: 1 },
];

fn ledger() -> Ledger {
    let ledger = Ledger::new(1, 1);
    let outcomes = [
        done(10),
        done(11),
        done(12),
        done(13),
        Outcome::Unknown,
        Outcome::Nothing,
    ];
    for (action, outcome) in ACTIONS.into_iter().zip(outcomes) {
        let mut known = ledger.of(0).lock();
        let number = known.begin(action);
        known.end(number, outcome);
    }
    ledger
}

fn heard(numbers: &[u32]) -> Vec<Heard> {
    let change = |number: &u32| Heard {
        group: 1,
        index: 10 + u64::from(*number),
        op: 0,
        writer: 0,
        number: *number,
    };
    numbers.iter().map(change).collect()
}

fn one(wrongs: &[String]) -> &str {
    assert_eq!(wrongs.len(), 1, "{wrongs:?}");
    &wrongs[0]
}

#[test]
fn a_good_run_has_no_findings_whether_the_unknown_write_took_effect_or_not() {
    let ledger = ledger();
    assert!(check_places(&ledger).is_empty());
    for numbers in [&[0, 1, 2, 3][..], &[0, 1, 2, 3, 4]] {
        let heard = heard(numbers);
        assert_eq!(check_stream(&ledger, &heard), [""; 0]);
        let shown = replay(&ledger, &heard);
        assert_eq!(check_shown(&ledger, &shown, Some(&shown)), [""; 0]);
        assert_eq!(differ(&heard, &heard), None);
    }
}

#[test]
fn a_stream_that_misses_doubles_reorders_or_invents_is_found() {
    let ledger = ledger();
    let check = |numbers: &[u32]| check_stream(&ledger, &heard(numbers));
    assert!(one(&check(&[0, 2, 3])).contains("not heard"));
    assert!(
        check(&[0, 1, 1, 2, 3])
            .iter()
            .any(|it| it.contains("heard before"))
    );
    assert!(one(&check(&[1, 0, 2, 3])).contains("comes after"));
    assert!(one(&check(&[0, 1, 2, 3, 5])).contains("did nothing"));
    assert!(one(&check(&[0, 1, 2, 3, 9])).contains("never sent"));
    let mut moved = heard(&[0, 1, 2, 3]);
    moved[3].index += 1;
    assert!(one(&check_stream(&ledger, &moved)).contains("was acknowledged at"));
}

#[test]
fn listeners_that_disagree_are_found() {
    let (all, less) = (heard(&[0, 1, 2, 3]), heard(&[0, 1, 3]));
    assert!(
        differ(&all, &less)
            .expect("they differ")
            .contains("group 1")
    );
    assert!(differ(&all, &heard(&[0, 1, 2])).is_some());
}

#[test]
fn rows_that_are_lost_back_or_of_nobody_and_wrong_sums_are_found() {
    let ledger = ledger();
    let good = replay(&ledger, &heard(&[0, 1, 2, 3]));
    let lost = replay(&ledger, &heard(&[0, 2, 3]));
    assert!(one(&check_shown(&ledger, &lost, None)).contains("lost"));
    let back = replay(&ledger, &heard(&[1, 2, 3, 0]));
    assert!(one(&check_shown(&ledger, &back, None)).contains("back"));
    let less = replay(&ledger, &heard(&[0, 1, 2]));
    assert!(one(&check_shown(&ledger, &less, None)).contains("counter"));
    let other = Ledger::new(1, 1);
    assert!(
        check_shown(&other, &good, None)
            .iter()
            .any(|it| it.contains("nobody wrote"))
    );
    // The unknown row is there, but the stream never told of it.
    let more = replay(&ledger, &heard(&[0, 1, 2, 3, 4]));
    assert!(one(&check_shown(&ledger, &more, Some(&good))).contains("against what the stream"));
}

#[test]
fn two_writes_at_one_place_and_a_later_write_at_an_earlier_place_are_found() {
    for (indexes, what) in [([10, 10], "is of write"), ([11, 10], "comes before")] {
        let ledger = Ledger::new(1, 1);
        for (row, index) in (0..).zip(indexes) {
            let mut known = ledger.of(0).lock();
            let number = known.begin(Action::Insert { part: 0, row });
            known.end(number, done(index));
        }
        assert!(check_places(&ledger).iter().any(|it| it.contains(what)));
    }
}
