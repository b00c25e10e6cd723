//! Snapshots of the caller's state: opaque bytes, in compressed parts, kept for the newest two positions.
//!
//! ```text
//! snapshot value
//!   0  u8    format version: 1
//!   1  [3]   0
//!   4  u32   version of the state, given by the caller
//!   8  [32]  SHA-256 of the whole snapshot, uncompressed
//!  40  u64   length of the whole snapshot, uncompressed
//!  48  ..    this part, zstd-compressed; 1 MiB uncompressed, the last part less
//! ```
//!
//! Parts bypass the write-ahead log and are flushed instead, so that a large snapshot does not stand in the way of
//! appends. A snapshot cut short by a crash lacks parts, which its length tells; it is passed over.
//!
//! Deliberately absent: what the state is; a snapshot is only ever a shortcut, the log is the truth.

use super::Error;
use super::frame::{Hash, array};
use super::keys::{self, Family};
use super::log::Log;
use super::store::{Store, read_error, scan_reads};
use crate::domain::Position;
use rocksdb::WriteBatch;
use sha2::{Digest, Sha256};

/// The only format version of a snapshot part.
pub const SNAPSHOT_VERSION: u8 = 1;
/// Bytes of a part before compression.
pub const PART_BYTES: usize = 1 << 20;
/// Largest snapshot, in bytes before compression.
pub const SNAPSHOT_BYTES_MAX: usize = 4 << 30;
/// Snapshots that are kept.
pub const SNAPSHOTS_KEPT: usize = 2;

const PART_HEADER_BYTES: usize = 48;
const ZSTD_LEVEL: i32 = 1;
/// What is said of a snapshot that a crash cut short.
pub(super) const INCOMPLETE: &str = "parts are missing";

/// A snapshot that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The last position that it contains.
    pub position: Position,
    /// Version of the state, as given by the caller.
    pub state_version: u32,
    /// Length in bytes, uncompressed.
    pub bytes: u64,
}

/// The newest usable snapshot, and what was passed over on the way to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFound {
    /// Position and bytes.
    pub latest: Option<(Position, Vec<u8>)>,
    /// Newer snapshots that are damaged or incomplete, and why.
    pub damaged: Vec<(Position, String)>,
}

