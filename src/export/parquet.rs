//! Parquet: decided calls in columns, zstd-compressed, one row group a file.
//!
//! Written by hand from the format's specification (Apache Parquet, `parquet.thrift` 2.x): plain encoding, one data
//! page (version 1) a column. What other readers make of it is checked in `tests/cli` by DuckDB, where it is there.

use super::row::{CallRow, DETECTORS};
use super::thrift::{Struct, varint};
use std::io;

const MAGIC: &[u8] = b"PAR1";
const BOOLEAN: i32 = 0;
const INT64: i32 = 2;
const DOUBLE: i32 = 5;
const BYTE_ARRAY: i32 = 6;
const REQUIRED: i32 = 0;
const OPTIONAL: i32 = 1;
const UTF8: i32 = 0;
const TIMESTAMP_MICROS: i32 = 10;
const PLAIN: i32 = 0;
const RLE: i32 = 3;
const ZSTD: i32 = 6;
/// Compression level of pages.
const LEVEL: i32 = 3;

/// The values of a column.
enum Values<'a> {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Time(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<std::borrow::Cow<'a, str>>),
    /// May be absent.
    Maybe(Vec<Option<f64>>),
}

struct Column<'a> {
    name: &'static str,
    values: Values<'a>,
}

fn columns(rows: &[CallRow]) -> Vec<Column<'_>> {
    let int =
        |name, of: fn(&CallRow) -> i64| Column { name, values: Values::Int(rows.iter().map(of).collect()) };
    let bool =
        |name, of: fn(&CallRow) -> bool| Column { name, values: Values::Bool(rows.iter().map(of).collect()) };
    let double = |name, of: fn(&CallRow) -> f64| Column {
        name,
        values: Values::Double(rows.iter().map(of).collect()),
    };
    let time =
        |name, of: fn(&CallRow) -> i64| Column { name, values: Values::Time(rows.iter().map(of).collect()) };
    let text = |name, of: for<'r> fn(&'r CallRow) -> &'r str| Column {
        name,
        values: Values::Text(rows.iter().map(|row| of(row).into()).collect()),
    };
    let chain = rows.iter().map(|row| row.principal_chain.join(" > ").into()).collect();
    let mut columns = vec![
        int("position", |row| row.position as i64),
        int("partition", |row| row.partition.into()),
        time("time", |row| row.time_us),
        time("receive_time", |row| row.receive_time_us),
        text("tenant", |row| &row.tenant),
        text("session_key", |row| &row.session_key),
        text("principal", |row| &row.principal),
        Column { name: "principal_chain", values: Values::Text(chain) },
        text("client", |row| &row.client),
        text("server", |row| &row.server),
        text("tool", |row| &row.tool),
        text("call_id", |row| &row.call_id),
        text("traceparent", |row| &row.traceparent),
        text("arguments", |row| &row.arguments),
        bool("imported", |row| row.imported),
        text("verdict", |row| &row.verdict),
        text("computed_verdict", |row| &row.computed_verdict),
        bool("enforced", |row| row.enforced),
        int("risk", |row| row.risk.into()),
        double("bits", |row| row.bits),
        double("threshold_bits", |row| row.threshold_bits),
        text("category", |row| &row.category),
        text("reason_code", |row| &row.reason_code),
        text("reason", |row| &row.reason),
        text("rule_id", |row| &row.rule_id),
        text("hash", |row| &row.hash),
    ];
    columns.extend(DETECTORS.iter().enumerate().map(|(at, (_, name))| Column {
        name,
        values: Values::Maybe(rows.iter().map(|row| row.detector_bits.get(at).copied().flatten()).collect()),
    }));
    columns
}

