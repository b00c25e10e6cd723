//! The record frame, format version 1: how one record lies on disk, byte by byte.
//!
//! All numbers are little endian.
//!
//! ```text
//!   0  u8    format version: 1
//!   1  u8    kind, given by the caller
//!   2  u16   flags: bit 0 has a payload, bit 1 introduces its call; the others are 0
//!   4  u32   length of the whole record in bytes, this header included
//!   8  u32   CRC32C over bytes 0..8 and 12..length
//!  12  u64   position
//!  20  u64   revision in the stream
//!  28  i64   event time, microseconds since 1970
//!  36  i64   receive time, microseconds since 1970
//!  44  [16]  stream id
//!  60  [16]  call key; zero: none
//!  76  u64   tool key; zero: none
//!  84  u64   position of the record that caused this one; zero: none
//!  92  [32]  hash of the record before this one; zero for the first record
//! 124  [32]  only with flag bit 0: commitment to the payload, SHA-256(salt || payload bytes)
//!      ..    body, opaque, to the end of the record
//! ```
//!
//! A record's hash is the SHA-256 of all its bytes, so anyone can recompute the chain with `sha256sum`.
//! The payload itself lies elsewhere: erasing it leaves every hash valid.
//!
//! Deliberately absent: what kinds and bodies mean, compression, encryption.

use super::error::Damage;
use crate::domain::{CallKey, Position, Revision, StreamId, Timestamp};
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The only frame format version this program writes and reads.
pub const FRAME_VERSION: u8 = 1;
/// Bytes before the commitment or body.
pub const HEADER_BYTES: usize = 124;
/// Bytes of a payload commitment.
pub const COMMITMENT_BYTES: usize = 32;
/// Largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Largest record, in bytes.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + COMMITMENT_BYTES + BODY_BYTES_MAX;
/// Flag: a payload lies beside the record.
pub const FLAG_PAYLOAD: u16 = 1;
/// Flag: the record is the first one of its call.
pub const FLAG_CALL: u16 = 2;

const FLAGS_KNOWN: u16 = FLAG_PAYLOAD | FLAG_CALL;
/// Where the checksummed rest begins: after the checksum itself.
const AFTER_CRC: usize = 12;

/// Bytes that belong to a record but can be erased later, with the salt of their commitment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// 16 random bytes: without them nobody can guess the payload from its commitment.
    pub salt: [u8; 16],
    /// The payload, at most [`PAYLOAD_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

impl Payload {
    /// The commitment that the record carries: SHA-256(salt || bytes).
    pub fn commitment(&self) -> Hash {
        commitment(&self.salt, &self.bytes)
    }
}

/// SHA-256(salt || bytes).
pub(super) fn commitment(salt: &[u8; 16], bytes: &[u8]) -> Hash {
    Sha256::new().chain_update(salt).chain_update(bytes).finalize().into()
}

/// The hash of a record's bytes, as the next record carries it.
pub fn hash(record: &[u8]) -> Hash {
    Sha256::digest(record).into()
}

/// A record that has no position yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// What the record is, in the caller's numbering.
    pub kind: u8,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its place in that stream.
    pub revision: Revision,
    /// When it happened, by the caller's clock.
    pub event_time: Timestamp,
    /// When we received it.
    pub receive_time: Timestamp,
    /// The call it belongs to, or [`CallKey::NONE`].
    pub call: CallKey,
    /// Key of the tool, or 0 for none.
    pub tool: u64,
    /// The record that caused it, or [`Position::ZERO`].
    pub causation: Position,
    /// The record's content, at most [`BODY_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
    /// Erasable content that lies beside the record.
    pub payload: Option<Payload>,
    /// Whether this is the first record of its call: it becomes findable by call and by tool.
    pub introduces_call: bool,
}

impl NewRecord {
    /// Length of the record once framed, in bytes.
    pub fn framed_len(&self) -> usize {
        let commitment = if self.payload.is_some() { COMMITMENT_BYTES } else { 0 };
        HEADER_BYTES + commitment + self.body.len()
    }

    fn flags(&self) -> u16 {
        let payload = if self.payload.is_some() { FLAG_PAYLOAD } else { 0 };
        payload | if self.introduces_call { FLAG_CALL } else { 0 }
    }
}

