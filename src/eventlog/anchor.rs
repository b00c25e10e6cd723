//! The anchor: how far the log was acknowledged, kept in a small file outside RocksDB.
//!
//! No recovery mode can notice a write-ahead log that was cut exactly between two records, or an older copy of the
//! whole database put back. The anchor can: when the log is opened, it must reach the anchor's position, and the
//! record there must have the anchor's hash.
//!
//! The file has two slots of 64 bytes, at offsets 0 and 4096 so that no torn sector takes both. They are written in
//! turn, right after each synced append and before it is acknowledged, without a sync of their own. After a crash of
//! the process alone the anchor is therefore exact; after a power cut it may be a few seconds old (a housekeeping
//! thread syncs it). Each slot tells by a tag of the boot which of the two holds. All numbers are little endian.
//!
//! ```text
//!  0  [4]   "ask" and the format version 1
//!  4  u32   tag of the machine's boot: CRC32C of its boot id; 0: unknown
//!  8  u64   sequence; the valid slot with the higher one counts
//! 16  u64   position acknowledged
//! 24  [32]  hash of the record there
//! 56  [4]   first bytes of the log id
//! 60  u32   CRC32C over bytes 0..60
//! ```
//!
//! Deliberately absent: signatures (whoever can write the anchor can write the log; witnesses are for that).

use super::Error;
use super::frame::{Hash, array};
use crate::domain::Position;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 64;
/// Distance between the slots, in bytes.
pub const SLOT_STRIDE: u64 = 4096;
/// Name of the file in the data directory.
pub const FILE_NAME: &str = "anchor";

const MAGIC: [u8; 4] = *b"ask\x01";

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Counts the writes; the higher slot is the newer.
    pub sequence: u64,
    /// Tag of the boot during which it was written; 0: unknown.
    pub boot: u32,
    /// The last position acknowledged.
    pub position: Position,
    /// Hash of the record there.
    pub hash: Hash,
    /// First bytes of the log id.
    pub log: [u8; 4],
}

impl Anchor {
    /// The slot's bytes.
    pub fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[..4].copy_from_slice(&MAGIC);
        slot[4..8].copy_from_slice(&self.boot.to_le_bytes());
        slot[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        slot[16..24].copy_from_slice(&self.position.get().to_le_bytes());
        slot[24..56].copy_from_slice(&self.hash);
        slot[56..60].copy_from_slice(&self.log);
        let crc = crc32c::crc32c(&slot[..60]);
        slot[60..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    /// Reads a slot; `None` if it is damaged.
    pub fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Self> {
        let whole = u32::from_le_bytes(array(&slot[60..])) == crc32c::crc32c(&slot[..60]);
        (whole && slot[..4] == MAGIC).then(|| Self {
            boot: u32::from_le_bytes(array(&slot[4..8])),
            sequence: u64::from_le_bytes(array(&slot[8..16])),
            position: Position::new(u64::from_le_bytes(array(&slot[16..24]))),
            hash: array(&slot[24..56]),
            log: array(&slot[56..60]),
        })
    }

    /// Whether it was written since the machine last booted, so that no power cut can have aged it.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot != 0 && self.boot == boot_tag()
    }
}

/// What the file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The newest valid slot.
    pub newest: Option<Anchor>,
    /// Slots that were written once and are damaged now.
    pub slots_damaged: u8,
}

/// Reads the anchor of a data directory. A missing file reads like an empty one.
pub fn read(dir: &Path) -> Result<Reading, Error> {
    let path = dir.join(FILE_NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Reading::default()),
        Err(error) => return Err(Error::file("reading the anchor", path, error)),
    };
    let mut reading = Reading::default();
    for start in [0, SLOT_STRIDE as usize] {
        let slot = bytes.get(start..start + SLOT_BYTES).map(array::<SLOT_BYTES>);
        match slot.as_ref().map(|slot| (slot, Anchor::decode(slot))) {
            Some((_, Some(anchor))) => {
                let newer = reading.newest.is_none_or(|newest| newest.sequence < anchor.sequence);
                reading.newest = if newer { Some(anchor) } else { reading.newest };
            }
            Some((slot, None)) if *slot == [0; SLOT_BYTES] => {}
            _ => reading.slots_damaged += 1,
        }
    }
    Ok(reading)
}

