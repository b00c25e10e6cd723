//! The values of `log` and `payload`: pages of records, and of their payloads.
//!
//! A page holds as many records of one append as fit, instead of one a value, because RocksDB's cost is per key. It is
//! not larger than what a point read should have to decompress. All numbers are little endian.
//!
//! ```text
//! log value                                payload value
//!   0  u8   format version: 1                0  u8    format version: 1
//!   1  [3]  0                                1  [3]   0
//!   4  u32  number of records                4  u32   number of entries
//!   8  ..   records, back to back            8  ..    entries, back to back:
//!           (each knows its length)                     0  u64   position of the record
//!                                                       8  u8    state: 0 present, 1 erased
//!                                                       9  u32   length of the bytes; 0 if erased
//!                                                      13  [16]  salt; zero if erased
//!                                                      29  ..    bytes
//! ```
//!
//! A page without payloads has no `payload` value beside it. Entries stand in order of position.
//!
//! Deliberately absent: compression (RocksDB compresses blocks) and checksums of payloads (each has its
//! commitment in its record).

use super::error::Damage;
use super::frame::{Hash, Payload, RecordView, array, commitment};

/// The only format version of both values.
pub const PAGE_VERSION: u8 = 1;
/// Bytes before the first record or entry.
pub const PAGE_HEADER_BYTES: usize = 8;
/// A page that has reached this many bytes of records takes no more.
pub const PAGE_BYTES_FULL: usize = 24 << 10;

const ENTRY_HEADER_BYTES: usize = 29;
const PRESENT: u8 = 0;
const ERASED: u8 = 1;

/// Starts a value of either kind with its header.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[PAGE_VERSION, 0, 0, 0, 0, 0, 0, 0]);
}

/// Writes the number of entries into a value that `begin` started.
pub(super) fn set_count(out: &mut [u8], count: u32) {
    out[4..8].copy_from_slice(&count.to_le_bytes());
}

/// Appends a payload entry.
pub(super) fn push_payload(out: &mut Vec<u8>, position: u64, payload: &Payload) {
    push_entry(out, position, PRESENT, &payload.salt, &payload.bytes);
}

/// Bytes that a payload takes in its value.
pub(super) const fn payload_entry_len(payload: &Payload) -> usize {
    ENTRY_HEADER_BYTES + payload.bytes.len()
}

fn push_entry(out: &mut Vec<u8>, position: u64, state: u8, salt: &[u8; 16], bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a payload is bounded");
    out.extend_from_slice(&position.to_le_bytes());
    out.push(state);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(salt);
    out.extend_from_slice(bytes);
}

/// Splits the header off: number of entries, and the entries' bytes.
fn parse_header(value: &[u8]) -> Result<(u32, &[u8]), Damage> {
    let (header, rest) = value.split_at_checked(PAGE_HEADER_BYTES).ok_or(Damage::Short)?;
    if header[0] != PAGE_VERSION {
        return Err(Damage::Version(header[0]));
    }
    if header[1..4] != [0; 3] {
        return Err(Damage::Reserved);
    }
    Ok((u32::from_le_bytes(array(&header[4..8])), rest))
}

/// The records of one page, read one after the other. Each is checked when it is reached, its position too.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u32,
    position: u64,
}

impl<'a> Records<'a> {
    /// Starts on the `log` value of the page whose first record has position `first`.
    pub fn new(first: u64, value: &'a [u8]) -> Result<Self, Damage> {
        let (left, rest) = parse_header(value)?;
        if left == 0 {
            return Err(Damage::Count);
        }
        Ok(Self { rest, left, position: first })
    }

    /// Records not read yet.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// Position of the next record.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Goes to `position` by the records' lengths, without checking what is passed over.
    /// Returns false if the page ends before it.
    pub fn skip_to(&mut self, position: u64) -> Result<bool, Damage> {
        while self.position < position && self.left > 0 {
            let length = RecordView::peek_len(self.rest)?;
            self.rest = &self.rest[length..];
            self.left -= 1;
            self.position = self.position.saturating_add(1);
        }
        Ok(self.left > 0)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(Damage::Count));
        }
        let (expected, parsed) = (self.position, RecordView::parse(self.rest));
        Some(parsed.and_then(|(record, rest)| {
            (self.rest, self.left, self.position) = (rest, self.left - 1, expected.saturating_add(1));
            let found = record.position().get();
            if found == expected { Ok(record) } else { Err(Damage::Sequence { expected, found }) }
        }))
    }
}

