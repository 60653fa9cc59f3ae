//! How results look: a table, one block per row, JSON lines or CSV. Everything is a string here.
//!
//! A table shortens wide values to fit the screen; JSON and CSV never do.

use crate::result::{QueryStats, ResultSet, Row};
use crate::types::{DataType, ScalarType};
use crate::value::Value;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableStyle};
use comfy_table::{ContentLineStyle, LineStyle};
use serde_json::Value as Json;
use std::fmt::Write;

/// A column is never shortened below this many characters.
const COLUMN_WIDTH_MIN: usize = 12;
/// Space and separator around a column, in characters.
const COLUMN_FRAME: usize = 3;
/// The sign for what was left out.
const ELLIPSIS: char = '\u{2026}';
/// The separator between the parts of a line of facts.
pub(crate) const DOT: &str = " \u{b7} ";

/// The look of all tables: a rule under the header, bars between columns, no frame.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction('\u{2502}'))
    .header_separator(LineStyle::none().fill('\u{2500}').junction('\u{253c}'))
    .content_lines(ContentLineStyle::none().junction('\u{2502}'));

/// Form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// One block of lines per row, for wide rows.
    Expanded,
    /// One JSON object per row and line.
    Json,
    /// RFC 4180, with a header.
    Csv,
}

/// Rows of one page in this form. `is_first` asks for the header where the form has one once.
pub(crate) fn rows(result: &ResultSet, format: Format, width: usize, is_first: bool) -> String {
    match format {
        Format::Table => table(result, width),
        Format::Expanded => expanded(&result.rows),
        Format::Json => json(&result.rows),
        Format::Csv => csv(result, is_first),
    }
}

/// A table of texts; numbers stand on the right.
pub(crate) fn grid(
    header: &[&str],
    rows: Vec<Vec<String>>,
    right: &[usize],
    width: usize,
) -> String {
    let widths = fit(&natural_widths(header, &rows), right, width);
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.force_no_tty();
    table.set_header(
        header
            .iter()
            .zip(&widths)
            .map(|(name, &width)| shorten(name, width)),
    );
    for row in rows {
        table.add_row(
            row.iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (text, &width))| {
                    let alignment = if right.contains(&column) {
                        CellAlignment::Right
                    } else {
                        CellAlignment::Left
                    };
                    Cell::new(shorten(text, width)).set_alignment(alignment)
                }),
        );
    }
    table.lines().fold(String::new(), |mut text, line| {
        text.push_str(line.trim_end());
        text.push('\n');
        text
    })
}

fn table(result: &ResultSet, width: usize) -> String {
    let header: Vec<&str> = result
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    if header.is_empty() {
        return String::new();
    }
    let rows = result
        .rows
        .iter()
        .map(|row| row.values().iter().map(plain).collect());
    let right: Vec<usize> = result
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| is_number(column.data_type))
        .map(|(position, _)| position)
        .collect();
    grid(&header, rows.collect(), &right, width)
}

fn is_number(data_type: DataType) -> bool {
    matches!(
        data_type,
        DataType::Scalar(
            ScalarType::BigInt | ScalarType::Int | ScalarType::Double | ScalarType::Counter
        )
    )
}

fn natural_widths(header: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = header.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    widths
}

/// Takes from the widest columns until all fit, but not below the least width, and nothing from
/// numbers: half an id is of no use.
fn fit(natural: &[usize], numbers: &[usize], width: usize) -> Vec<usize> {
    let budget = width.saturating_sub(COLUMN_FRAME * natural.len());
    let limited = |limit: usize| -> Vec<usize> {
        let columns = natural.iter().enumerate();
        let width = |(column, &width): (usize, &usize)| {
            if numbers.contains(&column) {
                width
            } else {
                width.min(limit)
            }
        };
        columns.map(width).collect()
    };
    let mut limit = natural.iter().copied().max().unwrap_or(0);
    while limit > COLUMN_WIDTH_MIN && limited(limit).iter().sum::<usize>() > budget {
        limit -= 1;
    }
    limited(limit)
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars()
        .take(width.saturating_sub(1))
        .chain([ELLIPSIS])
        .collect()
}

/// The value as a person reads it: text without quotes, and nothing that moves the cursor.
pub(crate) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Timestamp(_) => value.to_string().replace('\'', ""),
        other => other.to_string(),
    };
    if !text.chars().any(char::is_control) {
        return text;
    }
    text.chars().fold(String::new(), |mut clean, character| {
        match character {
            '\n' => clean.push('\u{21b5}'),
            '\t' => clean.push_str("  "),
            other if other.is_control() => clean.extend(other.escape_default()),
            other => clean.push(other),
        }
        clean
    })
}

fn expanded(rows: &[Row]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let widest = row.columns().iter().map(|column| column.name.len()).max();
        let widest = widest.unwrap_or(0);
        writeln!(text, "row {}", number + 1).expect("writing to a string succeeds");
        for (column, value) in row.columns().iter().zip(row.values()) {
            writeln!(text, "  {:<widest$} \u{2502} {}", column.name, plain(value))
                .expect("writing to a string succeeds");
        }
    }
    text
}

fn json(rows: &[Row]) -> String {
    rows.iter().fold(String::new(), |mut text, row| {
        text.push('{');
        for (position, (column, value)) in row.columns().iter().zip(row.values()).enumerate() {
            if position > 0 {
                text.push(',');
            }
            let name = Json::from(column.name.as_str());
            write!(text, "{name}:{}", json_value(value)).expect("writing to a string succeeds");
        }
        text.push_str("}\n");
        text
    })
}