/// Appends the frame of `record` to `out` and returns the record's hash.
/// The body must be within [`BODY_BYTES_MAX`]; the writer has checked it.
pub(super) fn encode(out: &mut Vec<u8>, record: &NewRecord, position: Position, previous: &Hash) -> Hash {
    let start = out.len();
    let length = u32::try_from(record.framed_len()).expect("a record is far below 4 GiB");
    let mut header = [0; HEADER_BYTES];
    header[0] = FRAME_VERSION;
    header[1] = record.kind;
    header[2..4].copy_from_slice(&record.flags().to_le_bytes());
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[12..20].copy_from_slice(&position.get().to_le_bytes());
    header[20..28].copy_from_slice(&record.revision.get().to_le_bytes());
    header[28..36].copy_from_slice(&record.event_time.as_micros().to_le_bytes());
    header[36..44].copy_from_slice(&record.receive_time.as_micros().to_le_bytes());
    header[44..60].copy_from_slice(record.stream.as_bytes());
    header[60..76].copy_from_slice(record.call.as_bytes());
    header[76..84].copy_from_slice(&record.tool.to_le_bytes());
    header[84..92].copy_from_slice(&record.causation.get().to_le_bytes());
    header[92..124].copy_from_slice(previous);
    out.extend_from_slice(&header);
    if let Some(payload) = &record.payload {
        out.extend_from_slice(&payload.commitment());
    }
    out.extend_from_slice(&record.body);
    let bytes = &mut out[start..];
    let crc = checksum(bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&crc);
    hash(bytes)
}

/// CRC32C of a whole record without its checksum field.
fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..8]), &record[AFTER_CRC..])
}

/// A checked record, borrowed from wherever it lies: nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads the first record of `bytes`, checks version, flags, length and checksum, and returns it with
    /// what follows it.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Damage> {
        let length = Self::peek_len(bytes)?;
        let (record, rest) = bytes.split_at(length);
        let view = Self { bytes: record };
        if record[0] != FRAME_VERSION {
            return Err(Damage::Version(record[0]));
        }
        if view.flags() & !FLAGS_KNOWN != 0
            || (view.has_payload() && length < HEADER_BYTES + COMMITMENT_BYTES)
        {
            return Err(Damage::Flags(view.flags()));
        }
        if view.stored_checksum() != checksum(record) {
            return Err(Damage::Checksum);
        }
        Ok((view, rest))
    }

    /// Length of the first record of `bytes`, checked to lie within `bytes`; nothing else is checked.
    pub(super) fn peek_len(bytes: &[u8]) -> Result<usize, Damage> {
        if bytes.len() < HEADER_BYTES {
            return Err(Damage::Short);
        }
        let length = u32::from_le_bytes(array(&bytes[4..8])) as usize;
        if !(HEADER_BYTES..=RECORD_BYTES_MAX).contains(&length) || length > bytes.len() {
            return Err(Damage::Length);
        }
        Ok(length)
    }

    /// The record's bytes, as hashed.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What the record is, in the caller's numbering.
    pub fn kind(&self) -> u8 {
        self.bytes[1]
    }

    /// The flag bits.
    pub fn flags(&self) -> u16 {
        u16::from_le_bytes(array(&self.bytes[2..4]))
    }

    /// Whether a payload lies (or lay, if erased) beside the record.
    pub fn has_payload(&self) -> bool {
        self.flags() & FLAG_PAYLOAD != 0
    }

    /// Whether the record is the first one of its call.
    pub fn introduces_call(&self) -> bool {
        self.flags() & FLAG_CALL != 0
    }

    fn stored_checksum(&self) -> u32 {
        u32::from_le_bytes(array(&self.bytes[8..12]))
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(array(&self.bytes[at..at + 8]))
    }

    /// Place in the log.
    pub fn position(&self) -> Position {
        Position::new(self.number(12))
    }

    /// Place in the stream.
    pub fn revision(&self) -> Revision {
        Revision::new(self.number(20))
    }

    /// When it happened, by the caller's clock.
    pub fn event_time(&self) -> Timestamp {
        Timestamp::from_micros(self.number(28).cast_signed())
    }

    /// When we received it.
    pub fn receive_time(&self) -> Timestamp {
        Timestamp::from_micros(self.number(36).cast_signed())
    }

    /// The stream it belongs to.
    pub fn stream(&self) -> StreamId {
        StreamId::from_bytes(array(&self.bytes[44..60]))
    }

    /// The call it belongs to, or [`CallKey::NONE`].
    pub fn call(&self) -> CallKey {
        CallKey::from_bytes(array(&self.bytes[60..76]))
    }

    /// Key of the tool, or 0 for none.
    pub fn tool(&self) -> u64 {
        self.number(76)
    }

    /// The record that caused it, or [`Position::ZERO`].
    pub fn causation(&self) -> Position {
        Position::new(self.number(84))
    }

    /// Hash of the record before this one.
    pub fn previous_hash(&self) -> Hash {
        array(&self.bytes[92..124])
    }

    /// The payload's commitment, if the record has a payload.
    pub fn commitment(&self) -> Option<Hash> {
        self.has_payload().then(|| array(&self.bytes[HEADER_BYTES..HEADER_BYTES + COMMITMENT_BYTES]))
    }

    /// The record's content.
    pub fn body(&self) -> &'a [u8] {
        let start = if self.has_payload() { HEADER_BYTES + COMMITMENT_BYTES } else { HEADER_BYTES };
        &self.bytes[start..]
    }

    /// The record's hash: SHA-256 of all its bytes.
    pub fn hash(&self) -> Hash {
        hash(self.bytes)
    }

    /// A copy that owns its bytes.
    pub fn to_stored(&self) -> StoredRecord {
        StoredRecord { bytes: self.bytes.into() }
    }
}