/// A record's payload, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadRef<'a> {
    /// The record never had one.
    None,
    /// It was erased.
    Erased,
    /// It is there. Whether it matches the record's commitment has not been checked.
    Present {
        /// Salt of the commitment.
        salt: [u8; 16],
        /// The payload.
        bytes: &'a [u8],
    },
}

impl PayloadRef<'_> {
    /// Whether a present payload matches this commitment.
    pub fn matches(&self, expected: &Hash) -> bool {
        matches!(self, Self::Present { salt, bytes } if commitment(salt, bytes) == *expected)
    }
}

/// The entries of one `payload` value, read one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Payloads<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Payloads<'a> {
    /// Starts on a `payload` value.
    pub fn new(value: &'a [u8]) -> Result<Self, Damage> {
        let (left, rest) = parse_header(value)?;
        Ok(Self { rest, left })
    }

    /// No entries: for a page without a `payload` value.
    pub const fn empty() -> Self {
        Self { rest: &[], left: 0 }
    }

    /// Entries not read yet.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// The payload of the record at `position`; entries before it are passed over.
    pub fn find(&mut self, position: u64) -> Result<Option<PayloadRef<'a>>, Damage> {
        loop {
            let mut ahead = *self;
            match ahead.next().transpose()? {
                Some((at, _)) if at < position => *self = ahead,
                Some((at, payload)) if at == position => {
                    *self = ahead;
                    return Ok(Some(payload));
                }
                _ => return Ok(None),
            }
        }
    }

    fn split(&mut self) -> Result<(u64, PayloadRef<'a>), Damage> {
        let (header, rest) = self.rest.split_at_checked(ENTRY_HEADER_BYTES).ok_or(Damage::Short)?;
        let length = u32::from_le_bytes(array(&header[9..13])) as usize;
        let (bytes, rest) = rest.split_at_checked(length).ok_or(Damage::Length)?;
        let salt = array(&header[13..29]);
        let payload = match header[8] {
            PRESENT => PayloadRef::Present { salt, bytes },
            ERASED if bytes.is_empty() && salt == [0; 16] => PayloadRef::Erased,
            _ => return Err(Damage::Reserved),
        };
        self.rest = rest;
        self.left -= 1;
        Ok((u64::from_le_bytes(array(&header[..8])), payload))
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<(u64, PayloadRef<'a>), Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        match (self.left, self.rest.is_empty()) {
            (0, true) => None,
            (0, false) => {
                self.rest = &[];
                Some(Err(Damage::Count))
            }
            _ => {
                let entry = self.split();
                if entry.is_err() {
                    (self.rest, self.left) = (&[], 0);
                }
                Some(entry)
            }
        }
    }
}

/// The same `payload` value with the entry of `position` erased; `None` if there is no such entry.
pub(super) fn erase(value: &[u8], position: u64) -> Result<Option<Vec<u8>>, Damage> {
    let entries = Payloads::new(value)?;
    let mut out = Vec::with_capacity(value.len());
    begin(&mut out);
    set_count(&mut out, entries.left);
    let mut found = false;
    for entry in entries {
        match entry? {
            (at, PayloadRef::Present { salt, bytes }) if at != position => {
                push_entry(&mut out, at, PRESENT, &salt, bytes);
            }
            (at, _) => {
                found |= at == position;
                push_entry(&mut out, at, ERASED, &[0; 16], &[]);
            }
        }
    }
    Ok(found.then_some(out))
}

#[cfg(test)]
mod tests {
    use super::super::frame::{NewRecord, encode};
    use super::*;
    use crate::domain::Position;
    use proptest::prelude::*;

