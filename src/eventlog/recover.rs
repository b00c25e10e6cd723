//! What opening reads from the store: who it is, where it ends, and the records that are not indexed yet.
//!
//! Deliberately absent: what to do about a loss, which is for `open`.

use super::error::Damage;
use super::frame::{Hash, array};
use super::index::{Entry, INDEX_WRITE_RECORDS, Pending};
use super::keys::{self, Family};
use super::page::Records;
use super::reader::{Fetch, each_page, each_record};
use super::store::{Store, point_reads, read_error, scan_reads};
use super::{Error, Options};
use crate::domain::Position;
use rocksdb::WriteBatch;
use std::ops::ControlFlow;

/// Version of everything stored. A newer one on disk is refused.
pub const STORAGE_FORMAT: u32 = 1;
/// Most records without index entries that a read-only opening takes into memory.
const READ_ONLY_PENDING_MAX: usize = 1 << 20;

/// What `meta` says.
pub(super) struct Identity {
    format: u32,
    pub(super) partition: u32,
    pub(super) log_id: [u8; 16],
    pub(super) indexed_to: Position,
}

impl Identity {
    /// The first write of a new store.
    pub(super) fn create(store: &Store, partition: u32) -> WriteBatch {
        let mut log_id = [0; 16];
        getrandom::fill(&mut log_id).expect("the system has randomness");
        let mut write = WriteBatch::default();
        let meta = store.cf(Family::Meta);
        write.put_cf(meta, keys::META_STORAGE_FORMAT, STORAGE_FORMAT.to_le_bytes());
        write.put_cf(meta, keys::META_PARTITION, partition.to_le_bytes());
        write.put_cf(meta, keys::META_LOG_ID, log_id);
        write.put_cf(meta, keys::META_INDEXED_TO, 0_u64.to_le_bytes());
        write
    }

    pub(super) fn read(store: &Store) -> Result<Self, Error> {
        Ok(Self {
            format: u32::from_le_bytes(meta(store, keys::META_STORAGE_FORMAT)?),
            partition: u32::from_le_bytes(meta(store, keys::META_PARTITION)?),
            log_id: meta(store, keys::META_LOG_ID)?,
            indexed_to: indexed_to(store)?,
        })
    }

    pub(super) const fn check(&self, options: &Options) -> Result<(), Error> {
        if self.format > STORAGE_FORMAT {
            return Err(Error::NewerFormat { found: self.format, supported: STORAGE_FORMAT });
        }
        if self.partition != options.partition {
            return Err(Error::OtherPartition { found: self.partition, expected: options.partition });
        }
        Ok(())
    }
}

fn meta<const N: usize>(store: &Store, key: &[u8]) -> Result<[u8; N], Error> {
    let value = store.get(Family::Meta, key, 0)?;
    let whole = value.filter(|value| value.len() == N).map(|value| array(&value));
    whole.ok_or_else(|| {
        let name = String::from_utf8_lossy(key);
        Error::corrupt(Family::Meta.name(), 0, format!("`{name}` is missing or damaged"))
    })
}

/// The position up to which the indexes on disk are complete.
pub(super) fn indexed_to(store: &Store) -> Result<Position, Error> {
    Ok(Position::new(u64::from_le_bytes(meta(store, keys::META_INDEXED_TO)?)))
}

/// Drops the indexes; reading the records again builds them anew.
pub(super) fn reset_index(store: &Store) -> Result<(), Error> {
    let mut write = WriteBatch::default();
    for family in [Family::Stream, Family::Call, Family::Tool] {
        write.delete_range_cf(store.cf(family), [].as_slice(), [0xff; 32].as_slice());
    }
    write.put_cf(store.cf(Family::Meta), keys::META_INDEXED_TO, 0_u64.to_le_bytes());
    write_index(store, write)
}

fn write_index(store: &Store, write: WriteBatch) -> Result<(), Error> {
    store.write_synced(write).map_err(|source| Error::Storage { doing: "writing the index", source })
}

/// What reading the end of the log gave.
pub(super) struct Recovered {
    pub(super) tail: Position,
    pub(super) head: Hash,
    pub(super) pending: Pending,
    pub(super) reindexed: u64,
}

/// The last position in the store, checked or not visible to anyone yet.
pub(super) fn last_position(store: &Store) -> Result<Position, Error> {
    let mut iter = store.iter(Family::Log, point_reads());
    iter.seek_to_last();
    let Some((key, value)) = iter.item() else {
        iter.status().map_err(|source| read_error(Family::Log, 0, source))?;
        return Ok(Position::ZERO);
    };
    let corrupt = |damage: Damage| Error::corrupt("log", 0, damage);
    let first = keys::parse_page(key).ok_or_else(|| corrupt(Damage::Length))?;
    let count = Records::new(first, value).map_err(corrupt)?.left();
    Ok(Position::new(first.saturating_add(u64::from(count)).saturating_sub(1)))
}

/// Reads every record after `indexed_to`: checks it, and collects its index entries. With `write`, entries beyond what
/// may wait in memory are written.
pub(super) fn recover(store: &Store, indexed_to: Position, write: bool) -> Result<Recovered, Error> {
    let tail = last_position(store)?;
    if indexed_to > tail {
        let detail = format!("`indexed_to` is {indexed_to}, past the log's end at {tail}");
        return Err(Error::corrupt(Family::Meta.name(), tail.get(), detail));
    }
    let mut head = [0; 32];
    if indexed_to > Position::ZERO {
        head = Fetch::new(store).record(indexed_to.get(), |record| record.hash())?;
    }
    let mut recovered = Recovered { tail, head, pending: Pending::default(), reindexed: 0 };
    let from = indexed_to.next().get();
    each_page(store, scan_reads(), from, tail.get(), |first, value| {
        each_record(first, value, from, tail.get(), |record| {
            let at = record.position();
            if record.previous_hash() != recovered.head {
                return Err(Error::corrupt("log", at.get(), Damage::Chain));
            }
            recovered.head = record.hash();
            recovered.reindexed += 1;
            recovered.pending.add(&Entry::of_stored(&record));
            if recovered.pending.records() >= INDEX_WRITE_RECORDS && write {
                let mut write = WriteBatch::default();
                recovered.pending.put_into(&mut write, store, at);
                write_index(store, write)?;
                recovered.pending.clear();
            }
            if recovered.pending.records() > READ_ONLY_PENDING_MAX {
                let detail = "too many records are not indexed; open the log for writing once";
                return Err(Error::corrupt(Family::Meta.name(), at.get(), detail));
            }
            Ok(ControlFlow::Continue(()))
        })
    })?;
    Ok(recovered)
}
