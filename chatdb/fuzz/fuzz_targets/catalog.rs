//! Any bytes as a catalog, with and without a checksum that fits: what decodes encodes back.
#![no_main]

use chatdb::schema::Catalog;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|input: &[u8]| {
    let _refused = Catalog::decode(input).is_err();
    let mut sealed = input.to_vec();
    sealed.extend(xxh3_64(input).to_le_bytes());
    if let Ok(catalog) = Catalog::decode(&sealed) {
        let again = Catalog::decode(&catalog.encode()).expect("a catalog decodes");
        assert_eq!(again, catalog);
        for table in catalog.tables() {
            let _text = table.to_cql();
        }
    }
});
