//! Any bytes as a cell of any type and as a key of any columns: what decodes encodes back.
#![no_main]

use bytes::Bytes;
use chatdb::encoding::{decode_components, decode_scalar, encode_component, encode_scalar};
use chatdb::ScalarType;
use libfuzzer_sys::fuzz_target;
use lsm::ordered::Order;

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    let bytes = Bytes::copy_from_slice(rest);
    for scalar in ScalarType::ALL {
        if let Ok(value) = decode_scalar(scalar, &bytes) {
            assert_eq!(encode_scalar(&value).expect("a decoded value encodes"), bytes);
        }
    }
    let order = |bit: u8| if choice & bit == 0 { Order::Ascending } else { Order::Descending };
    let scalar = |place: u8| ScalarType::ALL[usize::from((choice >> place) & 7)];
    let columns = [(scalar(0), order(1)), (scalar(3), order(2)), (scalar(5), order(4))];
    if let Ok(values) = decode_components(rest, &columns) {
        let mut key = Vec::new();
        for (value, (_, order)) in values.iter().zip(columns) {
            encode_component(&mut key, value, order).expect("a decoded component encodes");
        }
        assert_eq!(key, rest);
    }
});
