//! Ordered keys sort like their values, come back as they were, and refuse everything else.

use std::cmp::Ordering;

use bytes::Bytes;
use lsm::encoding::Reader;
use lsm::ordered::{Component, ComponentType, Order, decode, decode_key, encode, prefix_end};
use proptest::prelude::*;

use crate::log_support::Random;

const ORDERS: [Order; 2] = [Order::Ascending, Order::Descending];
const TYPES: [ComponentType; 7] = [
    ComponentType::Int,
    ComponentType::BigInt,
    ComponentType::Double,
    ComponentType::Boolean,
    ComponentType::Blob,
    ComponentType::Text,
    ComponentType::Uuid,
];

fn key(components: &[(Component, Order)]) -> Vec<u8> {
    let mut key = Vec::new();
    for (component, order) in components {
        encode(&mut key, component, *order).unwrap();
    }
    key
}

/// The order that the encoding promises, for two components of one type.
fn compare(one: &Component, other: &Component) -> Ordering {
    match (one, other) {
        (Component::Int(a), Component::Int(b)) => a.cmp(b),
        (Component::BigInt(a), Component::BigInt(b)) => a.cmp(b),
        (Component::Boolean(a), Component::Boolean(b)) => a.cmp(b),
        (Component::Blob(a), Component::Blob(b)) => a.cmp(b),
        (Component::Text(a), Component::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Component::Uuid(a), Component::Uuid(b)) => a.cmp(b),
        (Component::Double(a), Component::Double(b)) => match (a.is_nan(), b.is_nan()) {
            (false, false) => a.total_cmp(b),
            (a, b) => a.cmp(&b),
        },
        _ => panic!("two types"),
    }
}

/// Values near the borders are likelier, and bytes are mostly those with a meaning.
fn component(of: ComponentType) -> BoxedStrategy<Component> {
    let byte = prop_oneof![Just(0_u8), Just(1), Just(0xfe), Just(0xff), any::<u8>()];
    match of {
        ComponentType::Int => prop_oneof![
            Just(i32::MIN),
            Just(-1),
            Just(0),
            Just(i32::MAX),
            any::<i32>()
        ]
        .prop_map(Component::Int)
        .boxed(),
        ComponentType::BigInt => prop_oneof![
            Just(i64::MIN),
            Just(-1),
            Just(0),
            Just(i64::MAX),
            any::<i64>()
        ]
        .prop_map(Component::BigInt)
        .boxed(),
        ComponentType::Double => prop_oneof![
            Just(0.0),
            Just(-0.0),
            Just(f64::NAN),
            -1e3..1e3,
            any::<f64>()
        ]
        .prop_map(Component::Double)
        .boxed(),
        ComponentType::Boolean => any::<bool>().prop_map(Component::Boolean).boxed(),
        ComponentType::Blob => prop::collection::vec(byte, 0..6)
            .prop_map(|bytes| Component::Blob(Bytes::from(bytes)))
            .boxed(),
        ComponentType::Text => "[\\x00\\x01a\u{ff}\u{10ffff}]{0,6}"
            .prop_map(Component::Text)
            .boxed(),
        ComponentType::Uuid => prop::array::uniform16(byte)
            .prop_map(Component::Uuid)
            .boxed(),
    }
}

fn component_type() -> impl Strategy<Value = ComponentType> {
    prop::sample::select(&TYPES[..])
}

fn order() -> impl Strategy<Value = Order> {
    prop::sample::select(&ORDERS[..])
}

/// Two keys of one schema; the second often shares components with the first.
fn two_keys() -> impl Strategy<Value = Vec<(Order, Component, Component)>> {
    let column = (component_type(), order(), any::<bool>()).prop_flat_map(|(of, order, same)| {
        (component(of), component(of)).prop_map(move |(one, other)| {
            let other = if same { one.clone() } else { other };
            (order, one, other)
        })
    });
    prop::collection::vec(column, 1..5)
}