/// The value as JSON: integers as numbers of any size, bytes as `0x...`, map keys as text.
pub(crate) fn json_value(value: &Value) -> Json {
    match value {
        Value::Null | Value::Unset => Json::Null,
        Value::BigInt(number) => Json::from(*number),
        Value::Int(number) => Json::from(*number),
        Value::Boolean(truth) => Json::from(*truth),
        Value::Double(number) => serde_json::Number::from_f64(*number)
            .map_or_else(|| Json::from(value.to_string()), Json::Number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Timestamp(_) => Json::from(value.to_string().replace('\'', "")),
        Value::Blob(_) | Value::Uuid(_) => Json::from(value.to_string()),
        Value::Set(values) | Value::List(values) => values.iter().map(json_value).collect(),
        Value::Map(entries) => Json::Object(
            entries
                .iter()
                .map(|(key, value)| (bare(key), json_value(value)))
                .collect(),
        ),
    }
}

fn csv(result: &ResultSet, is_first: bool) -> String {
    let mut text = String::new();
    if is_first {
        let names: Vec<String> = result
            .columns
            .iter()
            .map(|column| quote(&column.name))
            .collect();
        text.push_str(&names.join(","));
        text.push_str("\r\n");
    }
    for row in &result.rows {
        let values: Vec<String> = row.values().iter().map(csv_value).collect();
        text.push_str(&values.join(","));
        text.push_str("\r\n");
    }
    text
}

fn csv_value(value: &Value) -> String {
    match value {
        Value::Null | Value::Unset => String::new(),
        other => quote(&bare(other)),
    }
}

/// The value as one text without quotes, exact.
fn bare(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Timestamp(_) => value.to_string().replace('\'', ""),
        Value::Set(_) | Value::List(_) | Value::Map(_) => json_value(value).to_string(),
        other => other.to_string(),
    }
}

fn quote(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The line under a result: how many rows, how long, who answered, what was read.
pub(crate) fn footer(rows: usize, stats: &QueryStats, has_columns: bool) -> String {
    let mut parts = Vec::new();
    if has_columns {
        parts.push(counted(rows as u64, "row"));
    } else {
        parts.push("ok".to_owned());
    }
    parts.push(duration(stats.elapsed_us));
    match (stats.node, stats.stale_ms) {
        (Some(node), None) => parts.push(format!("leader n{node}")),
        (Some(node), Some(stale)) => {
            let age = duration(stale.saturating_mul(1000));
            parts.push(format!("replica n{node}, at most {age} old"));
        }
        (None, Some(stale)) => {
            let age = duration(stale.saturating_mul(1000));
            parts.push(format!("at most {age} old"));
        }
        (None, None) => {}
    }
    if has_columns {
        let blocks = counted(stats.blocks_read, "block");
        let tombstones = counted(stats.tombstones, "tombstone");
        parts.push(format!("read {blocks}, {tombstones}"));
    }
    parts.join(DOT)
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Microseconds as a person says them.
pub(crate) fn duration(microseconds: u64) -> String {
    match microseconds {
        0..1_000_000 => format!("{}.{} ms", microseconds / 1000, microseconds % 1000 / 100),
        _ => format!(
            "{}.{:02} s",
            microseconds / 1_000_000,
            microseconds % 1_000_000 / 10_000
        ),
    }
}

/// Bytes as a person says them.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut tenths = count.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 {
        format!("{count} {name}")
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::ColumnSpec;
    use std::sync::Arc;

    fn sample() -> ResultSet {
        let columns = Arc::from([
            ColumnSpec::new("id", ScalarType::BigInt),
            ColumnSpec::new("content", ScalarType::Text),
        ]);
        ResultSet::new(
            columns,
            vec![
                vec![
                    Value::BigInt(1_176_543_210_987_654_321),
                    Value::from("has \"anyone\",\ntried"),
                ],
                vec![Value::BigInt(7), Value::Null],
            ],
        )
    }

    #[test]
    fn table_shortens_wide_values_and_aligns_numbers_right() {
        let text = rows(&sample(), Format::Table, 40, true);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(" id                  \u{2502} content"));
        let rule = format!("{}\u{253c}{}", "\u{2500}".repeat(21), "\u{2500}".repeat(17));
        assert_eq!(lines.next(), Some(rule.as_str()));
        let row = " 1176543210987654321 \u{2502} has \"anyone\",\u{21b5}\u{2026}";
        assert_eq!(lines.next(), Some(row));
        assert_eq!(lines.next(), Some("                   7 \u{2502} null"));
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn json_and_csv_keep_every_character() {
        let result = sample();
        assert_eq!(
            rows(&result, Format::Json, 10, true),
            "{\"id\":1176543210987654321,\"content\":\"has \\\"anyone\\\",\\ntried\"}\n\
             {\"id\":7,\"content\":null}\n"
        );
        assert_eq!(
            rows(&result, Format::Csv, 10, true),
            "id,content\r\n1176543210987654321,\"has \"\"anyone\"\",\ntried\"\r\n7,\r\n"
        );
    }

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!(duration(640), "0.6 ms");
        assert_eq!(duration(1_234_000), "1.23 s");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(counted(1, "row"), "1 row");
    }
}
