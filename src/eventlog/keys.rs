//! Column families and their keys, byte by byte.
//!
//! Numbers in keys are big endian, so that the order of keys is the order of things. Values are drawn where
//! they are written: `page` (`log`, `payload`), `index` (`stream`, `call`, `tool`), `snapshot`.
//! A column family's name is never used again for something else.
//!
//! ```text
//! log        u64 first position of the page                        -> page of records
//! payload    u64 first position of the same page                   -> page of payloads
//! stream     [16] stream id | u64 first position in the chunk      -> revision and positions
//! call       [16] call key                                         -> u64 position that introduced the call
//! tool       u64 tool key | u64 hour | u64 first position          -> positions that introduced a call
//! directory  the caller's bytes                                    -> the caller's bytes
//! snapshot   u64 position | u32 part number                        -> part of a snapshot
//! meta       name                                                  -> see below
//! ```
//!
//! An hour is the receive time divided by 3,600,000,000 us, rounded down, with its sign bit flipped so that hours
//! before 1970 sort first.
//!
//! `meta` holds `storage_format` (u32 little endian), `partition` (u32 little endian), `log_id` (16 random bytes
//! from the creation) and `indexed_to` (u64 little endian: up to here `stream`, `call` and `tool` are complete).
//!
//! Deliberately absent: secondary keys of any meaning, such as tenants; the caller puts those into its bytes.

use super::frame::array;
use crate::domain::{CallKey, Position, StreamId, Timestamp};

/// A column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Pages of records.
    Log,
    /// Pages of payloads.
    Payload,
    /// Positions by stream.
    Stream,
    /// Position by call.
    Call,
    /// Positions by tool and hour.
    Tool,
    /// The caller's directory.
    Directory,
    /// Snapshots in parts.
    Snapshot,
    /// Facts about the store.
    Meta,
}

impl Family {
    /// All column families (RocksDB's own `default` stays empty).
    pub const ALL: [Self; 8] = [
        Self::Log,
        Self::Payload,
        Self::Stream,
        Self::Call,
        Self::Tool,
        Self::Directory,
        Self::Snapshot,
        Self::Meta,
    ];

    /// Its name in RocksDB.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Payload => "payload",
            Self::Stream => "stream",
            Self::Call => "call",
            Self::Tool => "tool",
            Self::Directory => "directory",
            Self::Snapshot => "snapshot",
            Self::Meta => "meta",
        }
    }
}

/// Key in `meta`: version of everything stored, u32.
pub const META_STORAGE_FORMAT: &[u8] = b"storage_format";
/// Key in `meta`: number of the partition, u32.
pub const META_PARTITION: &[u8] = b"partition";
/// Key in `meta`: 16 random bytes that tell this log from others.
pub const META_LOG_ID: &[u8] = b"log_id";
/// Key in `meta`: position up to which the indexes are complete, u64.
pub const META_INDEXED_TO: &[u8] = b"indexed_to";

/// Microseconds in an hour.
const HOUR_US: i64 = crate::domain::time::HOUR_US;
const SIGN: u64 = 1 << 63;

/// Whole hours since 1970 of an instant, rounded down.
pub const fn hour_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(HOUR_US)
}

/// Key in `log` and `payload`.
pub const fn page(first: Position) -> [u8; 8] {
    first.get().to_be_bytes()
}

/// Key in `stream`.
pub fn stream(stream: &StreamId, first: Position) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(stream.as_bytes());
    key[16..].copy_from_slice(&first.get().to_be_bytes());
    key
}

/// Key in `call`.
pub const fn call(call: &CallKey) -> [u8; 16] {
    *call.as_bytes()
}

/// Key in `tool`.
pub fn tool(tool: u64, hour: i64, first: Position) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&tool.to_be_bytes());
    key[8..16].copy_from_slice(&(hour.cast_unsigned() ^ SIGN).to_be_bytes());
    key[16..].copy_from_slice(&first.get().to_be_bytes());
    key
}

/// Key in `snapshot`.
pub fn snapshot(position: Position, part: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&position.get().to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Reads a key of `log` or `payload`.
pub fn parse_page(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Reads a key of `stream`.
pub fn parse_stream(key: &[u8]) -> Option<(StreamId, u64)> {
    (key.len() == 24)
        .then(|| (StreamId::from_bytes(array(&key[..16])), u64::from_be_bytes(array(&key[16..]))))
}

/// Reads a key of `call`.
pub fn parse_call(key: &[u8]) -> Option<CallKey> {
    key.try_into().ok().map(CallKey::from_bytes)
}

/// Reads a key of `tool`: tool, hour, first position.
pub fn parse_tool(key: &[u8]) -> Option<(u64, i64, u64)> {
    (key.len() == 24).then(|| {
        let number = |at: usize| u64::from_be_bytes(array(&key[at..at + 8]));
        (number(0), (number(8) ^ SIGN).cast_signed(), number(16))
    })
}

/// Reads a key of `snapshot`: position, part number.
pub fn parse_snapshot(key: &[u8]) -> Option<(u64, u32)> {
    (key.len() == 12).then(|| (u64::from_be_bytes(array(&key[..8])), u32::from_be_bytes(array(&key[8..]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_keys() {
        assert_eq!(page(Position::new(0x0102)), [0, 0, 0, 0, 0, 0, 1, 2]);
        let mut want = [0xaa; 24];
        want[16..].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(stream(&StreamId::from_bytes([0xaa; 16]), Position::new(5)), want);
        assert_eq!(call(&CallKey::from_bytes([7; 16])), [7; 16]);
        let want = [0, 0, 0, 0, 0, 0, 0, 9, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(tool(9, 1, Position::new(3)), want);
        assert_eq!(tool(9, -1, Position::new(3))[8..16], [0x7f, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(snapshot(Position::new(1), 2), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn hours_round_down() {
        let hour = |us| hour_of(Timestamp::from_micros(us));
        assert_eq!((hour(0), hour(HOUR_US - 1), hour(HOUR_US), hour(-1)), (0, 0, 1, -1));
    }

    proptest! {
        #[test]
        fn order_of_keys_is_order_of_things(a: (u64, i64, u64), b: (u64, i64, u64), s: [u8; 16], t: [u8; 16]) {
            let key = |x: (u64, i64, u64)| tool(x.0, x.1, Position::new(x.2));
            prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
            prop_assert_eq!(parse_tool(&key(a)), Some(a));
            prop_assert_eq!(a.0.cmp(&b.0), page(Position::new(a.0)).cmp(&page(Position::new(b.0))));
            let (x, y) = ((s, a.0), (t, b.0));
            let key = |x: ([u8; 16], u64)| stream(&StreamId::from_bytes(x.0), Position::new(x.1));
            prop_assert_eq!(x.cmp(&y), key(x).cmp(&key(y)));
            prop_assert_eq!(parse_stream(&key(x)), Some((StreamId::from_bytes(s), a.0)));
            let (x, y) = ((a.0, a.2 as u32), (b.0, b.2 as u32));
            let key = |x: (u64, u32)| snapshot(Position::new(x.0), x.1);
            prop_assert_eq!(x.cmp(&y), key(x).cmp(&key(y)));
            prop_assert_eq!(parse_snapshot(&key(x)), Some(x));
        }
    }
}
