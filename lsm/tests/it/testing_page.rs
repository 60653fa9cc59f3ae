//! The table of invariants in `docs/TESTING.md` names tests; this checks that they exist.

use std::path::Path;

/// Numbers that the table must have a row for.
const REQUIRED: [u32; 35] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    27, 28, 29, 33, 36, 37, 38, 39, 40,
];

/// Words in backticks that name a test: `path::name`.
fn references(text: &str) -> Vec<(&str, &str)> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|word| word.split_once(".rs::"))
        .collect()
}

#[test]
fn every_invariant_has_a_row_and_every_test_that_a_row_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/TESTING.md")).unwrap();
    let mut found = Vec::new();
    let mut named = 0;
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let number = line
            .split('|')
            .nth(1)
            .and_then(|cell| cell.trim().parse().ok());
        for (path, name) in references(line) {
            let file = root.join(format!("{path}.rs"));
            let source = std::fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(
                source.contains(&format!("fn {name}(")),
                "{path}.rs has no test {name}: correct docs/TESTING.md"
            );
            named += 1;
        }
        if let Some(number) = number {
            let says =
                !references(line).is_empty() || line.contains("missing") || line.contains("later");
            assert!(says, "row {number} names no test and does not say why");
            found.push(number);
        }
    }
    let absent: Vec<u32> = REQUIRED
        .into_iter()
        .filter(|it| !found.contains(it))
        .collect();
    assert!(
        absent.is_empty(),
        "docs/TESTING.md has no row for {absent:?}"
    );
    assert!(named > 40, "{named} tests named");
}
