//! Decodes keys of a schema that the input chooses; what decodes encodes to the same bytes, and
//! two keys sort like their columns where that is easy to say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lsm::ordered::{Component, ComponentType, Order, decode_key, encode, prefix_end};

const TYPES: [ComponentType; 7] = [
    ComponentType::Int,
    ComponentType::BigInt,
    ComponentType::Double,
    ComponentType::Boolean,
    ComponentType::Blob,
    ComponentType::Text,
    ComponentType::Uuid,
];

fn check(key: &[u8], schema: &[(ComponentType, Order)]) -> Option<Vec<Component>> {
    let components = decode_key(key, schema).ok()?;
    let mut again = Vec::new();
    for (component, (_, order)) in components.iter().zip(schema) {
        encode(&mut again, component, *order).unwrap();
    }
    assert_eq!(again, key);
    Some(components)
}

fuzz_target!(|data: &[u8]| {
    let Some(([columns, split], rest)) = data.split_first_chunk() else { return };
    let columns = usize::from(columns % 4) + 1;
    let Some((schema, keys)) = rest.split_at_checked(columns) else { return };
    let schema: Vec<_> = schema
        .iter()
        .map(|byte| {
            let order = if byte & 128 == 0 { Order::Ascending } else { Order::Descending };
            (TYPES[usize::from(byte & 127) % TYPES.len()], order)
        })
        .collect();
    let (one, other) = keys.split_at(usize::from(*split).min(keys.len()));
    let (left, right) = (check(one, &schema), check(other, &schema));
    if let (Some(left), Some(right), [(_, order)]) = (left, right, &schema[..]) {
        let expected = match (&left[0], &right[0]) {
            (Component::Int(a), Component::Int(b)) => a.cmp(b),
            (Component::BigInt(a), Component::BigInt(b)) => a.cmp(b),
            (Component::Boolean(a), Component::Boolean(b)) => a.cmp(b),
            (Component::Blob(a), Component::Blob(b)) => a.cmp(b),
            (Component::Text(a), Component::Text(b)) => a.cmp(b),
            (Component::Uuid(a), Component::Uuid(b)) => a.cmp(b),
            _ => return,
        };
        let found = if *order == Order::Ascending { one.cmp(other) } else { other.cmp(one) };
        assert_eq!(found, expected);
    }
    if let Some(end) = prefix_end(one) {
        assert!(end.as_slice() > one && !end.starts_with(one));
    }
});