proptest! {
    #[test]
    fn keys_sort_like_their_columns(columns in two_keys()) {
        let mut expected = Ordering::Equal;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (order, one, other) in columns {
            let column = compare(&one, &other);
            expected = expected.then(match order {
                Order::Ascending => column,
                Order::Descending => column.reverse(),
            });
            left.push((one, order));
            right.push((other, order));
        }
        prop_assert_eq!(key(&left).cmp(&key(&right)), expected);
    }

    #[test]
    fn keys_come_back_as_they_were(columns in two_keys()) {
        let columns: Vec<_> = columns.into_iter().map(|(order, one, _)| (one, order)).collect();
        let schema: Vec<_> =
            columns.iter().map(|(one, order)| (one.component_type(), *order)).collect();
        let bytes = key(&columns);
        let decoded = decode_key(&bytes, &schema).unwrap();
        for (found, (expected, _)) in decoded.iter().zip(&columns) {
            prop_assert_eq!(compare(found, expected), Ordering::Equal);
        }
        prop_assert!(decode_key(&bytes[..bytes.len() - 1], &schema).is_err());
    }

    #[test]
    fn a_prefix_ends_after_its_last_key(columns in two_keys(), tail in any::<Vec<u8>>()) {
        let columns: Vec<_> = columns.into_iter().map(|(order, one, _)| (one, order)).collect();
        let prefix = key(&columns);
        let longer = [prefix.clone(), tail].concat();
        if let Some(end) = prefix_end(&prefix) {
            prop_assert!(longer < end);
            prop_assert!(prefix < end && !end.starts_with(&prefix));
        }
    }
}

#[test]
fn the_bytes_of_the_format_page_are_what_is_written() {
    let check = |component, order, expected: &[u8]| {
        assert_eq!(key(&[(component, order)]), expected);
    };
    check(Component::Int(1), Order::Ascending, &[0x80, 0, 0, 1]);
    check(
        Component::Int(-2),
        Order::Ascending,
        &[0x7f, 0xff, 0xff, 0xfe],
    );
    check(
        Component::BigInt(5),
        Order::Descending,
        &[0x7f, 255, 255, 255, 255, 255, 255, 0xfa],
    );
    check(
        Component::Double(1.5),
        Order::Ascending,
        &[0xbf, 0xf8, 0, 0, 0, 0, 0, 0],
    );
    check(
        Component::Double(-1.5),
        Order::Ascending,
        &[0x40, 0x07, 255, 255, 255, 255, 255, 255],
    );
    check(Component::Boolean(true), Order::Ascending, &[1]);
    check(
        Component::Text("a\0b".to_owned()),
        Order::Ascending,
        &[0x61, 0, 0xff, 0x62, 0, 0],
    );
    check(
        Component::Text("a".to_owned()),
        Order::Descending,
        &[0x9e, 0xff, 0xff],
    );
}

#[test]
fn a_key_over_its_limits_is_refused_and_the_key_so_far_stays() {
    let mut key = vec![1, 2, 3];
    let long = Component::Blob(Bytes::from(vec![1; 64 * 1024]));
    assert!(encode(&mut key, &long, Order::Ascending).is_err());
    assert_eq!(key, [1, 2, 3]);
    let zeros = Component::Blob(Bytes::from(vec![0; 64 * 1024 - 1]));
    encode(&mut key, &zeros, Order::Ascending).unwrap();
    let len = key.len();
    assert!(encode(&mut key, &zeros, Order::Descending).is_err());
    assert_eq!(key.len(), len);
}

/// The same checks as the fuzz target, on seeded random bytes.
#[test]
fn random_bytes_decode_to_what_encodes_to_them_again_or_fail() {
    let seed = 0x5eed;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut decoded = 0;
    for _ in 0..200_000 {
        let len = random.below(24);
        let bytes: Vec<u8> = (0..len)
            .map(|_| match random.below(4) {
                0 => 0,
                1 => 0xff,
                _ => u8::try_from(random.below(256)).unwrap(),
            })
            .collect();
        let of = TYPES[usize::try_from(random.below(7)).unwrap()];
        let order = ORDERS[usize::try_from(random.below(2)).unwrap()];
        let mut reader = Reader::new(&bytes);
        if let Ok(component) = decode(&mut reader, of, order) {
            assert_eq!(key(&[(component, order)]), bytes[..reader.position()]);
            decoded += 1;
        }
    }
    assert!(decoded > 10_000, "{decoded}");
}