impl Log {
    /// Stores a snapshot of the state up to `position` (which must be in the log) and drops all but the newest
    /// [`SNAPSHOTS_KEPT`]. Blocks until it is durable.
    pub fn snapshot_write(&self, position: Position, state_version: u32, bytes: &[u8]) -> Result<(), Error> {
        self.shared.check_writable()?;
        let _one_at_a_time = self.shared.snapshots.lock().expect("no one panics while writing a snapshot");
        if position > self.position() {
            return Err(Error::WrongTail { expected: position, tail: self.position() });
        }
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            let (what, size) = ("a snapshot in bytes", bytes.len());
            return Err(Error::TooLarge { what, size, max: SNAPSHOT_BYTES_MAX });
        }
        self.shared.space.admit(bytes.len())?;
        let header = header(state_version, bytes);
        let mut parts: Vec<&[u8]> = bytes.chunks(PART_BYTES).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        for (number, part) in (0..).zip(parts) {
            self.write_part(position, number, &header, part)?;
        }
        self.snapshot_prune()?;
        self.shared.store.flush(Family::Snapshot).map_err(write_error)
    }

    fn write_part(
        &self,
        position: Position,
        number: u32,
        header: &[u8; PART_HEADER_BYTES],
        part: &[u8],
    ) -> Result<(), Error> {
        let cf = self.shared.store.cf(Family::Snapshot);
        let mut write = WriteBatch::default();
        if number == 0 {
            write.delete_range_cf(cf, keys::snapshot(position, 0), keys::snapshot(position.next(), 0));
        }
        let mut value = header.to_vec();
        let compressed = zstd::bulk::compress(part, ZSTD_LEVEL);
        value.extend(
            compressed.map_err(|error| Error::file("compressing a snapshot for", self.dir(), error))?,
        );
        write.put_cf(cf, keys::snapshot(position, number), value);
        self.shared.store.write_unlogged(write).map_err(write_error)
    }

    /// Drops all snapshots but the newest [`SNAPSHOTS_KEPT`].
    fn snapshot_prune(&self) -> Result<(), Error> {
        let kept = self.snapshots()?.into_iter().nth_back(SNAPSHOTS_KEPT - 1);
        let Some(oldest) = kept.filter(|oldest| oldest.position > Position::ZERO) else { return Ok(()) };
        let mut write = WriteBatch::default();
        let (from, to) = (keys::snapshot(Position::ZERO, 0), keys::snapshot(oldest.position, 0));
        write.delete_range_cf(self.shared.store.cf(Family::Snapshot), from, to);
        self.shared.store.write_unlogged(write).map_err(write_error)
    }

    /// The snapshots that are stored, oldest first. Their contents are not checked.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>, Error> {
        let mut found: Vec<SnapshotInfo> = Vec::new();
        let mut iter = self.shared.store.iter(Family::Snapshot, scan_reads());
        iter.seek_to_first();
        while let Some((key, value)) = iter.item() {
            let parsed = keys::parse_snapshot(key).zip(Header::parse(value));
            let Some(((position, _), header)) = parsed else {
                let at = keys::parse_snapshot(key).map_or(0, |(position, _)| position);
                return Err(Error::corrupt("snapshot", at, "the part's header is damaged"));
            };
            let position = Position::new(position);
            found.push(SnapshotInfo { position, state_version: header.state_version, bytes: header.length });
            iter.seek(keys::snapshot(position.next(), 0));
        }
        iter.status().map_err(|source| read_error(Family::Snapshot, 0, source))?;
        Ok(found)
    }

    /// The snapshot at exactly this position, checked: state version and bytes.
    pub fn snapshot_read(&self, position: Position) -> Result<(u32, Vec<u8>), Error> {
        let corrupt = |detail: &str| Error::corrupt("snapshot", position.get(), detail);
        let mut iter = self.shared.store.iter(Family::Snapshot, scan_reads());
        iter.seek(keys::snapshot(position, 0));
        let (mut bytes, mut first, mut number) = (Vec::new(), None, 0);
        while let Some((key, value)) = iter.item() {
            if keys::parse_snapshot(key) != Some((position.get(), number)) {
                break;
            }
            let header = Header::parse(value).ok_or_else(|| corrupt("a part's header is damaged"))?;
            if *first.get_or_insert(header) != header {
                return Err(corrupt("parts of different snapshots are mixed"));
            }
            let part = zstd::bulk::decompress(&value[PART_HEADER_BYTES..], PART_BYTES);
            bytes.extend(part.map_err(|_| corrupt("a part cannot be decompressed"))?);
            number += 1;
            iter.next();
        }
        iter.status().map_err(|source| read_error(Family::Snapshot, position.get(), source))?;
        let header = first.ok_or_else(|| corrupt("the first part is missing"))?;
        if bytes.len() as u64 != header.length {
            return Err(corrupt(INCOMPLETE));
        }
        if <Hash>::from(Sha256::digest(&bytes)) != header.digest {
            return Err(corrupt("the digest is wrong"));
        }
        Ok((header.state_version, bytes))
    }

    /// The newest whole snapshot with this state version. Damaged ones are passed over and reported.
    pub fn snapshot_latest(&self, state_version: u32) -> Result<SnapshotFound, Error> {
        let mut found = SnapshotFound::default();
        let tail = self.position();
        for info in self.snapshots()?.into_iter().rev() {
            if info.position > tail || info.state_version != state_version {
                continue;
            }
            match self.snapshot_read(info.position) {
                Ok((_, bytes)) => {
                    found.latest = Some((info.position, bytes));
                    break;
                }
                Err(Error::Corrupt { detail, .. }) => found.damaged.push((info.position, detail)),
                Err(other) => return Err(other),
            }
        }
        Ok(found)
    }
}

/// Drops snapshots of what is no longer in the log: after an accepted loss, other records will take those positions.
pub(super) fn drop_after(store: &Store, tail: Position) -> Result<(), Error> {
    let mut write = WriteBatch::default();
    let (from, to) = (keys::snapshot(tail.next(), 0), keys::snapshot(Position::new(u64::MAX), u32::MAX));
    write.delete_range_cf(store.cf(Family::Snapshot), from, to);
    store.write_synced(write).map_err(write_error)
}

const fn write_error(source: rocksdb::Error) -> Error {
    Error::Storage { doing: "writing a snapshot", source }
}

/// What every part of a snapshot begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Header {
    state_version: u32,
    digest: Hash,
    length: u64,
}

impl Header {
    fn parse(value: &[u8]) -> Option<Self> {
        let header = value.get(..PART_HEADER_BYTES)?;
        (header[..4] == [SNAPSHOT_VERSION, 0, 0, 0]).then(|| Self {
            state_version: u32::from_le_bytes(array(&header[4..8])),
            digest: array(&header[8..40]),
            length: u64::from_le_bytes(array(&header[40..48])),
        })
    }
}

fn header(state_version: u32, bytes: &[u8]) -> [u8; PART_HEADER_BYTES] {
    let mut header = [0; PART_HEADER_BYTES];
    header[0] = SNAPSHOT_VERSION;
    header[4..8].copy_from_slice(&state_version.to_le_bytes());
    header[8..40].copy_from_slice(&Sha256::digest(bytes));
    header[40..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    header
}