    fn payload(bytes: &[u8]) -> Payload {
        Payload { salt: [5; 16], bytes: bytes.to_vec() }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn log_value(first: u64, bodies: &[Vec<u8>]) -> Vec<u8> {
        let (mut out, mut previous) = (Vec::new(), [0; 32]);
        begin(&mut out);
        set_count(&mut out, bodies.len() as u32);
        for (index, body) in bodies.iter().enumerate() {
            let record = NewRecord { body: body.clone(), ..NewRecord::default() };
            previous = encode(&mut out, &record, Position::new(first + index as u64), &previous);
        }
        out
    }

    /// A change here is a new format version, not a new golden.
    #[test]
    fn golden_bytes() {
        let log = log_value(1, &[b"a".to_vec(), b"bc".to_vec()]);
        assert_eq!(hex(&log), include_str!("../../tests/golden/page_v1.hex").trim());
        let mut out = Vec::new();
        begin(&mut out);
        set_count(&mut out, 2);
        push_payload(&mut out, 1, &payload(b"hi"));
        push_entry(&mut out, 2, ERASED, &[0; 16], &[]);
        let want = [
            "0100000002000000",
            "01000000000000000002000000050505050505050505050505050505056869",
            "0200000000000000010000000000000000000000000000000000000000",
        ];
        assert_eq!(hex(&out), want.concat());
    }

    #[test]
    fn wrong_counts_and_positions_are_noticed() {
        let good = log_value(5, &[b"a".to_vec(), b"b".to_vec()]);
        for count in [0, 1, 3] {
            let mut bad = good.clone();
            set_count(&mut bad, count);
            let read = Records::new(5, &bad).and_then(|records| records.collect::<Result<Vec<_>, _>>());
            assert!(read.is_err(), "count {count}");
        }
        assert_eq!(
            Records::new(6, &good).unwrap().next(),
            Some(Err(Damage::Sequence { expected: 6, found: 5 }))
        );
        let mut records = Records::new(5, &good).unwrap();
        assert!(records.skip_to(6).unwrap());
        assert_eq!(records.next().unwrap().unwrap().body(), b"b");
        assert!(!Records::new(5, &good).unwrap().skip_to(7).unwrap());
    }

    #[test]
    fn erasing_takes_only_one() {
        let mut value = Vec::new();
        begin(&mut value);
        set_count(&mut value, 3);
        for position in [3, 5, 6] {
            push_payload(&mut value, position, &payload(b"secret"));
        }
        let erased = erase(&value, 5).unwrap().unwrap();
        let read: Vec<_> = Payloads::new(&erased).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(read[1], (5, PayloadRef::Erased));
        assert!(matches!(read[0], (3, PayloadRef::Present { bytes: b"secret", .. })));
        assert!(matches!(read[2], (6, PayloadRef::Present { bytes: b"secret", .. })));
        assert_eq!(erase(&value, 4).unwrap(), None);
        assert_eq!(erase(&erased, 5).unwrap().unwrap(), erased);
    }

    proptest! {
        #[test]
        fn round_trip(first in 1u64..1 << 40, bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..20)) {
            let value = log_value(first, &bodies);
            let read: Vec<_> = Records::new(first, &value).unwrap().map(|record| record.unwrap().body().to_vec()).collect();
            prop_assert_eq!(read, bodies);
        }

        #[test]
        fn payloads_are_found(lens in prop::collection::vec(prop::option::of(0usize..50), 1..30)) {
            let mut value = Vec::new();
            begin(&mut value);
            set_count(&mut value, lens.iter().flatten().count() as u32);
            for (position, len) in lens.iter().enumerate() {
                if let Some(len) = len {
                    push_payload(&mut value, position as u64, &payload(&vec![7; *len]));
                }
            }
            let mut payloads = Payloads::new(&value).unwrap();
            for (position, len) in lens.iter().enumerate() {
                let found = payloads.find(position as u64).unwrap();
                prop_assert_eq!(found.map(|payload| match payload {
                    PayloadRef::Present { bytes, .. } => bytes.len(),
                    _ => usize::MAX,
                }), *len);
            }
        }

        #[test]
        fn noise_is_no_crash(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Payloads::new(&noise).map(|entries| entries.collect::<Vec<_>>());
            let _ = Records::new(1, &noise).map(|records| records.take(300).collect::<Vec<_>>());
        }
    }
}