impl Column<'_> {
    /// Physical type, repetition, converted type.
    const fn kind(&self) -> (i32, i32, Option<i32>) {
        match self.values {
            Values::Bool(_) => (BOOLEAN, REQUIRED, None),
            Values::Int(_) => (INT64, REQUIRED, None),
            Values::Time(_) => (INT64, REQUIRED, Some(TIMESTAMP_MICROS)),
            Values::Double(_) => (DOUBLE, REQUIRED, None),
            Values::Text(_) => (BYTE_ARRAY, REQUIRED, Some(UTF8)),
            Values::Maybe(_) => (DOUBLE, OPTIONAL, None),
        }
    }

    fn schema(&self) -> Struct {
        let (kind, repetition, converted) = self.kind();
        let element = Struct::default().i32(1, kind).i32(3, repetition).text(4, self.name);
        match converted {
            Some(converted) => element.i32(6, converted),
            None => element,
        }
    }

    /// The page's bytes, not yet compressed.
    fn page(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.values {
            Values::Bool(values) => out = bits(values.iter().copied()),
            Values::Int(values) | Values::Time(values) => {
                values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            }
            Values::Double(values) => {
                values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()))
            }
            Values::Text(values) => {
                for value in values {
                    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    out.extend_from_slice(value.as_bytes());
                }
            }
            Values::Maybe(values) => {
                // Definition levels: one bit-packed run of groups of eight.
                let mut levels = Vec::new();
                varint(&mut levels, (values.len().div_ceil(8) as u64) << 1 | 1);
                levels.extend(bits(values.iter().map(Option::is_some)));
                out.extend_from_slice(&(levels.len() as u32).to_le_bytes());
                out.extend(levels);
                values.iter().flatten().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            }
        }
        out
    }
}

/// Bits, the lowest first.
fn bits(values: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut out = vec![0_u8; values.len().div_ceil(8)];
    for (at, value) in values.enumerate() {
        if let Some(byte) = out.get_mut(at / 8) {
            *byte |= u8::from(value) << (at % 8);
        }
    }
    out
}

/// A whole file.
pub fn file(rows: &[CallRow]) -> io::Result<Vec<u8>> {
    let columns = columns(rows);
    let mut out = MAGIC.to_vec();
    let mut chunks = Vec::new();
    let mut total = 0;
    for column in &columns {
        let page = column.page();
        let compressed = zstd::bulk::compress(&page, LEVEL)?;
        let data = Struct::default().i32(1, rows.len() as i32).i32(2, PLAIN).i32(3, RLE).i32(4, RLE);
        let header = Struct::default()
            .i32(1, 0)
            .i32(2, page.len() as i32)
            .i32(3, compressed.len() as i32)
            .nested(5, data)
            .finish();
        let at = out.len() as i64;
        let (plain_bytes, bytes) = (header.len() + page.len(), header.len() + compressed.len());
        out.extend(header);
        out.extend(compressed);
        total += plain_bytes as i64;
        let meta = Struct::default()
            .i32(1, column.kind().0)
            .enums(2, &[PLAIN, RLE])
            .texts(3, &[column.name])
            .i32(4, ZSTD)
            .i64(5, rows.len() as i64)
            .i64(6, plain_bytes as i64)
            .i64(7, bytes as i64)
            .i64(9, at);
        chunks.push(Struct::default().i64(2, at).nested(3, meta));
    }
    let group = Struct::default().structs(1, chunks.into_iter()).i64(2, total).i64(3, rows.len() as i64);
    let root = Struct::default().text(4, "call").i32(5, columns.len() as i32);
    let schema: Vec<Struct> = std::iter::once(root).chain(columns.iter().map(Column::schema)).collect();
    let footer = Struct::default()
        .i32(1, 1)
        .structs(2, schema.into_iter())
        .i64(3, rows.len() as i64)
        .structs(4, std::iter::once(group))
        .text(6, concat!("askance ", env!("CARGO_PKG_VERSION")))
        .finish();
    let length = footer.len() as u32;
    out.extend(footer);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(MAGIC);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row_of;
    use super::*;
    use crate::proto::v1::Verdict;

    #[test]
    fn a_file_begins_and_ends_as_it_must() {
        let rows: Vec<CallRow> = (0..100).map(|risk| row_of("drop_table", Verdict::Review, risk)).collect();
        let file = file(&rows).unwrap();
        assert_eq!((&file[..4], &file[file.len() - 4..]), (MAGIC, MAGIC));
        let length = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap());
        assert!((length as usize) < file.len());
    }

    #[test]
    fn bits_are_packed_from_the_lowest() {
        assert_eq!(
            bits([true, false, false, true, false, false, false, false, true].into_iter()),
            [0b1001, 1]
        );
    }
}