/// The anchor file, open for writing.
#[derive(Debug)]
pub(super) struct AnchorFile {
    file: File,
    path: PathBuf,
    sequence: AtomicU64,
    boot: u32,
    log: [u8; 4],
}

impl AnchorFile {
    /// Opens or creates the file. Nothing is written into slots yet.
    pub(super) fn open(dir: &Path, after: &Reading, log_id: &[u8; 16]) -> Result<Self, Error> {
        let path = dir.join(FILE_NAME);
        let fail = |error| Error::file("opening the anchor", path.clone(), error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        let whole = SLOT_STRIDE + SLOT_BYTES as u64;
        if file.metadata().map_err(fail)?.len() < whole {
            // Written out, not only made longer, so that a full disk cannot refuse a slot later.
            file.write_all_at(&vec![0; whole as usize], 0).map_err(fail)?;
        }
        let sequence = after.newest.map_or(0, |newest| newest.sequence);
        let log = array(&log_id[..4]);
        Ok(Self { file, sequence: AtomicU64::new(sequence), boot: boot_tag(), log, path })
    }

    /// Writes the next slot. Not synced.
    pub(super) fn write(&self, position: Position, hash: &Hash) -> Result<(), Error> {
        let sequence = self.sequence.load(Ordering::Relaxed) + 1;
        let anchor = Anchor { sequence, boot: self.boot, position, hash: *hash, log: self.log };
        self.file
            .write_all_at(&anchor.encode(), (sequence % 2) * SLOT_STRIDE)
            .map_err(|error| Error::file("writing the anchor", &self.path, error))?;
        self.sequence.store(sequence, Ordering::Relaxed);
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|error| Error::file("syncing the anchor", &self.path, error))
    }
}

/// Tag of the machine's current boot; 0 where the system does not tell.
fn boot_tag() -> u32 {
    std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |id| crc32c::crc32c(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(sequence: u64) -> Anchor {
        Anchor { sequence, boot: 7, position: Position::new(9), hash: [3; 32], log: [1, 2, 3, 4] }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let slot = anchor(5).encode();
        assert_eq!(Anchor::decode(&slot), Some(anchor(5)));
        for bit in 0..SLOT_BYTES * 8 {
            let mut bad = slot;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Anchor::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn the_newer_slot_counts_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Reading::default());
        let file = AnchorFile::open(dir.path(), &Reading::default(), &[1; 16]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Reading::default());
        for position in 1..=3 {
            file.write(Position::new(position), &[position as u8; 32]).unwrap();
            let reading = read(dir.path()).unwrap();
            let newest = reading.newest.unwrap();
            assert_eq!((newest.position.get(), newest.sequence), (position, position));
            assert!(newest.is_of_this_boot());
        }
        file.sync().unwrap();
        let path = dir.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_STRIDE as usize + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let reading = read(dir.path()).unwrap();
        assert_eq!((reading.newest.unwrap().position.get(), reading.slots_damaged), (2, 1));
        std::fs::write(&path, &bytes[..10]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Reading { newest: None, slots_damaged: 2 });
    }

    #[test]
    fn golden_bytes() {
        let slot = anchor(5).encode();
        let mut want = b"ask\x01\x07\0\0\0\x05\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0".to_vec();
        want.extend([3; 32]);
        want.extend([1, 2, 3, 4]);
        let crc = crc32c::crc32c(&want);
        want.extend(crc.to_le_bytes());
        assert_eq!(slot.to_vec(), want);
    }
}