/// A checked record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    bytes: Box<[u8]>,
}

impl StoredRecord {
    /// The record, borrowed.
    pub const fn view(&self) -> RecordView<'_> {
        RecordView { bytes: &self.bytes }
    }

    /// Place in the log.
    pub fn position(&self) -> Position {
        self.view().position()
    }

    /// The record's content.
    pub fn body(&self) -> &[u8] {
        self.view().body()
    }
}

/// The array that a slice of exactly that length holds.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice was cut to this length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> NewRecord {
        NewRecord {
            kind: 7,
            stream: StreamId::from_bytes([0x11; 16]),
            revision: Revision::new(3),
            event_time: Timestamp::from_micros(-2),
            receive_time: Timestamp::from_micros(1_700_000_000_000_000),
            call: CallKey::from_bytes([0x22; 16]),
            tool: 0x0102_0304_0506_0708,
            causation: Position::new(41),
            body: b"body".to_vec(),
            payload: Some(Payload { salt: [9; 16], bytes: b"secret".to_vec() }),
            introduces_call: true,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// These bytes are what the first release writes. A change here is a new format version, not a new golden.
    #[test]
    fn golden_bytes() {
        let mut out = Vec::new();
        let head = encode(&mut out, &sample(), Position::new(42), &[0x33; 32]);
        assert_eq!(hex(&out), include_str!("../../tests/golden/frame_v1.hex").trim());
        assert_eq!(head, hash(&out));
    }

    #[test]
    fn fields_come_back() {
        let (mut out, record) = (Vec::new(), sample());
        encode(&mut out, &record, Position::new(42), &[0x33; 32]);
        let (view, rest) = RecordView::parse(&out).unwrap();
        assert!(rest.is_empty());
        assert_eq!((view.kind(), view.position().get(), view.revision()), (7, 42, record.revision));
        assert_eq!((view.event_time(), view.receive_time()), (record.event_time, record.receive_time));
        assert_eq!((view.stream(), view.call(), view.tool()), (record.stream, record.call, record.tool));
        assert_eq!((view.causation(), view.body()), (record.causation, b"body".as_slice()));
        assert_eq!(view.previous_hash(), [0x33; 32]);
        assert_eq!(view.commitment(), record.payload.map(|payload| payload.commitment()));
        assert!(view.introduces_call());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut out = Vec::new();
        encode(&mut out, &sample(), Position::new(42), &[0x33; 32]);
        for bit in 0..out.len() * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordView::parse(&out).is_err(), "bit {bit} of byte {} is not covered", bit / 8);
            out[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..out.len() {
            assert!(RecordView::parse(&out[..cut]).is_err());
        }
    }

    proptest! {
        #[test]
        fn round_trip(kind: u8, revision: u64, at: i64, tool: u64, body in prop::collection::vec(any::<u8>(), 0..300),
                      payload in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)), introduces_call: bool) {
            let record = NewRecord {
                kind, tool, body, introduces_call,
                revision: Revision::new(revision),
                event_time: Timestamp::from_micros(at),
                payload: payload.map(|bytes| Payload { salt: [1; 16], bytes }),
                ..NewRecord::default()
            };
            let mut out = vec![0xaa; 3];
            let head = encode(&mut out, &record, Position::FIRST, &[0; 32]);
            out.push(0xbb);
            let (view, rest) = RecordView::parse(&out[3..]).unwrap();
            prop_assert_eq!(rest, &[0xbb]);
            prop_assert_eq!(view.hash(), head);
            prop_assert_eq!(view.bytes().len(), record.framed_len());
            prop_assert_eq!((view.kind(), view.revision().get(), view.tool()), (kind, revision, tool));
            prop_assert_eq!((view.body(), view.introduces_call()), (record.body.as_slice(), introduces_call));
            prop_assert_eq!(view.commitment(), record.payload.map(|payload| payload.commitment()));
        }

        #[test]
        fn noise_never_parses_past_its_end(noise in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = RecordView::parse(&noise);
        }
    }
}
